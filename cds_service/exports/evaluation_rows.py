"""Yield one row for each evaluation of a card, also of those that did not fire, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cds_service.database import Database
from cds_service.exports.call_details import Details, Evaluation, Row
from cds_service.exports.call_members import call_members
from cds_service.exports.card_rows import EMPTY_LIST, ExportedRow, numbered
from cds_service.exports.cursor import Cursor
from cds_service.exports.selection import CaseRef, Selection
from cds_service.rollups.counting import conditions, value_of
from cds_service.rollups.days import Bounds

PAGE = 100  # calls read at once, of about 18 evaluations each
# Fields of a filter that a call has; card, version and outcome are those of its evaluations.
OF_CALLS = ("tenant", "client", "service", "hook", "status", "user", "patient", "encounter")
OF_EVALUATIONS = ("card", "version", "outcome", "about_order")
_MS = 1_000  # an id of a call begins with the millisecond of its receipt (UUIDv7, RFC 9562)
_LAST_MS = 253_370_764_800_000  # the year 9999; an id of a later time is that of no call

_CALLS = """SELECT k.*, {source} AS from_source, k.key AS call_key FROM log.call k
    WHERE k.repeat_of IS NULL AND k.received_at >= :start AND k.received_at < :end {where} {after}
    ORDER BY k.received_at, k.id LIMIT :limit"""
_AFTER = "AND k.received_at >= :at AND (k.received_at, k.id) > (:at, :call)"


class EvaluationRows:
    """The evaluations of a selection over one connection. A repeated call has those of the call that it repeats."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection
        self._details = Details(database, selection.snapshot)
        self._cases = frozenset(selection.cases)

    def __iter__(self) -> Iterator[ExportedRow]:
        """Yield the rows. Raises DamagedBodyError, DatabaseError."""
        for day, bounds in self._spans():
            for page in self._pages(bounds):
                yield from self._rows(day, page)

    def _spans(self) -> Iterator[tuple[int, Bounds]]:
        if not self._cases:
            yield from self._selection.spans(self._database, "call")
            return
        for ms in sorted(set(map(_received_ms, self._cases))):
            yield self._selection.days.day_of(ms * _MS), Bounds(ms * _MS, (ms + 1) * _MS)

    def _pages(self, bounds: Bounds) -> Iterator[list[Row]]:
        where, parameters = conditions(self._database, self._selection.chosen, OF_CALLS, prefix="k.")
        if order := self._selection.chosen["order"]:
            where += " AND (k.received_at, k.id) IN (SELECT received_at, call_id FROM log.ordered WHERE order_key IN :f_order)"
            parameters["f_order"] = [value_of(self._database, "order", one) for one in order]
        source = "0" if self._database.dialect == "sqlite" else "k.source"
        cursor = self._selection.after
        after: dict[str, Any] = {}
        if cursor is not None:  # the row of the cursor may not be the last of its call: the call is read again
            parameters["start_at"] = cursor.at
            where += " AND k.received_at >= :start_at"
        while True:
            sql = _CALLS.format(source=source, where=where, after=_AFTER if after else "")
            page = self._database.rows(sql, **{**parameters, **bounds._asdict(), **after}, limit=PAGE)
            if page:
                yield [one for one in page if self._selection.snapshot.holds(one["from_source"], one["seq"])]
            if len(page) < PAGE:
                return
            after = {"at": page[-1]["received_at"], "call": page[-1]["id"]}

    def _rows(self, day: int, page: Sequence[Row]) -> Iterator[ExportedRow]:
        if not page:
            return
        details = self._details.of(page)
        names = self._database.names.text
        cursor = self._selection.after
        passed = (-1, b"", -1) if cursor is None else (cursor.at, cursor.call, cursor.position)
        for call in page:
            at = call["received_at"], bytes(call["id"])
            body = details.bodies.get(at)
            about: Row | None = None
            for position, (nth, one) in enumerate(numbered(body)):
                if (*at, position) <= passed or not self._chosen(at[1], nth, one):
                    continue
                about = about if about is not None else call_members(call, names, body)
                verdicts = details.verdicts.get((at[1], one.card, nth), [])
                members = {**about, **_members(one, nth), "verdicts": verdicts}
                yield ExportedRow(day, members, Cursor(self._selection.snapshot, *at, position))

    def _chosen(self, call: bytes, nth: int, one: Evaluation) -> bool:
        if self._cases:
            return CaseRef(call, one.card, nth) in self._cases
        chosen = self._selection.chosen
        values = (one.card, one.version, one.outcome, "yes" if one.order_key else "no")
        return all(not chosen[name] or value in chosen[name] for name, value in zip(OF_EVALUATIONS, values, strict=True))


def _members(one: Evaluation, nth: int) -> Row:
    return {
        "cardId": one.card,
        "version": one.version,
        "contentHash": one.hash,
        "nth": nth,
        "outcome": one.outcome,
        "applies": "yes" if one.applies else "no",
        "orderKey": one.order_key,
        "tableRow": one.row,
        "gaveWayTo": one.gave_way_to,
        "why": one.reason or one.error,
        "evidence": one.evidence or None,
        "missing": one.missing or EMPTY_LIST,
    }


def _received_ms(case: CaseRef) -> int:
    return int.from_bytes(case.call[:6], "big")


def cases_of(texts: Sequence[str]) -> tuple[CaseRef, ...]:
    """Return the cases written as "call/card/nth", as in the address of a case. Raises ValueError, which says which line."""
    found = []
    for number, text in enumerate(texts, 1):
        call, _, rest = text.strip().rpartition("/cases/")[2].partition("/")
        card, _, nth = rest.partition("/")
        try:
            found.append(CaseRef(bytes.fromhex(call), card, int(nth)))
        except ValueError:
            raise ValueError(f"case {number} is not written as call/card/number, as in the address of a case") from None
        if len(found[-1].call) != 16 or _received_ms(found[-1]) >= _LAST_MS or not card or found[-1].nth < 1:
            raise ValueError(f"case {number} is not written as call/card/number, as in the address of a case")
    return tuple(dict.fromkeys(found))
