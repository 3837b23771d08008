"""Whether an element of a resource fits what a FHIR search asks for: tokens, references and dates (FHIR R4, 3.1.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from cds_service.fhir.dates import when
from cds_service.wire.errors import BadRequest

Kind = Literal["token", "reference", "date"]
PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le")  # of dates


def fits(value: Any, kind: Kind, wanted: Sequence[str]) -> bool:
    """Whether `value`, the JSON of an element or None, is one of `wanted`. Raises BadRequest for a date that can't be read."""
    parts = value if isinstance(value, list) else [value]
    return any(_FITS[kind](part, text) for text in wanted for part in parts)


def _token(value: Any, wanted: str) -> bool:
    """`code`, `system|code`, `|code` (without a system), `system|` (any code of it), in a CodeableConcept; or a plain code."""
    system, bar, code = wanted.rpartition("|")
    if isinstance(value, str):
        return value == code  # its only system is FHIR's own
    coding = [(one.get("system", ""), one.get("code", "")) for one in (value or {}).get("coding", ())]
    return wanted != "" and any(code in ("", theirs) and (not bar or system == of) for of, theirs in coding)


def _reference(value: Any, wanted: str) -> bool:
    """An id, `Patient/id`, or an absolute URL that ends so."""
    theirs: str = value["reference"]
    return theirs == wanted or theirs.endswith(f"/{wanted}") or wanted.endswith(f"/{theirs}")


def _date(value: str | None, wanted: str) -> bool:
    """A date with a prefix or without one. What a date leaves open is a span of time, from its start to when it is over."""
    prefix = wanted[:2] if wanted[:2].isalpha() else "eq"
    asked, theirs = _span(wanted.removeprefix(prefix)), _span(value)
    if asked is None or prefix not in PREFIXES:
        raise BadRequest(f"A date must look like 2025-11-28 or 2025-11-28T08:00:00Z, after nothing or {', '.join(PREFIXES)}")
    if theirs is None:
        return False
    (low, high), (start, over) = asked, theirs
    inside = low <= start and over <= high
    fitting = {"eq": inside, "ne": not inside, "gt": high < over, "ge": low < over, "lt": start < low, "le": start < high}
    return fitting[prefix]


def _span(text: str | None) -> tuple[datetime, datetime] | None:
    moment = when(text)
    if moment is None:
        return None
    start = moment.start
    if moment.has_time:
        return start, start + timedelta(seconds=1)
    if len(moment.text) == 10:
        return start, start + timedelta(days=1)
    return start, start.replace(year=start.year + 1) if len(moment.text) == 4 else (start + timedelta(days=31)).replace(day=1)


_FITS: dict[Kind, Callable[[Any, str], bool]] = {"token": _token, "reference": _reference, "date": _date}
