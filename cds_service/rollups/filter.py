"""What a page asks for: days and values, as they stand in its URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum

from cds_service.rollups.days import as_date, as_number, plus

MOST_DAYS = 3_660
MOST_LENGTH = 1_000  # characters of a value


class FilterError(ValueError):
    """Raised for a filter that can't be read. The text names the parameter and what it takes, never the value."""


class Kind(Enum):
    """What the values of a field are, and how they are said to be wrong."""

    NAME = "(?s:.*)", "a text"  # a name that came from elsewhere may have lines
    NUMBER = r"-?[0-9]{1,9}", "a whole number"
    YES_NO = "yes|no", "yes or no"
    KEY = r"(k[0-9]{1,4}:)?[0-9a-f]{32}", "32 hexadecimal digits, as the log shows them"
    UUID = r"[\x21-\x7e]{1,100}", "the uuid of a card"

    @property
    def pattern(self) -> str:
        return self.value[0]

    @property
    def allowed(self) -> str:
        return self.value[1]


FIELDS: Mapping[str, Kind] = {
    "tenant": Kind.NAME,
    "client": Kind.NAME,
    "service": Kind.NAME,
    "hook": Kind.NAME,
    "card": Kind.NAME,
    "version": Kind.NAME,
    "mode": Kind.NAME,  # live, shadow
    "state": Kind.NAME,  # shown, repeated, gave_way, capped, withdrawn
    "indicator": Kind.NAME,
    "response": Kind.NAME,  # accepted, overridden, none
    "reason": Kind.NAME,  # code of an override reason, "" for none
    "outcome": Kind.NAME,  # of an evaluation
    "criterion": Kind.NAME,  # that was missing
    "cause": Kind.NAME,  # why it was missing
    "repeated": Kind.YES_NO,  # shown live within 24 h before
    "about_order": Kind.YES_NO,
    "comment": Kind.YES_NO,
    "status": Kind.NUMBER,  # of a call's response
    "row": Kind.NUMBER,  # of the card's table, from 0
    "ms_from": Kind.NUMBER,  # latency of the call, from
    "ms_to": Kind.NUMBER,  # and up to
    "user": Kind.KEY,
    "patient": Kind.KEY,
    "encounter": Kind.KEY,
    "order": Kind.KEY,
    "instance": Kind.NAME,  # hookInstance
    "uuid": Kind.UUID,
}


@dataclass(frozen=True)
class Filter:
    """Days, both included, and the values of each field, any of which may hold. Frozen; the methods give new ones."""

    since: int | None = None  # YYYYMMDD
    until: int | None = None
    days: int | None = None  # the last so many days, from which `since` and `until` were made; so it is written in URLs
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, since: int | None = None, until: int | None = None, **values: str | Iterable[str]) -> Filter:
        """Make a filter from values by the names of FIELDS."""
        made = cls(since, until)
        for name, value in values.items():
            made = made.with_values(name, *([value] if isinstance(value, str) else value))
        return made

    @classmethod
    def from_query(
        cls,
        query: Mapping[str, str] | Iterable[tuple[str, str]],
        today: int,
        *,
        days: int | None = None,
        other: Iterable[str] = (),
    ) -> Filter:
        """Read the parameters of a URL. A parameter that stands there twice means either value.

        `today`: YYYYMMDD. `days`: the last so many where the URL names no day. `other`: parameters of the page that are none of
        the filter's. An empty value counts as not given, but for `reason`. Raises FilterError.
        """
        pairs = list(query.items() if isinstance(query, Mapping) else query)
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in FIELDS and name not in ("from", "to", "days") and name not in other:
                raise FilterError("there is no such filter; /review/definitions lists them")
            if value or name == "reason":
                found.setdefault(name, []).append(value)
        for name in other:
            found.pop(name, None)
        since, until = _day("from", found.pop("from", [])), _day("to", found.pop("to", []))
        if given := found.pop("days", []):
            days = _days(given[-1])
        values = tuple((name, _checked(name, tuple(dict.fromkeys(found[name])))) for name in FIELDS if name in found)
        if since is None and until is None and days is not None:
            return cls(plus(today, 1 - days), today, days, values)
        if since is not None and until is not None and since > until:
            raise FilterError("from must not be after to")
        return cls(since, until, None, values)

    def query(self) -> list[tuple[str, str]]:
        """Return the parameters of a URL, from which `from_query` makes this filter again."""
        pairs: list[tuple[str, str]] = []
        if self.days is not None:
            pairs.append(("days", str(self.days)))
        else:
            pairs += [
                (name, as_date(day).isoformat()) for name, day in (("from", self.since), ("to", self.until)) if day is not None
            ]
        return pairs + [(name, value) for name, values in self.values for value in values]

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """Return the values of a field, none where it may be anything."""
        return dict(self.values).get(name, ())

    @property
    def names(self) -> frozenset[str]:
        """Return the fields that have values."""
        return frozenset(name for name, _ in self.values)

    def with_values(self, name: str, *values: str) -> Filter:
        """Return the filter with these values of a field in place of those that it had. Raises FilterError."""
        if name not in FIELDS:
            raise FilterError(f"there is no filter {name}")
        changed = dict(self.values) | {name: _checked(name, tuple(values))}
        return replace(self, values=tuple((one, changed[one]) for one in FIELDS if changed.get(one)))

    def without(self, *names: str) -> Filter:
        """Return the filter without these fields."""
        return replace(self, values=tuple(one for one in self.values if one[0] not in names))

    def between(self, since: int | None, until: int | None) -> Filter:
        """Return the filter for other days."""
        return replace(self, since=since, until=until, days=None)

    def last(self, days: int, today: int) -> Filter:
        """Return the filter for the last so many days, today included."""
        return replace(self, since=plus(today, 1 - days), until=today, days=days)


def _day(name: str, values: list[str]) -> int | None:
    if not values:
        return None
    try:
        return as_number(date.fromisoformat(values[-1]))
    except ValueError:
        raise FilterError(f"{name} must be a date, such as 2026-09-01") from None


def _days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise FilterError(f"days must be a whole number from 1 to {MOST_DAYS}")
    return int(text)


def _checked(name: str, values: tuple[str, ...]) -> tuple[str, ...]:
    kind = FIELDS[name]
    for value in values:
        if len(value) > MOST_LENGTH or not re.fullmatch(kind.pattern, value):
            raise FilterError(f"{name} must be {kind.allowed}")
    return values
