"""Read and prove `cards/recommendations.yaml`: each recommendation of the two source documents, and its cards.

In the named case the named criteria must be met, the named words must be on the card and the named suggestions must be offered;
words that are only on the page that the card links to must be there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cds_service.authoring.cases import Run
from cds_service.criteria.findings import Truth
from cds_service.files.conversion_errors import suggestion
from cds_service.files.yaml_file import Problem, YamlFile
from cds_service.knowledge.card_file import File, Text
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.present.suggestions import suggestion_uuid

_SHOWN_AS = "cards/recommendations.yaml"


class Carried(File, frozen=True, kw_only=True):
    """Describe how one card carries a recommendation, and name the case that shows it."""

    card: Text
    criteria: list[str] = []  # met in the case
    says: list[str] = []  # on the card in the case, without Markdown emphasis
    offers: list[str] = []  # ids of suggestions
    overrides: list[str] = []  # codes of override reasons
    on_page: list[str] = []  # in the passages of the card's page, without Markdown emphasis
    case: str = ""  # name of a case of the card; needed for all but `on_page` and `overrides`


class Recommendation(File, frozen=True, kw_only=True):
    """Hold one recommendation, in our own words."""

    document: Literal["S1", "S2"]
    about: Text
    carried: Annotated[list[Carried], msgspec.Meta(min_length=1)]


class Recommendations:
    """Hold the recommendations by id, in the order of the documents.

    Raises KnowledgeError where the file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = YamlFile(folder / "recommendations.yaml", _SHOWN_AS)
        rows = self._file.convert(dict[str, object], self._file.data)
        self.rows = {name: self._file.convert(Recommendation, row, (name,)) for name, row in rows.items()}

    def of_card(self, card: str) -> list[tuple[str, Recommendation]]:
        return [(name, row) for name, row in self.rows.items() if any(one.card == card for one in row.carried)]

    def problems(self, knowledge: Knowledge, runs: Iterable[Run]) -> list[Problem]:
        """Return a problem for each row that its case does not prove.

        A row may also name something that does not exist.
        """
        by_case = {(run.case.card.id, run.case.file.name): run for run in runs}
        return [
            self._file.problem((name, "carried", position), message)
            for name, row in self.rows.items()
            for position, carried in enumerate(row.carried)
            for message in _mistakes(carried, knowledge, by_case)
        ]


def _mistakes(carried: Carried, knowledge: Knowledge, by_case: Mapping[tuple[str, str], Run]) -> Iterator[str]:
    card = knowledge.card(carried.card)
    if card is None:
        yield f"unknown card{suggestion(carried.card, [one.id for one in knowledge.cards])}"
        return
    if not (carried.criteria or carried.says or carried.offers or carried.overrides or carried.on_page):
        yield "names no criterion, words, suggestion or override reason that carries it"
    passages = " ".join(plain_words(item.text) for item in card.file.page)
    yield from (f"{text!r} is not on the page of {card.id}" for text in carried.on_page if text not in passages)
    if not (carried.case or carried.criteria or carried.says or carried.offers):
        yield from _unknown_overrides(carried, card)
        return
    run = by_case.get((card.id, carried.case))
    if run is None:
        close = difflib.get_close_matches(carried.case, [case for one, case in by_case if one == card.id], n=1)
        yield f"no case of {card.id} is called {carried.case!r}" + (f"; did you mean {close[0]!r}?" if close else "")
    elif run.problems:
        yield f"its case fails: {carried.case}"
    else:
        yield from _not_shown(carried, card, run)


def _not_shown(carried: Carried, card: Card, run: Run) -> Iterator[str]:
    for name in carried.criteria:
        if name not in card.criteria:
            yield f"unknown criterion of {card.id}{suggestion(name, card.criteria)}"
        elif not any(decision.findings[name].truth is Truth.MET for decision in run.decisions):
            yield f"{name} is not met in the case {carried.case!r}"
    bodies = [msgspec.json.decode(one.body) for one in run.own]
    words = " ".join(plain_words(f"{body['summary']}\n{body['detail']}") for body in bodies)
    yield from (f"{text!r} is not on the card in the case {carried.case!r}" for text in carried.says if text not in words)
    ids = [item.id for item in card.suggestions]
    for name in carried.offers:
        if name not in ids:
            yield f"unknown suggestion of {card.id}{suggestion(name, ids)}"
        elif not any(
            suggestion_uuid(body["uuid"], name) == item["uuid"] for body in bodies for item in body.get("suggestions", [])
        ):
            yield f"{name} is not offered in the case {carried.case!r}"
    yield from _unknown_overrides(carried, card)


def _unknown_overrides(carried: Carried, card: Card) -> Iterator[str]:
    for name in carried.overrides:
        if name not in card.file.overrides:
            yield f"unknown override reason of {card.id}{suggestion(name, card.file.overrides)}"


def plain_words(markdown: str) -> str:
    """Return Markdown of a card without emphasis and escapes, on one line."""
    return " ".join(unescape(re.sub(r"\*\*|\\", "", markdown)).split())


def as_text(recommendations: Recommendations) -> str:
    """Return the table as text, a line per recommendation and card.

    Columns: id, card, what carries it, case; separated by ` | `.
    """
    return "".join(
        f"{name} | {carried.card} | {carried_by(carried)} | {carried.case}\n"
        for name, row in recommendations.rows.items()
        for carried in row.carried
    )


def carried_by(carried: Carried) -> str:
    """Return in words what carries a recommendation."""
    parts = [
        *(f"criterion '{name.replace('_', ' ')}'" for name in carried.criteria),
        *(f"“{text}”" for text in carried.says),
        *(f"suggestion {name}" for name in carried.offers),
        *(f"override reason {name}" for name in carried.overrides),
        *(f"“{text}” on its page" for text in carried.on_page),
    ]
    return "; ".join(parts)
