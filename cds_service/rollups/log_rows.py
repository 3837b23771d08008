"""Give the rows of the alert log page, newest first: the counts say which days to look into, so no filter means a scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from cds_service.database import WITHDRAWN, Database
from cds_service.database.database import Row
from cds_service.rollups.counting import Where, blake2b, conditions, dimensions, text_of, totals, value_of, words
from cds_service.rollups.day_counts import MS_BUCKETS
from cds_service.rollups.days import DAY, Bounds, SiteDays, days_between
from cds_service.rollups.filter import Filter, FilterError

PAGE = 50
_FOREVER = 2**62


class Match(NamedTuple):
    """A day on which cards may match: `at_most` so many, exactly so many where only fields of `daily_card` are chosen."""

    day: int
    at_most: int


@dataclass(frozen=True)
class LogRow:
    """One card that fired, with the response to it. Times are microseconds since 1970."""

    received_at: int
    call_id: bytes
    position: int  # of the card in the call's body
    uuid: bytes
    tenant: str
    client: str
    hook: str
    card: str
    version: str
    content_hash: str
    row: int
    indicator: str
    mode: str
    state: str  # shown, repeated, gave_way, capped, withdrawn
    about_order: bool
    response: str  # accepted, overridden, none
    reason: str  # code of the override reason, "" for none
    commented: bool
    answered_at: int | None
    us: int | None  # how long the call took

    @property
    def cursor(self) -> str:
        """Return where this row stands, for `newest(before=...)`."""
        return f"{self.received_at}-{self.call_id.hex()}-{self.position}"


@dataclass(frozen=True)
class LogPage:
    """Rows of one page; `before` is the cursor of the next page, None on the last."""

    rows: tuple[LogRow, ...]
    before: str | None


class _Cursor(NamedTuple):
    at: int
    call: bytes
    position: int

    @classmethod
    def of(cls, text: str) -> _Cursor:
        found = re.fullmatch(r"([0-9]{1,18})-([0-9a-f]{32})-([0-9]{1,6})", text)
        if not found:
            raise FilterError("before must be that of a link on the page")
        return cls(int(found[1]), bytes.fromhex(found[2]), int(found[3]))


# Fields that another table than daily_card counts by day.
_INDEXES = {"user": "user", "reason": "reason", "comment": "reason", "ms_from": "call", "ms_to": "call"}
# Fields with an index of the log itself.
_DIRECT = frozenset({"patient", "encounter", "order", "uuid"})
_APPLIED = frozenset(dimensions("card")) | _INDEXES.keys() | _DIRECT | {"service", "instance", "status", "row"}

_LATEST = """(SELECT f.{column} FROM log.feedback f WHERE f.card_uuid = c.uuid AND f.tenant = c.tenant AND f.client = c.client
    ORDER BY coalesce(f.outcome_at, f.received_at) DESC, f.received_at DESC, f.id DESC LIMIT 1)"""
_RESPONSE = f"coalesce({_LATEST.format(column='outcome')}, 0)"
_REASON = f"coalesce({_LATEST.format(column='reason_code')}, 0)"
_COMMENTED = f"CASE WHEN {_LATEST.format(column='comment_length')} > 0 THEN 1 ELSE 0 END"
_STATE = f"""CASE WHEN EXISTS (SELECT 1 FROM log.withdrawal w WHERE w.call_id = c.call_id AND w.received_at = c.received_at)
    THEN {WITHDRAWN} ELSE c.state END"""
_MICROSECONDS = """coalesce((SELECT max(d.total_us) FROM log.delivery d
    WHERE d.received_at = c.received_at AND d.call_id = c.call_id), {took})"""
_CALL = "SELECT 1 FROM log.call k WHERE k.tenant = c.tenant AND k.received_at = c.received_at AND k.id = c.call_id"
REPEATED = f"""EXISTS (SELECT 1 FROM log.card e WHERE e.patient = c.patient AND e.card = c.card AND e.about = c.about
    AND e.tenant = c.tenant AND e.client = c.client AND e.mode = :live AND e.state = :shown
    AND e.received_at < c.received_at AND e.received_at >= c.received_at - {DAY}
    AND NOT EXISTS (SELECT 1 FROM log.withdrawal w WHERE w.call_id = e.call_id AND w.received_at = e.received_at))"""

_ROWS = f"""SELECT c.*, {_STATE} AS final_state, {_RESPONSE} AS response, {_REASON} AS reason, {_COMMENTED} AS commented,
        {_LATEST.format(column="received_at")} AS answered_at,
        {_MICROSECONDS.format(took="k.took_us")} AS us
    FROM (SELECT c.* FROM log.card c WHERE c.received_at >= :start AND c.received_at < :end {{where}}
        ORDER BY c.received_at DESC, c.call_id DESC, c.position DESC LIMIT :limit) c
    LEFT JOIN log.call k ON k.tenant = c.tenant AND k.received_at = c.received_at AND k.id = c.call_id
    ORDER BY c.received_at DESC, c.call_id DESC, c.position DESC"""


def not_applied(chosen: Filter) -> frozenset[str]:
    """Return the fields of the filter that rows of cards do not have."""
    return chosen.names - _APPLIED


def newest(database: Database, days: SiteDays, chosen: Filter, before: str | None = None, limit: int = PAGE) -> LogPage:
    """Return the newest cards that match the filter, at most `limit`, from after `before`, the cursor of an earlier page.

    Raises FilterError for a cursor that is none, StatementTooLongError where the filter leaves too much to look at.
    """
    where, parameters = _conditions(database, chosen)
    cursor = _Cursor.of(before) if before else None
    if cursor:
        where += " AND (c.received_at, c.call_id, c.position) < (:at, :call, :position)"
        parameters |= cursor._asdict()
    found: list[LogRow] = []
    for bounds in _bounds(database, days, chosen, cursor):
        wanted = limit + 1 - len(found)
        rows = database.rows(_ROWS.format(where=where), **parameters, **bounds._asdict(), limit=wanted)
        found += [_row(database, row) for row in rows]
        if len(found) > limit:
            return LogPage(tuple(found[:limit]), found[limit - 1].cursor)
    return LogPage(tuple(found), None)


def days_with_matches(database: Database, chosen: Filter) -> list[Match]:
    """Return the counted days on which cards may match the filter, newest first."""
    found = {row["day"]: row["n"] for row in totals(database, "card", chosen, ("day",))}
    for table in sorted({_INDEXES[name] for name in chosen.names & _INDEXES.keys()}):
        counted = _days_of(database, table, chosen)
        found = {day: n for day, n in found.items() if day in counted}
    return [Match(day, n) for day, n in sorted(found.items(), reverse=True)]


def _days_of(database: Database, table: str, chosen: Filter) -> set[int]:
    """Return the days on which `table` has anything for the filter."""
    if table == "call":
        rows = totals(database, "call", chosen, ("day", "ms_bucket"), {"n": "sum(n)"})
        return {row["day"] for row in rows if _overlaps(row["ms_bucket"], chosen)}
    sums = {"n": "count(*)"}
    if table == "reason" and len(chosen["comment"]) == 1:
        sums = {"n": "sum(comments)" if chosen["comment"] == ("yes",) else "sum(n - comments)"}
    return {row["day"] for row in totals(database, table, chosen, ("day",), sums) if row["n"]}


def _overlaps(bucket: int, chosen: Filter) -> bool:
    """Tell whether calls in the bucket may have a latency above `ms_from` and up to `ms_to`."""
    above = MS_BUCKETS[MS_BUCKETS.index(bucket) - 1] if bucket != MS_BUCKETS[0] else 0
    low, high = latency_band(chosen)
    return bucket > low and above < high


def latency_band(chosen: Filter) -> tuple[int, int]:
    """Return above and up to how many milliseconds a call may have taken."""
    return max(map(int, chosen["ms_from"]), default=-1), min(map(int, chosen["ms_to"]), default=MS_BUCKETS[-1] * 1_000)


def _bounds(database: Database, days: SiteDays, chosen: Filter, cursor: _Cursor | None) -> Iterator[Bounds]:
    """Yield the spans to look into, newest first."""
    if chosen.names & _DIRECT:  # an index finds the few rows
        start = 0 if chosen.since is None else days.bounds(chosen.since).start
        yield Bounds(start, _FOREVER if chosen.until is None else days.bounds(chosen.until).end)
        return
    known = {match.day for match in days_with_matches(database, chosen)} | _days_not_counted(database, days)
    last = days.day_of(cursor.at) if cursor else None
    for day in sorted(known, reverse=True):
        inside = (chosen.since is None or day >= chosen.since) and (chosen.until is None or day <= chosen.until)
        if inside and (last is None or day <= last):
            yield days.bounds(day)


def _days_not_counted(database: Database, days: SiteDays) -> set[int]:
    """Return the days of which the counts may not know everything yet."""
    waiting = {row["day"] for row in database.rows("SELECT day FROM review.dirty_day")}
    newest = database.one("SELECT max(received_at) AS at FROM log.card")
    if newest is None or newest["at"] is None:
        return waiting
    counted = database.one("SELECT max(day) AS day FROM review.rolled_day")
    last = days.day_of(newest["at"])
    first = counted["day"] if counted and counted["day"] is not None else last
    return waiting.union(days_between(first, last) if first <= last else ())


def fixed_conditions(database: Database, chosen: Filter) -> Where:
    """Return the conditions on what a card and its call say of themselves: no later record changes whether they hold."""
    fields = [name for name in dimensions("card") if name not in ("state", "response", "repeated", "about_order")]
    where, parameters = conditions(database, chosen, (*fields, "row", "patient", "uuid"), prefix="c.")
    if len(chosen["about_order"]) == 1:
        where += f" AND c.order_key IS {'NOT ' if chosen['about_order'] == ('yes',) else ''}NULL"
    return where + _of_calls(database, chosen, parameters), parameters


def _conditions(database: Database, chosen: Filter) -> Where:
    where, parameters = fixed_conditions(database, chosen)
    parts = [where]
    # What needs a look elsewhere stands after what the row itself says.
    for name, sql in (("state", _STATE), ("response", _RESPONSE), ("reason", _REASON)):
        if chosen[name]:
            parts.append(f" AND {sql} IN :f_{name}")
            values = [value_of(database, name, text) for text in chosen[name]]
            parameters[f"f_{name}"] = [value for value in values if value is not None]
    overridden = bool(chosen["reason"] or chosen["comment"])
    if overridden:  # what the counts say of reasons is of cards that were shown and overridden
        parts.append(f" AND c.mode = :live AND {_STATE} = :shown AND {_RESPONSE} = :overridden")
    if len(chosen["comment"]) == 1:
        parts.append(f" AND {_COMMENTED} = {int(chosen['comment'] == ('yes',))}")
    repeated = len(chosen["repeated"]) == 1
    if repeated:
        is_repeat = f"c.mode = :live AND {_STATE} = :shown AND {REPEATED}"
        parts.append(f" AND {'' if chosen['repeated'] == ('yes',) else 'NOT '}({is_repeat})")
    if overridden or repeated:
        parameters |= words(database, "live", "shown", "overridden")
    if chosen["ms_from"] or chosen["ms_to"]:
        took = _MICROSECONDS.format(took="k.took_us")
        parts.append(f" AND EXISTS ({_CALL} AND {took} > :us_from AND {took} <= :us_to)")
        low, high = latency_band(chosen)
        parameters |= {"us_from": low * 1_000, "us_to": high * 1_000}
    return "".join(parts), parameters


def _of_calls(database: Database, chosen: Filter, parameters: dict[str, Any]) -> str:
    """Return the conditions on the call of a card; puts their parameters among the others."""
    parts = []
    on_call, more = conditions(database, chosen, ("service", "status"), prefix="k.")
    parameters |= more
    if chosen["instance"]:
        on_call += " AND k.instance IN :f_instance"
        parameters["f_instance"] = [blake2b(text) for text in chosen["instance"]]
    if on_call:
        parts.append(f" AND EXISTS ({_CALL}{on_call})")
    if chosen["user"]:  # the calls of a day once, in place of a look at the call of each card
        of_user, more = conditions(database, chosen, ("user",), prefix="k.")
        parameters |= more
        span = "k.received_at >= :start AND k.received_at < :end"
        parts.append(f" AND (c.received_at, c.call_id) IN (SELECT k.received_at, k.id FROM log.call k WHERE {span}{of_user})")
    if chosen["encounter"]:
        of_encounter, more = conditions(database, chosen, ("encounter",), prefix="k.")
        parameters |= more
        parts.append(f" AND (c.received_at, c.call_id) IN (SELECT k.received_at, k.id FROM log.call k WHERE 1 = 1{of_encounter})")
    if chosen["order"]:
        parameters["f_order"] = [value_of(database, "order", text) for text in chosen["order"]]
        parts.append(
            " AND c.order_key IN :f_order AND (c.received_at, c.call_id) IN "
            "(SELECT o.received_at, o.call_id FROM log.ordered o WHERE o.order_key IN :f_order)"
        )
    return "".join(parts)


def _row(database: Database, row: Row) -> LogRow:
    def name(column: str, field: str = "") -> str:
        return str(text_of(database, field or column, row[column]))

    return LogRow(
        *(row["received_at"], row["call_id"], row["position"], row["uuid"]),
        *(name("tenant"), name("client"), name("hook"), name("card"), name("version"), name("content_hash")),
        *(row["table_row"], name("indicator"), name("mode"), name("final_state", "state")),
        *(row["order_key"] is not None, name("response"), name("reason"), bool(row["commented"])),
        *(row["answered_at"], row["us"]),
    )
