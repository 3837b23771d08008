"""Add up a daily table for a filter, over whole months where they are added up already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from cds_service.database import Database
from cds_service.database.database import Row
from cds_service.database.review_tables import COUNTS
from cds_service.rollups.days import plus, week_of
from cds_service.rollups.filter import Filter

NO_RESPONSE = "none"  # how response 0 is said
# Fields of a filter whose column has another name.
_COLUMNS = {"repeated": "repeated_24h", "row": "table_row", "user": "user_key"}
_FIELD_OF = {column: field for field, column in _COLUMNS.items()}
_NO_SUCH_NAME = -9
_MANY_DAYS = 600  # as a difference of two YYYYMMDD: about half a year
_NUMBERS = {"repeated_24h", "about_order", "table_row", "applies", "status", "ms_bucket", "hour"}
_YES_NO = {"repeated_24h", "about_order"}

Where = tuple[str, dict[str, Any]]


def dimensions(table: str) -> tuple[str, ...]:
    """Return what the rows of a daily table are apart by, in the words of filters."""
    return tuple(_FIELD_OF.get(column, column) for column in COUNTS[table][0].split(", "))


def ignored(table: str, chosen: Filter) -> frozenset[str]:
    """Return the fields of the filter that this table can't apply; a page says so beside the figure."""
    return chosen.names - set(dimensions(table))


def value_of(database: Database, field: str, text: str) -> int | bytes | None:
    """Return what stands in a column for a filter's text; None where the log has no such name."""
    column = _COLUMNS.get(field, field)
    if column in _YES_NO:
        return int(text == "yes")
    if column in _NUMBERS:
        return int(text)
    if field in ("user", "patient", "encounter", "order"):
        return bytes.fromhex(text.rpartition(":")[2])
    if field == "uuid":
        return _uuid(text)
    if field == "response" and text == NO_RESPONSE:
        return 0
    return database.names.id(text)


def blake2b(text: str) -> bytes:
    """Return the 16 bytes by which the log knows a text of a caller that is no id of a person."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _uuid(text: str) -> bytes:
    """Return what stands in the log for the uuid of a card as a client sent it."""
    try:
        return UUID(text).bytes
    except ValueError:
        return blake2b(text)


def words(database: Database, *texts: str) -> dict[str, int]:
    """Return the ids of the texts; for one that no record has named yet, an id that no row has."""
    found = {text: database.names.id(text) for text in texts}
    return {text: _NO_SUCH_NAME if id_ is None else id_ for text, id_ in found.items()}


def text_of(database: Database, field: str, value: Any) -> str | int:
    """Return a column's value as filters and pages say it."""
    column = _COLUMNS.get(field, field)
    if column in _YES_NO:
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if column in _NUMBERS or field in ("day", "week"):
        return int(value)
    if field == "response" and value == 0:
        return NO_RESPONSE
    return database.names.text(value)


def conditions(database: Database, chosen: Filter, fields: Iterable[str], prefix: str = "") -> Where:
    """Return the conditions that the filter sets on these fields, each beginning with AND, and their parameters."""
    parts, parameters = [], {}
    for field in fields:
        if wanted := chosen[field]:
            parts.append(f" AND {prefix}{_COLUMNS.get(field, field)} IN :f_{field}")
            values = [value_of(database, field, text) for text in wanted]
            parameters[f"f_{field}"] = [value for value in values if value is not None]
    return "".join(parts), parameters


def _days_counted(database: Database, chosen: Filter) -> tuple[int, int, bool] | None:
    """Return the first and last counted day of the filter, and whether nothing is counted before the first."""
    known = database.one("SELECT min(day) AS first, max(day) AS last FROM review.rolled_day")
    if known is None or known["first"] is None:
        return None
    first = known["first"] if chosen.since is None else max(chosen.since, known["first"])
    last = known["last"] if chosen.until is None else min(chosen.until, known["last"])
    return (first, last, first == known["first"]) if first <= last else None


def _whole_months(database: Database, first: int, last: int, begins: bool) -> list[int]:
    """Return the months from `first` to `last` that are added up already; `begins`: nothing is counted before `first`."""
    rows = database.rows(
        "SELECT month FROM review.rolled_month WHERE month >= :first AND month <= :last ORDER BY month",
        first=first // 100 if begins or first % 100 == 1 else first // 100 + 1,
        last=last // 100,
    )
    return [row["month"] for row in rows if plus(last, 1) // 100 > row["month"]]


def _gaps(months: Sequence[int], first: int, last: int) -> list[tuple[int, int]]:
    """Return the ranges of days from `first` to `last` that lie in none of the months."""
    gaps, start = [], first
    for month in months:
        if start <= month * 100:
            gaps.append((start, month * 100))
        start = month * 100 + 32  # there is no such day, and none between it and the next
    return [*gaps, (start, last)] if start <= last else gaps


def totals(
    database: Database,
    table: str,
    chosen: Filter,
    by: Sequence[str] = (),
    sums: Mapping[str, str] | None = None,
    *,
    daily: bool = False,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> list[Row]:
    """Add up `daily_<table>` for the filter, a row for each combination of `by`, in the order of `by`.

    `by`: dimensions of the table, `day` or `week` (its Monday). `sums`: expressions by name, default the sum of each count of
    the table; `parameters` are theirs, and where one names `day`, `daily` must be true. Values come as filters say them
    (`response` none, `repeated` yes), days and numbers as int, keys of users in hexadecimal. Fields of the filter that the table
    does not have are left aside: see `ignored`. Raises ValueError for a `by` that the table does not have.
    """
    own = dimensions(table)
    columns = ["day" if field == "week" else field for field in by]
    if unknown := [field for field in columns if field not in (*own, "day")]:
        raise ValueError(f"{table} is not counted by {', '.join(unknown)}")
    counts = COUNTS[table][1].split(", ")
    sums = sums or {count: f"sum({count})" for count in counts}
    source, where = _source(database, table, chosen, columns, daily=daily or "day" in columns)
    if not source:
        return []
    keys = ", ".join(_COLUMNS.get(field, field) for field in columns)
    chosen_sums = ", ".join(f"coalesce({expression}, 0) AS {name}" for name, expression in sums.items())
    statement = f"SELECT {keys + ', ' if keys else ''}{chosen_sums} FROM ({source}) counted"
    if keys:
        statement += f" GROUP BY {keys} ORDER BY {keys}"
    found = database.rows(statement, **where, **parameters)
    rows = [_said(database, row, columns) | {name: row[name] for name in sums} for row in found]
    return _by_week(rows, by, sums) if "week" in by else rows


def _by_week(rows: list[Row], by: Sequence[str], sums: Mapping[str, str]) -> list[Row]:
    weeks: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        row["week"] = week_of(row["day"])
        key = tuple(row[field] for field in by)
        if key not in weeks:
            weeks[key] = dict(zip(by, key, strict=True)) | dict.fromkeys(sums, 0)
        for name in sums:
            weeks[key][name] += row[name]
    return [weeks[key] for key in sorted(weeks)]


def span_of_days(database: Database, table: str, chosen: Filter, by: Sequence[str]) -> list[Row]:
    """Return rows of `by`, `first` and `last`: on which days `daily_<table>` has each combination.

    Months say in which months to look for the days. Values and fields of the filter are as in `totals`.
    """
    counted = _days_counted(database, chosen)
    if counted is None:
        return []
    first, last, begins = counted
    months = _whole_months(database, first, last, begins)
    where, parameters = conditions(database, chosen, dimensions(table))
    keys = ", ".join(_COLUMNS.get(field, field) for field in by)
    found = database.rows(
        f"SELECT min(month) AS first, max(month) AS last FROM review.monthly_{table} "
        f"WHERE month IN :months{where} GROUP BY {keys}",
        months=months,
        **parameters,
    )
    ends = {month for row in found for month in (row["first"], row["last"])}
    spans = [(month * 100, month * 100 + 31) for month in sorted(ends)] + _gaps(months, first, last)
    parts = []
    for number, (start, end) in enumerate(spans):
        parts.append(f"SELECT day, {keys} FROM review.daily_{table} WHERE day >= :start_{number} AND day <= :end_{number}{where}")
        parameters |= {f"start_{number}": start, f"end_{number}": end}
    rows = database.rows(
        f"SELECT {keys}, min(day) AS first, max(day) AS last FROM ({' UNION ALL '.join(parts)}) seen "
        f"GROUP BY {keys} ORDER BY {keys}",
        **parameters,
    )
    return [_said(database, row, by) | {"first": row["first"], "last": row["last"]} for row in rows]


def _said(database: Database, row: Row, by: Sequence[str]) -> Row:
    return {field: text_of(database, field, row[_COLUMNS.get(field, field)]) for field in by}


def _source(database: Database, table: str, chosen: Filter, columns: Sequence[str], *, daily: bool) -> Where:
    """Return the rows to add up, as a statement; an empty one where no day is counted."""
    counted = _days_counted(database, chosen)
    if counted is None:
        return "", {}
    first, last, begins = counted
    # Many days of every card: the index of cards has them in this order already, so that nothing is sorted. A plus before the
    # day keeps both databases from going by days.
    by_card = list(columns[:2]) == ["card", "day"] and not chosen["card"] and last - first > _MANY_DAYS
    months = [] if daily else _whole_months(database, first, last, begins)
    where, parameters = conditions(database, chosen, dimensions(table))
    columns = ", ".join(COUNTS[table])
    parts = []
    if months:
        parts.append(f"SELECT {columns} FROM review.monthly_{table} WHERE month IN :months{where}")
        parameters["months"] = months
    day = "+day" if by_card else "day"
    for number, (start, end) in enumerate(_gaps(months, first, last)):
        parts.append(
            f"SELECT {'day, ' if daily else ''}{columns} FROM review.daily_{table} "
            f"WHERE {day} >= :start_{number} AND {day} <= :end_{number}{where}"
        )
        parameters |= {f"start_{number}": start, f"end_{number}": end}
    return " UNION ALL ".join(parts), parameters
