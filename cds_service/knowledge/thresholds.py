"""Read `cards/thresholds.yaml`: named numbers, each with its source and date.

A criterion uses the name in place of a number (`below: potassium_normal_low`). A plain number is allowed too, so that a site can
change one criterion without the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

import msgspec

from cds_service.criteria.numbers import KINDS, number_fields, unit_of
from cds_service.files.conversion_errors import Keys, suggestion

FILE = "thresholds.yaml"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One number, in `unit` as criteria write it (UCUM; days, hours, years; "" for a count)."""

    value: int | Decimal
    unit: str = ""
    what: Text
    source: Annotated[list[str], msgspec.Meta(min_length=1)]  # ids of cards/sources.yaml, or engineering
    since: date


Used = dict[str, str]  # field of a criterion -> name of the threshold


def named_in(body: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    """Yield (keys, name) of each threshold that a criterion in YAML names."""
    for field in sorted(number_fields(str(body.get("kind", ""))) & body.keys()):
        value = body[field]
        for keys, one in (
            [((field, unit), one) for unit, one in value.items()] if isinstance(value, dict) else [((field,), value)]
        ):
            if isinstance(one, str) and _NUMBER.fullmatch(one) is None:
                yield keys, one


def resolved(body: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
    """Return a criterion as written in YAML, with numbers in place of names."""
    found = dict(body)
    for keys, name in named_in(body):
        one = thresholds.get(name)
        if one is None:
            continue
        field = str(keys[0])
        found[field] = {**found[field], keys[1]: one.value} if len(keys) > 1 else one.value
    return found


def errors(body: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> Iterator[tuple[Keys, str]]:
    """Yield (keys, error) of the thresholds that a criterion names: unknown ones, and another unit."""
    for keys, name in named_in(body):
        one = thresholds.get(name)
        if one is None:
            yield keys, f"neither a number nor the name of a threshold:{suggestion(name, thresholds)}"
        elif one.unit != (wanted := str(keys[1]) if len(keys) > 1 else _unit(str(keys[0]), body)):
            yield keys, f"`{name}` is in {one.unit or 'no unit'}, and the criterion needs a number in {wanted or 'no unit'}"


def _unit(field: str, body: Mapping[str, Any]) -> str:
    kind = str(body["kind"])
    return unit_of(field, kind, str(body.get("unit", _default_unit(kind))))


@cache
def _default_unit(kind: str) -> Any:
    """Return the unit that criteria of this kind have where they name none; "" for kinds without a unit."""
    return next((one.default for one in msgspec.structs.fields(KINDS[kind]) if one.encode_name == "unit"), "")
