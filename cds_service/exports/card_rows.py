"""Yield one row for each card that fired: live or in shadow, shown or held back, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cds_service.alert_log.instants import iso, key_text, uuid_text
from cds_service.database import Database
from cds_service.exports.call_details import Body, CallDetails, Details, Evaluation, Row
from cds_service.exports.call_members import call_members
from cds_service.exports.cursor import Cursor
from cds_service.exports.selection import Selection
from cds_service.rollups.counting import NO_RESPONSE, words
from cds_service.rollups.days import Bounds
from cds_service.rollups.log_rows import REPEATED, fixed_conditions, latency_band

PAGE = 200  # cards read at once, with their bodies
EMPTY_LIST = msgspec.Raw(b"[]")
FIRED = frozenset({"fired", "repeated", "gave_way", "capped"})

_CARDS = """SELECT c.*, k.seq, {source} AS source, k.id, k.service, k.key AS call_key, k.user_key, k.encounter,
        k.service_version, k.knowledge, k.jurisdiction, k.dialect, k.degraded, k.took_us, {repeated} AS is_repeat
    FROM log.card c JOIN log.call k ON k.tenant = c.tenant AND k.received_at = c.received_at AND k.id = c.call_id
    WHERE c.received_at >= :start AND c.received_at < :end {where} {after}
    ORDER BY c.received_at, c.call_id, c.position LIMIT :limit"""
_AFTER = "AND c.received_at >= :at AND (c.received_at, c.call_id, c.position) > (:at, :call, :position)"


class ExportedRow(NamedTuple):
    """One row: the day of the site on which it lies, its members, and the cursor behind it."""

    day: int
    members: Row
    cursor: Cursor


class CardRows:
    """The cards of a selection over one connection."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection
        self._details = Details(database, selection.snapshot)
        self._words = words(database, "live", "shown")
        self._low, self._high = latency_band(selection.chosen)

    def __iter__(self) -> Iterator[ExportedRow]:
        """Yield the rows. Raises DamagedBodyError, DatabaseError."""
        where, parameters = fixed_conditions(self._database, self._selection.chosen)
        for day, bounds in self._selection.spans(self._database, "card"):
            for page in self._pages(bounds, where, parameters):
                yield from self._rows(day, page)

    def _pages(self, bounds: Bounds, where: str, parameters: Mapping[str, Any]) -> Iterator[list[Row]]:
        repeated = self._selection.chosen["repeated"]
        sql = _CARDS.format(
            source="0" if self._database.dialect == "sqlite" else "k.source",
            repeated=f"CASE WHEN {REPEATED} THEN 1 ELSE 0 END" if repeated else "0",
            where=where,
            after="{after}",
        )
        if repeated:
            parameters = {**parameters, **self._words}
        after: dict[str, Any] = {}
        if (cursor := self._selection.after) is not None:
            after = {"at": cursor.at, "call": cursor.call, "position": cursor.position}
        while True:
            condition = _AFTER if after else ""
            page = self._database.rows(sql.format(after=condition), **{**parameters, **bounds._asdict(), **after}, limit=PAGE)
            if page:
                yield [one for one in page if self._selection.snapshot.holds(one["source"], one["seq"])]
            if len(page) < PAGE:
                return
            last = page[-1]
            after = {"at": last["received_at"], "call": last["call_id"], "position": last["position"]}

    def _rows(self, day: int, page: Sequence[Row]) -> Iterator[ExportedRow]:
        if not page:
            return
        details = self._details.of(page)
        feedback, newest = self._details.feedback(page, self._words["live"], self._words["shown"])
        evaluations = _Evaluations(details)
        names = self._database.names.text
        for card in page:
            at = card["received_at"], bytes(card["call_id"])
            asked = bytes(card["uuid"]), card["tenant"], card["client"]
            said = feedback.get(asked, [])
            answer = max(said, key=_counts_last, default=None)
            place = newest.get(asked)
            here = place is not None and _place(place) == _place(card)
            us = details.total_us.get(at, card["took_us"])
            evaluation = evaluations.of(card, names(card["card"]))
            members = {
                **call_members(card, names, details.bodies.get(at)),
                "cardUuid": uuid_text(bytes(card["uuid"])),
                "cardId": names(card["card"]),
                "version": names(card["version"]),
                "contentHash": names(card["content_hash"]),
                "indicator": names(card["indicator"]),
                "mode": names(card["mode"]),
                "state": "withdrawn" if at in details.withdrawn else names(card["state"]),
                "tableRow": card["table_row"],
                "orderKey": key_text(card["key"], _bytes(card["order_key"])),
                "about": card["about"],
                "response": NO_RESPONSE if answer is None else names(answer["outcome"]) or NO_RESPONSE,
                "reason": "" if answer is None else names(answer["reason_code"]),
                "tookMs": None if us is None else us / 1000,
                **evaluation,
                "feedback": [_feedback(one, names) for one in said] if here and at not in details.withdrawn else [],
                "verdicts": details.verdicts.get((at[1], names(card["card"]), evaluation["nth"]), []),
            }
            if self._chosen(members, answer, card["is_repeat"], us):
                yield ExportedRow(day, members, Cursor(self._selection.snapshot, *at, card["position"]))

    def _chosen(self, row: Row, answer: Row | None, is_repeat: int, us: int | None) -> bool:
        """Return whether the filter wants the row, in what may change after the call: state, response, reason, latency."""
        chosen = self._selection.chosen
        if any(chosen[name] and row[name] not in chosen[name] for name in ("state", "response", "reason")):
            return False
        live = row["mode"] == "live" and row["state"] == "shown"
        if (chosen["reason"] or chosen["comment"]) and not (live and row["response"] == "overridden"):
            return False
        commented = answer is not None and answer["comment_length"] > 0
        if chosen["comment"] and ("yes" if commented else "no") not in chosen["comment"]:
            return False
        if chosen["repeated"] and ("yes" if live and is_repeat else "no") not in chosen["repeated"]:
            return False
        if chosen["ms_from"] or chosen["ms_to"]:
            return us is not None and self._low * 1_000 < us <= self._high * 1_000
        return True


class _Evaluations:
    """Find the evaluation that drew each card. Cards of a call that are alike take theirs in order."""

    def __init__(self, details: CallDetails) -> None:
        self._bodies = details.bodies
        self._left: dict[tuple[int, bytes], list[tuple[int, Evaluation]]] = {}

    def of(self, card: Row, name: str) -> Row:
        """Return evidence and missing data of a card, null for the notice, and which evaluation of its card it is."""
        at = card["received_at"], bytes(card["call_id"])
        if at not in self._left:
            self._left[at] = numbered(self._bodies.get(at))
        wanted = name, "" if card["order_key"] is None else bytes(card["order_key"]).hex()
        for place, (nth, one) in enumerate(self._left[at]):
            if one.card == wanted[0] and one.order_key.rpartition(":")[2] == wanted[1]:
                del self._left[at][place]
                return {"nth": nth, "evidence": one.evidence or EMPTY_LIST, "missing": one.missing or EMPTY_LIST}
        return {"nth": 1, "evidence": None, "missing": None}


def numbered(body: Body | None) -> list[tuple[int, Evaluation]]:
    """Return the evaluations of a call, each with which of its card it is, from 1."""
    seen: dict[str, int] = {}
    found = []
    for one in body.evaluations if body is not None else ():
        if one.card != "*":
            seen[one.card] = seen.get(one.card, 0) + 1
            found.append((seen[one.card], one))
    return found


def _counts_last(item: Row) -> tuple[int, int, bytes]:
    """Return by what the answer that counts is the greatest: the time of its outcome, as on the pages."""
    at = item["outcome_at"] if item["outcome_at"] is not None else item["received_at"]
    return at, item["received_at"], bytes(item["id"])


def _place(card: Row) -> tuple[int, bytes, int]:
    return card["received_at"], bytes(card["call_id"]), card["position"]


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _feedback(item: Row, names: Any) -> Row:
    reason = {name: names(item[f"reason_{name}"]) for name in ("system", "code", "display")}
    return {
        "id": bytes(item["id"]).hex(),
        "receivedAt": iso(item["received_at"]),
        "service": names(item["service"]),
        "outcome": names(item["outcome"]),
        "outcomeTimestamp": item["outcome_timestamp"],
        "accepted": msgspec.Raw(item["accepted"].encode()),
        "reason": reason if any(reason.values()) else None,
        "commentLength": item["comment_length"],
    }
