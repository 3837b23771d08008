"""List the numbers in criteria: their fields, units and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import get_args

import msgspec

from cds_service.criteria.kind import Kind
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.wording import readable_unit

KINDS: dict[str, type[Kind]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Criterion)}


@cache
def number_fields(kind: str) -> frozenset[str]:
    """Return the number fields of a kind of criterion; none for an unknown kind."""
    fields = msgspec.structs.fields(KINDS[kind]) if kind in KINDS else ()
    return frozenset(field.name for field in fields if not {int, Decimal}.isdisjoint((field.type, *get_args(field.type))))


def unit_of(field: str, kind: str, unit: str) -> str:
    """Return the unit of the number in `field`, "" for a count; `unit`: the field `unit` of the criterion."""
    for span in ("days", "hours"):
        if span in field.split("_"):
            return span
    if "times" in field.split("_"):
        return ""
    if field.startswith("dose_"):
        return "mg/day"
    return unit or KINDS[kind].unit_of_numbers


def numbers_in(criterion: Criterion) -> Iterator[tuple[str, Decimal | int, str]]:
    """Yield (field, number, unit) of each number of a criterion itself."""
    kind = str(criterion.__struct_config__.tag)
    for field in sorted(number_fields(kind)):
        value = getattr(criterion, field)
        if isinstance(value, Mapping):
            yield from ((f"{field}.{unit}", one, unit) for unit, one in value.items())
        elif value is not None:
            yield field, value, unit_of(field, kind, getattr(criterion, "unit", ""))


def number_texts(name: str, criteria: Mapping[str, Criterion]) -> dict[str, str]:
    """Return the texts of `{name.field}` by field: the numbers and `unit` of a criterion.

    Of a group those on which its members agree.
    """
    criterion = criteria[name]
    of_members: dict[str, set[str]] = {}
    for member in criterion.children:
        for field, text in number_texts(member, criteria).items():
            of_members.setdefault(field, set()).add(text)
    agreed = {field: texts.pop() for field, texts in of_members.items() if len(texts) == 1}
    own = {field: f"{Decimal(value):f}" for field, value, _ in numbers_in(criterion) if "." not in field}
    unit = getattr(criterion, "unit", "") or criterion.unit_of_numbers
    return agreed | own | ({"unit": readable_unit(unit)} if unit else {})
