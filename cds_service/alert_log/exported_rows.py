"""Make the rows of whole calls from the tables of a log's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from cds_service.alert_log.body import BODY_VERSION, FACTS_VERSION, CallBody
from cds_service.alert_log.instants import iso, key_text, uuid_text
from cds_service.alert_log.reading import NameTexts, bodies_of

_CARDS = "SELECT * FROM card WHERE received_at = ? AND call_id = ? ORDER BY position"
_ORDERED = "SELECT order_key FROM ordered WHERE received_at = ? AND call_id = ? ORDER BY order_key"
_DELIVERY = "SELECT * FROM delivery WHERE received_at = ? AND call_id = ? LIMIT 1"
_WITHDRAWN = "SELECT 1 FROM withdrawal WHERE call_id = ?"
# Feedback belongs to the newest card of its uuid that its sender was shown: a repeated call returns the same card again.
_OF_SENDER = "(feedback.client, feedback.tenant) = (card.client, card.tenant)"
_SHOWN = """mode = (SELECT id FROM name WHERE text = 'live') AND state = (SELECT id FROM name WHERE text = 'shown')
    AND NOT EXISTS (SELECT 1 FROM withdrawal WHERE withdrawal.call_id = card.call_id)"""
_FEEDBACK = f"""SELECT * FROM feedback WHERE card_uuid = :uuid
    AND (client, tenant) = (:client, :tenant) AND NOT EXISTS
    (SELECT 1 FROM card JOIN call ON (call.received_at, call.id) = (card.received_at, card.call_id)
        WHERE uuid = :uuid AND (card.received_at, call.seq, position) > (:received_at, :seq, :position) AND seq <= :last
        AND {_OF_SENDER} AND {_SHOWN}) ORDER BY seq"""  # noqa: S608 - written here
_ORPHANS = f"""SELECT * FROM feedback WHERE received_at >= :since AND seq > :seq AND NOT EXISTS
    (SELECT 1 FROM card WHERE uuid = card_uuid AND {_OF_SENDER} AND {_SHOWN}) ORDER BY seq LIMIT :page"""  # noqa: S608 - written here
_REFUSALS = "SELECT * FROM refusal WHERE received_at >= :since AND seq > :seq ORDER BY seq LIMIT :page"

_NO_BODY = CallBody(BODY_VERSION, FACTS_VERSION)  # of a repeat: it stands at the first call

Row = dict[str, Any]


class Exporter:
    """Make rows over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._texts = NameTexts(connection)
        self._body_of = bodies_of(connection)

    def exported(self, call: sqlite3.Row, last: int) -> Row:
        """Return the row of a call. `last`: the newest call that the export knows, by `seq`."""
        texts = self._texts
        at = (call["received_at"], call["id"])
        body = self._body_of(call["seq"]) or _NO_BODY
        withdrawn = self._execute(_WITHDRAWN, (call["id"],)).fetchone() is not None
        about_call = self._about_call(call, body)
        cards = []
        for card in self._execute(_CARDS, at).fetchall():
            feedback = [] if withdrawn else self._feedback(call, card, last)
            about_card = self._about_card(card, feedback)
            cards.append(about_card | {"body": body.cards[card["position"]]})
        return {
            "row": "call",
            **about_call,
            "status": 503 if withdrawn else call["status"],
            "outcome": "log_unavailable" if withdrawn else texts[call["outcome"]],
            "bytesIn": call["bytes_in"],
            "bytesOut": 0 if withdrawn else call["bytes_out"],
            "repeatOf": None if call["repeat_of"] is None else call["repeat_of"].hex(),
            "withdrawn": withdrawn,
            "tookMs": _ms(call["took_us"]),
            **self._delivery(at),
            "clockOffsetMs": call["clock_offset_ms"],
            "orders": call["orders"],
            "orderKeys": [key_text(call["key"], one[0]) for one in self._execute(_ORDERED, at)],
            "bodyVersion": body.body_version,
            "factsVersion": body.facts_version,
            "evaluations": body.evaluations,
            "sources": body.sources,
            "timings": body.timings,
            "facts": body.facts,
            "cards": cards,
        }

    def orphans(self, since: int, page: int) -> Iterator[list[Row]]:
        """Return pages of feedback whose card is not in the log, or was not shown to its sender."""
        for found in self._by_seq(_ORPHANS, since, page):
            yield [
                {
                    "row": "feedback",
                    "cardUuid": uuid_text(item["card_uuid"]),
                    "client": self._texts[item["client"]],
                    "tenant": self._texts[item["tenant"]],
                    **self._feedback_row(item),
                }
                for item in found
            ]

    def refusals(self, since: int, page: int) -> Iterator[list[Row]]:
        """Return pages of counts of requests that never became a call."""
        texts = self._texts
        for found in self._by_seq(_REFUSALS, since, page):
            yield [
                {
                    "row": "refusal",
                    "minute": iso(one["received_at"]),
                    "tenant": texts[one["tenant"]],
                    "client": texts[one["client"]],
                    "hook": texts[one["hook"]],
                    "status": one["status"],
                    "reason": texts[one["reason"]],
                    "n": one["n"],
                }
                for one in found
            ]

    def _by_seq(self, query: str, since: int, page: int) -> Iterator[list[sqlite3.Row]]:
        seq = 0
        while found := self._execute(query, {"since": since, "seq": seq, "page": page}).fetchall():
            yield found
            seq = found[-1]["seq"]

    def _about_call(self, call: sqlite3.Row, body: CallBody) -> Row:
        texts, key = self._texts, call["key"]
        return {
            "receivedAt": iso(call["received_at"]),
            "call": call["id"].hex(),
            "service": texts[call["service"]],
            "hook": texts[call["hook"]],
            "hookInstance": body.hook_instance,
            "client": texts[call["client"]],
            "tenant": texts[call["tenant"]],
            "patientKey": key_text(key, call["patient"]),
            "userKey": key_text(key, call["user_key"]),
            "encounterKey": key_text(key, call["encounter"]),
            "serviceVersion": texts[call["service_version"]],
            "knowledgeHash": texts[call["knowledge"]],
            "jurisdiction": texts[call["jurisdiction"]],
            "dialect": texts[call["dialect"]],
            "degraded": texts[call["degraded"]],
        }

    def _about_card(self, card: sqlite3.Row, feedback: list[Row]) -> Row:
        texts = self._texts
        return {
            "cardUuid": uuid_text(card["uuid"]),
            "cardId": texts[card["card"]],
            "version": texts[card["version"]],
            "contentHash": texts[card["content_hash"]],
            "indicator": texts[card["indicator"]],
            "mode": texts[card["mode"]],
            "state": texts[card["state"]],
            "tableRow": card["table_row"],
            "orderKey": key_text(card["key"], card["order_key"]),
            "about": card["about"],
            "feedback": feedback,
        }

    def _feedback(self, call: sqlite3.Row, card: sqlite3.Row, last: int) -> list[Row]:
        if (self._texts[card["mode"]], self._texts[card["state"]]) != ("live", "shown"):
            return []
        query = {name: card[name] for name in ("uuid", "client", "tenant", "received_at", "position")}
        return [self._feedback_row(item) for item in self._execute(_FEEDBACK, query | {"seq": call["seq"], "last": last})]

    def _feedback_row(self, item: sqlite3.Row) -> Row:
        reason = {name: self._texts[item[f"reason_{name}"]] for name in ("system", "code", "display")}
        return {
            "id": item["id"].hex(),
            "receivedAt": iso(item["received_at"]),
            "service": self._texts[item["service"]],
            "outcome": self._texts[item["outcome"]],
            "outcomeTimestamp": item["outcome_timestamp"],
            "accepted": msgspec.Raw(item["accepted"].encode()),
            "reason": reason if any(reason.values()) else None,
            "commentLength": item["comment_length"],
        }

    def _delivery(self, at: tuple[int, bytes]) -> Row:
        found = self._execute(_DELIVERY, at).fetchone()
        if found is None:
            return {"logMs": None, "totalMs": None, "delivered": None}
        return {"logMs": _ms(found["log_us"]), "totalMs": _ms(found["total_us"]), "delivered": bool(found["delivered"])}


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000
