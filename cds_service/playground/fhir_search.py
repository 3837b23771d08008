"""Match elements of resources with FHIR search values: tokens, references, dates, strings (FHIR R4, 3.1.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from cds_service.fhir.dates import when
from cds_service.wire.errors import BadRequest

Kind = Literal["token", "reference", "date", "string"]
PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le")  # of dates


def fits(value: Any, kind: Kind, values: Sequence[str], parameter: str = "") -> bool:
    """Return whether `value`, the JSON of an element or None, matches one of the search `values`.

    `parameter` says which parts of a name are searched, and how: `family`, `name:contains`. Raises BadRequest for a date that
    cannot be read.
    """
    parts = value if isinstance(value, list) else [value]
    if kind == "string":
        return any(_name(part, text, *parameter.partition(":")[::2]) for text in values for part in parts)
    return any(_FITS[kind](part, text) for text in values for part in parts)


def _name(value: Any, searched: str, parameter: str, modifier: str) -> bool:
    """Match the parts of a HumanName: from their beginning, in full (`exact`), or anywhere (`contains`)."""
    parts = {one: (value or {}).get(one, []) for one in ("family", "given", "text")}
    texts = [parts["family"], *parts["given"], parts["text"]] if parameter == "name" else parts[parameter]
    words = [text for text in (texts if isinstance(texts, list) else [texts]) if text]
    if modifier == "exact":
        return searched in words
    low = searched.casefold()
    return any(low in text.casefold() if modifier == "contains" else text.casefold().startswith(low) for text in words)


def _token(value: Any, searched: str) -> bool:
    """Match a code or a CodeableConcept.

    `searched` is `code`, `system|code`, `|code` (without a system) or `system|` (any code of it).
    """
    system, bar, code = searched.rpartition("|")
    if isinstance(value, str):
        return value == code  # a code of FHIR itself, without a system
    codings = [(one.get("system", ""), one.get("code", "")) for one in (value or {}).get("coding", ())]
    return searched != "" and any(code in ("", coded) and (not bar or system == of) for of, coded in codings)


def _reference(value: Any, searched: str) -> bool:
    """Match an id, `Patient/id`, or an absolute URL that ends with it."""
    reference: str = value["reference"]
    return reference == searched or reference.endswith(f"/{searched}") or searched.endswith(f"/{reference}")


def _date(value: str | None, searched: str) -> bool:
    """Match a date, with a prefix or without one.

    Both dates are spans of time: 2025 lasts from its first to its last second.
    """
    prefix = searched[:2] if searched[:2].isalpha() else "eq"
    search_span, span = _span(searched.removeprefix(prefix)), _span(value)
    if search_span is None or prefix not in PREFIXES:
        raise BadRequest(
            f"A date must look like 2025-11-28 or 2025-11-28T08:00:00Z, with or without one of {', '.join(PREFIXES)} before it"
        )
    if span is None:
        return False
    (low, high), (start, end) = search_span, span
    inside = low <= start and end <= high
    matches = {"eq": inside, "ne": not inside, "gt": high < end, "ge": low < end, "lt": start < low, "le": start < high}
    return matches[prefix]


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


_FITS: dict[str, Callable[[Any, str], bool]] = {"token": _token, "reference": _reference, "date": _date}
