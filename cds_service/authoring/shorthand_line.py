"""Split one line of case shorthand into parts with positions, options and dates.

`LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28, preliminary, note "Specimen haemolysed, twice"`: the first part says what it
is, the others are options in any order. Commas in double quotes do not split.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NoReturn

import msgspec


class ShorthandError(ValueError):
    """Report a line that cannot be expanded, and what is allowed there.

    Line and character count from 1.
    """

    def __init__(self, line: int, column: int, problem: str, allowed: Iterable[str] = ()) -> None:
        choices = ", ".join(allowed)
        self.line = line
        self.column = column
        self.problem = problem + (f"; allowed: {choices}" if choices else "")
        super().__init__(f"line {line}, character {column}: {self.problem}")


class Part(msgspec.Struct, frozen=True):
    """Hold a piece of a line and where it begins."""

    text: str
    line: int
    column: int

    def fail(self, problem: str, allowed: Iterable[str] = ()) -> NoReturn:
        """Raise a `ShorthandError` at this place."""
        raise ShorthandError(self.line, self.column, problem, allowed)

    def after(self, length: int) -> Part:
        """Return the rest after the first `length` characters, without space around it."""
        rest = self.text[length:]
        return Part(rest.strip(), self.line, self.column + length + len(rest) - len(rest.lstrip()))

    @property
    def unquoted(self) -> str:
        """Return the text without double quotes around it."""
        return self.text[1:-1] if len(self.text) > 1 and self.text[0] == self.text[-1] == '"' else self.text


class Options(msgspec.Struct):
    """Hold the options of a line: the parts of each kind."""

    values: dict[str, list[Part]]

    def single(self, name: str) -> Part | None:
        """Return the only part of a kind; raises `ShorthandError` where there are two."""
        parts = self.values.get(name, [])
        if len(parts) > 1:
            parts[1].fail(f"a second {name}")
        return parts[0] if parts else None

    def text(self, name: str, default: str = "") -> str:
        """Return the text of the only part of a kind, without quotes."""
        part = self.single(name)
        return part.unquoted if part is not None else default

    def all(self, name: str) -> list[Part]:
        """Return all parts of a kind."""
        return self.values.get(name, [])


def split(text: str, line: int) -> list[Part]:
    """Return the comma parts of a line.

    Raises `ShorthandError` for an empty part or an open quote.
    """
    parts: list[Part] = []
    start, quote = 0, -1
    for n, character in enumerate(text + ","):
        if character == '"':
            quote = n if quote < 0 else -1
        elif character == "," and (quote < 0 or n == len(text)):
            if quote >= 0:
                raise ShorthandError(line, quote + 1, 'this " is never closed')
            part = Part(text[:n], line, 1).after(start)
            if not part.text:
                raise ShorthandError(
                    line, start + 1, "there is nothing before the comma" if n < len(text) else "there is nothing here"
                )
            parts.append(part)
            start = n + 1
    return parts


def options(parts: Iterable[Part], words: Mapping[str, str], values: Iterable[str], number: str = "") -> Options:
    """Sort parts into options.

    `words` maps a bare word to its kind; `values` are keywords before a text.

    With `number` a part that starts with a digit is of that kind. Raises `ShorthandError` for anything else.
    """
    keywords = sorted(values, key=len, reverse=True)
    found: dict[str, list[Part]] = {}
    for part in parts:
        low = part.text.lower()
        keyword = next((k for k in keywords if low.startswith(f"{k} ")), "")
        if low in words:
            found.setdefault(words[low], []).append(Part(low, part.line, part.column))
        elif keyword:
            found.setdefault(keyword, []).append(part.after(len(keyword)))
        elif number and part.text[0].isdigit():
            found.setdefault(number, []).append(part)
        else:
            part.fail(f"{part.text!r} is not known here", [*words, *(f"{k} ..." for k in sorted(keywords))])
    return Options(found)


_AGO = re.compile(r"(\d{1,4}) (hour|day|week|month|year)s? ago", re.IGNORECASE)
_DATES = ("2025-11-28", "2025-11", "2025", "2025-11-28T08:00:00Z", "08:00", "today", "yesterday", "3 days ago")


def when(part: Part, now: datetime) -> str:
    """Return the FHIR date or dateTime (UTC) of a part.

    It may be a date, "08:00" of today, "yesterday" or "3 days ago".

    Raises `ShorthandError`.
    """
    text = part.unquoted.strip()
    low = text.lower()
    today = now.date()
    if low in ("today", "yesterday"):
        return (today - timedelta(days=low == "yesterday")).isoformat()
    if ago := _AGO.fullmatch(text):
        count, unit = int(ago[1]), ago[2].lower()
        if unit == "hour":
            return _stamp(now - timedelta(hours=count))
        if unit in ("day", "week"):
            return (today - timedelta(days=count * (7 if unit == "week" else 1))).isoformat()
        return months_before(today, count * (12 if unit == "year" else 1)).isoformat()
    if re.fullmatch(r"\d\d:\d\d", text):
        text = f"{today.isoformat()}T{text}:00Z"
    try:
        if re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
            date.fromisoformat((text + "-01-01")[:10])
            return text
        moment = datetime.fromisoformat(text)
    except ValueError:
        part.fail(f"{text!r} is not a date", _DATES)
    if moment.tzinfo is None:
        part.fail("a time needs its zone", ("2025-11-28T08:00:00Z", "2025-11-28T08:00:00+01:00"))
    return text


def instant(part: Part, now: datetime) -> str:
    """Return a FHIR instant. Raises `ShorthandError`, also for a date without time."""
    moment = when(part, now)
    if "T" not in moment:
        part.fail("a time of day is needed", ("2025-11-28T12:00:00Z", "3 hours ago", "08:00"))
    return moment


def months_before(day: date, months: int) -> date:
    """Return the same day of the month, `months` earlier.

    In a shorter month it is the last day.
    """
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    year = max(year, 1)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
