"""Find numbers typed into texts of cards that a criterion has too.

A typed number would stay when the criterion changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_service.criteria.numbers import number_texts, numbers_in
from cds_service.files.yaml_file import Problem, YamlFile
from cds_service.knowledge.card_file import CardFile
from cds_service.knowledge.card_texts import texts_of
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.overlay import CARD
from cds_service.knowledge.templates import Template

_NUMBER = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?!\w|[.,]\d)")
_UP_TO = re.compile(r"\bto *$")  # before the last number of a range
_NEXT_WORD = re.compile(r"(?:\s*(?:-|to|or|and)\s*\d+(?:\.\d+)?)?[\s-]*([^\W\d_][\w/.]*|%|°\s?[CF])")
# Words after a number that say what it counts. A number of one kind cannot be the number of a criterion of another kind; a word
# that is not listed could mean any kind.
_KINDS: dict[str, frozenset[str]] = {
    "days": frozenset({"day", "days"}),
    "hours": frozenset({"h", "hour", "hours"}),
    "years": frozenset({"year", "years"}),
    "other time": frozenset({"minute", "minutes", "week", "weeks", "month", "months"}),
    "amount": frozenset({"mmol/L", "mEq/L", "mmol", "mEq"}),
    "dose": frozenset({"mg", "mg/day"}),
    "concentration": frozenset({"mg/dL"}),
    "egfr": frozenset({"mL/min", "mL/min/1.73"}),
    "ms": frozenset({"ms"}),
    "count": frozenset({"drugs", "culprits"}),
    "other": frozenset({"%", "°C", "°F", "° C", "° F", "cm", "g", "kg", "mL", "L", "patients", "trials", "people", "of"}),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
_UNITS = {"": "count", "mmol/L": "amount", "mg/day": "dose", "mg/dL": "concentration", "mL/min/{1.73_m2}": "egfr", "ms": "ms"}


class _Used(NamedTuple):
    placeholder: str
    kind: str


def typed_numbers(folder: Path, knowledge: Knowledge) -> Iterator[Problem]:
    """Yield a problem for each typed number that a criterion has, with the placeholder to write.

    `folder` is `cards/`; the overlay of `knowledge` is checked too. Raises KnowledgeError.
    """
    for card in knowledge.cards:
        file = YamlFile(folder / card.id / CARD, f"cards/{card.id}/{CARD}")
        if knowledge.overlay is not None:
            file = knowledge.overlay.over(file, f"{card.id}/{CARD}")
        used = _used(card, knowledge)
        texts = {name: value for name, value in file.data.items() if name != "criteria"}
        for one in texts_of(msgspec.convert(texts, CardFile)):
            for text in Template(one.text).literals:
                for number, kind, is_last in _numbers(text):
                    same = _same(used, number, kind)
                    if same and str(number) not in one.quoted:
                        message = f"has {number}, which is `{same}`: write that, or if a source says it, list it in `quoted`"
                        yield file.problem(one.keys, message)
                    elif is_last and (limit := _same(used, _next(number), kind)):
                        yield file.problem(
                            one.keys, f"has {number}, the last before `{limit}`: write 'below' with that placeholder"
                        )


def _same(used: dict[Decimal, list[_Used]], number: Decimal, kind: str) -> str:
    return next((had.placeholder for had in used.get(number.normalize(), []) if _may_be(kind, had.kind)), "")


def _next(number: Decimal) -> Decimal:
    """Return the number after `number` with as many places: 60 after 59, 3.5 after 3.4."""
    return number + Decimal((0, (1,), int(number.as_tuple().exponent)))


def _may_be(kind: str, of_criterion: str) -> bool:
    """Return whether a number of `kind` may be one of a criterion's kind.

    "" is an unknown kind.
    """
    return kind == of_criterion or (kind == "" and of_criterion != "count") or (of_criterion == "" and kind != "other")


def _used(card: Card, knowledge: Knowledge) -> dict[Decimal, list[_Used]]:
    """Return, by number, the placeholders that stand for it."""
    found: dict[Decimal, list[_Used]] = {}
    for name in card.criteria:
        said = number_texts(name, knowledge.criteria)
        for field, value, unit in numbers_in(knowledge.criteria[name]):
            if field in said:
                kind = _UNITS.get(unit, unit if unit in _KINDS else "")
                found.setdefault(Decimal(value).normalize(), []).append(_Used(f"{{{name}.{field}}}", kind))
    return found


def _numbers(text: str) -> Iterator[tuple[Decimal, str, bool]]:
    """Yield each number in a text, what it counts, whether it ends a range.

    What it counts is "" where it is unknown.
    """
    for match in _NUMBER.finditer(text):
        word = _NEXT_WORD.match(text, match.end())
        kind = _KIND_OF.get(word[1].rstrip(".,"), "") if word is not None else ""
        yield Decimal(match[1].replace(",", "")), kind, _UP_TO.search(text, 0, match.start()) is not None
