"""Read FHIR dates and times into instants with their precision."""

from __future__ import annotations

from datetime import UTC, datetime

from cds_service.criteria.facts import When
from cds_service.short_cache import short_cache

_YEARS = range(2, 9999)  # not the first and the last of the calendar, so that no sum of an instant and a lookback overflows


@short_cache(4096)  # the results of one blood sample share their times
def when(text: str | None) -> When | None:
    """Read a FHIR date, dateTime or instant; None where there is none or it can't be read.

    A partial date ("2025", "2025-11") means its first day. A time without a zone, which FHIR forbids but EHRs send, is UTC.
    """
    if not text:
        return None
    start = _start(text)
    return None if start is None else When(start, text, len(text) > 10)


def ended(text: str | None, now: datetime) -> bool:
    """Tell whether a period that ends at `text` is over at `now`; a day, month or year counts to its end."""
    end = when(text)
    if end is None or end.has_time:
        return end is not None and end.start < now
    return end.text < now.date().isoformat()[: len(end.text)]


def _start(text: str) -> datetime | None:
    size = len(text)
    try:
        if size <= 10:
            if size not in (4, 7, 10) or not (text.isascii() and text.replace("-", "").isdigit()):
                return None
            start = datetime.fromisoformat((text + "-01-01")[:10]).replace(tzinfo=UTC)
        elif text[4] != "-" or text[7] != "-" or text[10] not in "Tt ":
            return None  # other forms of ISO 8601, which FHIR does not allow
        else:
            start = datetime.fromisoformat(text)
            start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
    except (ValueError, OverflowError):
        return _start(text[:17] + "59" + text[19:]) if text[17:19] == "60" else None  # a leap second
    return start if start.year in _YEARS else None
