"""Read what belongs to a page of calls: bodies, withdrawals, times, feedback, verdicts; a statement for each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from cds_service.alert_log.call_bodies import decompressor
from cds_service.alert_log.compression import CompressionError
from cds_service.alert_log.instants import iso
from cds_service.database import Database
from cds_service.exports.cursor import Snapshot

Row: TypeAlias = dict[str, Any]
CallId: TypeAlias = tuple[int, bytes]  # received_at, id
CardId: TypeAlias = tuple[bytes, int, int]  # uuid, tenant, client

_BODIES = {
    "sqlite": """SELECT call.received_at, call.id, content FROM log.body JOIN log.call ON call.seq = body.seq
        WHERE body.seq IN :seqs""",
    "postgres": """SELECT received_at, call_id AS id, content FROM log.body
        WHERE tenant IN :tenants AND received_at >= :first AND received_at <= :last AND call_id IN :calls""",
}
_OF_CALLS = "received_at >= :first AND received_at <= :last AND call_id IN :calls"
_VERDICT = ("reviewer", "role", "verdict", "response", "cause", "harm")


NOTHING = msgspec.Raw(b"")


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """A row of a body's evaluations; evidence and missing data stay the JSON that they are. `card` "*": truths of criteria."""

    card: str
    version: str = ""
    hash: str = ""
    outcome: str = ""
    applies: bool = True
    order_key: str = ""
    row: int = -1
    gave_way_to: str = ""
    reason: str = ""
    error: str = ""
    evidence: msgspec.Raw = NOTHING
    missing: msgspec.Raw = NOTHING


class Body(msgspec.Struct, frozen=True, gc=False):
    """The members of a body that an export needs; its largest parts, facts and truths, are passed over."""

    hook_instance: str = ""
    evaluations: list[Evaluation] = []


_decode = msgspec.json.Decoder(Body).decode


class DamagedBodyError(ValueError):
    """Raised where a body can't be read: an export that left it out would look whole."""


class CallDetails(msgspec.Struct, frozen=True):
    """What belongs to the calls of a page, by call."""

    bodies: Mapping[CallId, Body]
    withdrawn: frozenset[CallId]
    total_us: Mapping[CallId, int]
    verdicts: Mapping[tuple[bytes, str, int], Sequence[Row]]  # by call, card, nth


class Details:
    """Reads details over one connection, as of one snapshot."""

    def __init__(self, database: Database, snapshot: Snapshot) -> None:
        self._database = database
        self._snapshot = snapshot
        self._decompressed = decompressor(database)
        self._source = "0" if database.dialect == "sqlite" else "source"

    def of(self, calls: Sequence[Row]) -> CallDetails:
        """Return the details of calls: rows with seq, source, tenant, received_at and id, in the order of received_at.

        Raises DamagedBodyError, and what `Database.rows` does.
        """
        span = {"first": calls[0]["received_at"], "last": calls[-1]["received_at"], "calls": [one["id"] for one in calls]}
        return CallDetails(
            bodies=self._bodies(calls, span),
            withdrawn=frozenset((row["received_at"], bytes(row["call_id"])) for row in self._of_calls("withdrawal", "seq", span)),
            total_us=self._total_us(span),
            verdicts=self._verdicts(span),
        )

    def feedback(self, cards: Sequence[Row], live: int, shown: int) -> tuple[dict[CardId, list[Row]], dict[CardId, Row]]:
        """Return all feedback about cards in the order received, and of each card with feedback its newest shown row.

        `cards`: rows of `log.card`. Both are by uuid, tenant and client, because an answer is that of the EHR that got the card.
        """
        uuids = list({one["uuid"] for one in cards})
        rows = self._database.rows(
            f"SELECT f.*, {self._source} AS from_source FROM log.feedback f WHERE card_uuid IN :uuids ORDER BY received_at, seq",
            uuids=uuids,
        )
        found: dict[CardId, list[Row]] = defaultdict(list)
        for row in rows:
            if self._snapshot.holds(row["from_source"], row["seq"]):
                found[bytes(row["card_uuid"]), row["tenant"], row["client"]].append(row)
        return found, self._newest_shown([uuid for uuid, _, _ in found], live, shown) if found else {}

    def _newest_shown(self, uuids: Sequence[bytes], live: int, shown: int) -> dict[CardId, Row]:
        source = "k.source" if self._source == "source" else "0"
        rows = self._database.rows(
            f"""SELECT c.uuid, c.tenant, c.client, c.received_at, c.call_id, c.position, k.seq, {source} AS source
            FROM log.card c JOIN log.call k ON k.tenant = c.tenant AND k.received_at = c.received_at AND k.id = c.call_id
            WHERE c.uuid IN :uuids AND c.mode = :live AND c.state = :shown AND NOT EXISTS (SELECT 1 FROM log.withdrawal w
                WHERE w.call_id = c.call_id AND w.received_at = c.received_at)
            ORDER BY c.received_at, k.seq, c.position""",
            uuids=list(uuids),
            live=live,
            shown=shown,
        )
        return {
            (bytes(row["uuid"]), row["tenant"], row["client"]): row
            for row in rows
            if self._snapshot.holds(row["source"], row["seq"])
        }

    def _of_calls(self, table: str, columns: str, span: Mapping[str, Any]) -> list[Row]:
        rows = self._database.rows(
            f"SELECT received_at, call_id, {columns}, {self._source} AS source FROM log.{table} WHERE {_OF_CALLS}",
            **span,
        )
        return [row for row in rows if self._snapshot.holds(row["source"], row["seq"])]

    def _total_us(self, span: Mapping[str, Any]) -> dict[CallId, int]:
        found: dict[CallId, int] = {}
        for row in self._of_calls("delivery", "seq, total_us", span):
            at = row["received_at"], bytes(row["call_id"])
            found[at] = max(found.get(at, 0), row["total_us"])
        return found

    def _bodies(self, calls: Sequence[Row], span: Mapping[str, Any]) -> dict[CallId, Body]:
        if self._database.dialect == "sqlite":
            which: dict[str, Any] = {"seqs": [one["seq"] for one in calls]}
        else:
            which = {**span, "tenants": list({one["tenant"] for one in calls})}
        found = {}
        for row in self._database.rows(_BODIES[self._database.dialect], **which):
            try:
                body = _decode(self._decompressed(bytes(row["content"])))
            except (msgspec.DecodeError, CompressionError) as error:
                call = bytes(row["id"]).hex()
                raise DamagedBodyError(f"the body of call {call} ({iso(row['received_at'])}) is damaged") from error
            found[row["received_at"], bytes(row["id"])] = body
        return found

    def _verdicts(self, span: Mapping[str, Any]) -> dict[tuple[bytes, str, int], list[Row]]:
        rows = self._database.rows(
            "SELECT call_id, card, nth, reviewer, role, verdict, response, cause, harm FROM review.verdict "
            "WHERE call_id IN :calls AND seq <= :newest ORDER BY seq",
            calls=span["calls"],
            newest=self._snapshot.verdict,
        )
        found: dict[tuple[bytes, str, int], list[Row]] = defaultdict(list)
        for row in rows:
            found[bytes(row["call_id"]), row["card"], row["nth"]].append({name: row[name] for name in _VERDICT})
        return found
