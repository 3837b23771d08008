"""Draw the review pages, from the cards' data and the results of their cases."""

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
    """Draw the pages for all cards of `knowledge`; `runs` are the runs of their cases.

    `banner` is a line above each page, "" for none.
    """

    def __init__(self, knowledge: Knowledge, recommendations: Recommendations, runs: Sequence[Run], *, banner: str = "") -> None:
        self._knowledge = knowledge
        self._recommendations = recommendations
        self._runs = {card.id: [run for run in runs if run.case.card is card] for card in knowledge.cards}
        self._sentences = Sentences(knowledge.criteria, knowledge.terminology)
        self._pages = page_templates("cds_service.review_site")
        self._pages.filters["sentence"] = words.sentence
        self._pages.globals.update(html=words.html, template=words.template, given=words.given, expected=words.expected)
        self._pages.globals.update(meaning=Meanings(knowledge))
        self._pages.globals.update(
            conditions=self._conditions, carried_by=carried_by, sentences=self._sentences, knowledge=knowledge
        )
        self._pages.globals.update(banner=banner)

    def card(self, card: Card, *, alone: bool = True) -> str:
        """Return the page of one card.

        `alone`: with its style inside and without links to other pages.
        """
        return self._card(card, alone=alone, public=False)

    def public_card(self, card: Card) -> str:
        """Return the public page of one card, which EHRs link to.

        It has neither the cases nor the lines to sign.
        """
        return self._card(card, alone=True, public=True)

    def other_version(self, card: Card) -> str:
        """Return the page for an old version of a card.

        It links to the current one.
        """
        return self._page("other_version.html", alone=True, file=card.file)

    @property
    def style(self) -> str:
        """Return the style sheet that is inside each page drawn alone."""
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
        """Write the site and return its files.

        They are an index, a page for each card, the recommendations and a style sheet.
        """
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
        return words.conditions(self._sentences, item.when, item.unless)

    def _about(self, subjects: Sequence[str]) -> list[Card]:
        return [one for one in self._knowledge.cards if not set(subjects).isdisjoint(one.file.subjects)]

    def _choices(self, card: Card) -> list[str]:
        """Return the criteria and rows of the card that no source decides."""
        criteria = [self._sentences.meaning(name) for name, one in sorted(card.criteria.items()) if "engineering" in one.source]
        rows = [f"row {number}: {row.summary}" for number, row in enumerate(card.file.table, 1) if "engineering" in row.source]
        return list(dict.fromkeys((*criteria, *rows)))

    def _example(self, card: Card) -> tuple[Run, dict[str, Any]] | None:
        """Return the case that shows most of the card, and the card drawn.

        None where no passing case fires.
        """
        drawn = [(run, msgspec.json.decode(one.body)) for run in self._runs[card.id] if not run.problems for one in run.own]
        return max(drawn, key=lambda item: (len(item[1].get("suggestions", [])), not item[0].case.file.prior), default=None)
