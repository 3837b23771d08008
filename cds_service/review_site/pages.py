"""Draws the review pages. Everything on them comes from the cards' data and from running the cards' cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cds_service.authoring.cases import Run
from cds_service.authoring.recommendations import Recommendations, carried_by
from cds_service.explain.meanings import Meanings
from cds_service.explain.sentences import Sentences, repetition, unknown_policy
from cds_service.files.page_templates import page_templates
from cds_service.knowledge.card_file import Paragraph, Row, SuggestionFile
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.review_site import words

STYLE = "style.css"


class Site:
    """The pages for all cards of `knowledge`; `runs` are the runs of their cases.

    `card`, `public_card`, `other_version` and `write` are what it is for. `banner`: what stands above each page.
    """

    def __init__(self, knowledge: Knowledge, recommendations: Recommendations, runs: Sequence[Run], *, banner: str = "") -> None:
        self._knowledge = knowledge
        self._recommendations = recommendations
        self._runs = {card.id: [run for run in runs if run.case.card is card] for card in knowledge.cards}
        self._say = Sentences(knowledge.criteria, knowledge.terminology)
        self._pages = page_templates("cds_service.review_site")
        self._pages.filters["sentence"] = words.sentence
        self._pages.globals.update(html=words.html, template=words.template, given=words.given, expected=words.expected)
        self._pages.globals.update(meaning=Meanings(knowledge))
        self._pages.globals.update(conditions=self._conditions, carried_by=carried_by, say=self._say, knowledge=knowledge)
        self._pages.globals.update(banner=banner)

    def card(self, card: Card, *, alone: bool = True) -> str:
        """The page of one card. Where it stands `alone`, its style is inside it and it links to no other page."""
        return self._card(card, alone=alone, public=False)

    def public_card(self, card: Card) -> str:
        """The page of one card that its readers in an EHR are led to: all but its cases and the lines to sign."""
        return self._card(card, alone=True, public=True)

    def other_version(self, card: Card) -> str:
        """The page for a link to a version of a card that is not served; it leads to the one that is."""
        return self._page("other_version.html", alone=True, file=card.file)

    @property
    def style(self) -> str:
        """The style that stands inside a page that stands alone."""
        return self._style()

    def _card(self, card: Card, *, alone: bool, public: bool) -> str:
        runs = self._runs[card.id]
        return self._page(
            "card.html",
            alone=alone,
            public=public,
            card=card,
            file=card.file,
            runs=runs,
            passed=sum(not run.problems for run in runs),
            example=self._example(card),
            policies=unknown_policy(card.file),
            repetition=repetition(card.file),
            choices=self._choices(card),
            gives_way_to=self._about(card.file.gives_way_to),
            gives_way_to_warnings=self._about(card.file.gives_way_to_warnings),
            recommendations=self._recommendations.of_card(card.id),
        )

    def write(self, folder: Path) -> list[Path]:
        """Writes the site: an index, a page for each card, the recommendations, one style sheet. The files that it wrote."""
        folder.mkdir(parents=True, exist_ok=True)
        listed = [
            (card, self._runs[card.id], sum(not run.problems for run in self._runs[card.id])) for card in self._knowledge.cards
        ]
        pages = {
            "index.html": self._page("index.html", alone=False, cards=listed),
            "recommendations.html": self._page("recommendations.html", alone=False, rows=self._recommendations.rows),
            STYLE: self._style(),
            **{f"{card.id}.html": self.card(card, alone=False) for card in self._knowledge.cards},
        }
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [folder / name for name in pages]

    def _page(self, template: str, *, alone: bool, **values: Any) -> str:
        return self._pages.get_template(template).render(alone=alone, style=self._style() if alone else "", **values)

    def _style(self) -> str:
        return self._pages.get_template(STYLE).render()

    def _conditions(self, item: Row | Paragraph | SuggestionFile) -> list[str]:
        return words.conditions(self._say, item.when, item.unless)

    def _about(self, subjects: Sequence[str]) -> list[Card]:
        return [one for one in self._knowledge.cards if not set(subjects).isdisjoint(one.file.subjects)]

    def _choices(self, card: Card) -> list[str]:
        """What no source decides: the criteria and rows of the card that are an engineering choice."""
        criteria = [self._say.meaning(name) for name, one in sorted(card.criteria.items()) if "engineering" in one.source]
        rows = [f"row {number}: {row.summary}" for number, row in enumerate(card.file.table, 1) if "engineering" in row.source]
        return list(dict.fromkeys((*criteria, *rows)))

    def _example(self, card: Card) -> tuple[Run, dict[str, Any]] | None:
        """The case that shows most of the card, and the CDS Hooks card that it draws; None where no case of it fires."""
        drawn = [(run, msgspec.json.decode(one.body)) for run in self._runs[card.id] if not run.problems for one in run.own]
        return max(drawn, key=lambda item: (len(item[1].get("suggestions", [])), not item[0].case.file.prior), default=None)
