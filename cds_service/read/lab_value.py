"""Read the value of a result from any element: one number with its unit, or words."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from cds_service.fhir.resources import Quantity, Resource, texts
from cds_service.terminology.text_patterns import mark

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Searched, Terminology

NOT_MADE = "result_not_made"  # the text pattern of words that say that there is no result
_WORDS_LIMIT = 60  # characters of a laboratory's words that are kept
_ONE = re.compile(
    r"\s*(?P<comparator><=|>=|=<|=>|[<>=\u2264\u2265])?\s*(?P<number>[+-]?[0-9]+(?:[.,][0-9]+)?)(?:\s+(?P<after>\S.*)|(?P<unit>[^\s0-9.,].*))?"
)
_REFERENCE_RANGE = re.compile(
    r"\s*[\[(]\s*[0-9.,]+\s*(?:-|\u2013|to)\s*[0-9.,]+[^\[\]()]*[\])]\s*$"
)  # " [3.5 - 5.1]", at the end
_FULL_WIDTH = {0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF0E: ".", 0xFF0C: ","}  # digits as Japan writes them
_NUMBER = re.compile(r"(?<![0-9.,])[0-9]+(?:[.,][0-9]+)?(?![0-9.,])")
_COMPARATORS = {"=": None, "=<": "<=", "=>": ">=", "\u2264": "<=", "\u2265": ">="}


class Words(msgspec.Struct, frozen=True, gc=False):
    """A value that is not one number.

    `numbers`: what it may mean, each with its unit where one was written.
    """

    text: str
    numbers: tuple[Quantity, ...] = ()


def value_of(observation: Resource, terminology: Terminology) -> Quantity | Words | None:
    """Return the one number of a result, or the words in its place; None without any value.

    A text is read where all of it is a number, or a number and a known unit: "<3.0", "2,2 mmol/L". An ambiguous number ("1,200")
    is not read.
    """
    quantity = observation.valueQuantity
    if quantity is not None and quantity.value is not None:  # as nearly always
        return quantity
    if observation.valueInteger is not None:
        return Quantity(value=observation.valueInteger)
    if (ratio := observation.valueRatio) is not None:
        over, under = ratio.numerator or Quantity(), ratio.denominator or Quantity()
        unit = f"{over.unit or over.code or ''}/{under.unit or under.code or ''}"
        if over.value is not None and under.value == 1:
            return Quantity(value=over.value, comparator=over.comparator, unit=unit)
        return Words(f"{_shown(over)} : {_shown(under)}")
    if (range_ := observation.valueRange) is not None:
        ends = tuple(end for end in (range_.low, range_.high) if end is not None and end.value is not None)
        return Words(_cut(" to ".join(_shown(end) for end in ends)), ends)
    written = [observation.valueString] if observation.valueString else list(texts(observation.valueCodeableConcept))
    found = next((one for text in written if isinstance(one := _read(text, terminology), Quantity)), None)
    if found is not None:
        return found
    if written:
        return _read(written[0], terminology)
    if observation.valueSampledData is not None:
        return Words("a series of measurements")
    return None


def reduced_value(text: str, terminology: Terminology) -> tuple[str, set[Searched]]:
    """Return what reading a value again needs of its text, and what the rest was searched for: its number, or a mark."""
    text = text.translate(_FULL_WIDTH)
    read = _read(text, terminology)
    if isinstance(read, Quantity):
        shown = _shown(read)
        return shown, {"units"} if read.unit else set()
    not_made = [NOT_MADE] if terminology.matches(NOT_MADE, read.text) else []
    alone = set(_NUMBER.findall(text[: 4 * _WORDS_LIMIT]))
    return f"{mark(not_made)} {alone.pop() if len(alone) == 1 else ''}", {"patterns", "units"}


def written_as(quantity: Quantity) -> str:
    """Return a quantity as it was sent, cut where it is long."""
    return _cut(_shown(quantity))


def _read(text: str, terminology: Terminology) -> Quantity | Words:
    if not text.isascii():
        text = text.translate(_FULL_WIDTH)
    match = _ONE.fullmatch(_REFERENCE_RANGE.sub("", text).strip()) if len(text) <= 2 * _WORDS_LIMIT else None
    if match is not None and (value := _number(match["number"])) is not None:
        unit = match["after"] or match["unit"]
        if not unit or terminology.unit(unit) is not None:
            comparator = match["comparator"]
            return Quantity(value=value, comparator=_COMPARATORS.get(comparator or "=", comparator), unit=unit)
    alone = set(_NUMBER.findall(text[: 4 * _WORDS_LIMIT]))
    values = _meanings(alone.pop()) if len(alone) == 1 else ()
    return Words(_cut(text), tuple(Quantity(value=one) for one in values))


def _number(text: str) -> Decimal | None:
    """Return one number with a point or comma; None where the comma may separate thousands."""
    meanings = _meanings(text)
    return meanings[0] if len(meanings) == 1 else None


def _meanings(text: str) -> tuple[Decimal, ...]:
    whole, comma, part = text.partition(",")
    if comma and len(part) == 3 and whole.lstrip("+-") != "0":
        return Decimal(f"{whole}.{part}"), Decimal(f"{whole}{part}")
    return (Decimal(f"{whole}.{part}" if comma else text),)


def _shown(quantity: Quantity) -> str:
    parts = (quantity.comparator, None if quantity.value is None else str(quantity.value), quantity.unit or quantity.code)
    return " ".join(part for part in parts if part)


def _cut(text: str) -> str:
    return text if len(text) <= _WORDS_LIMIT else f"{text[: _WORDS_LIMIT - 1]}…"
