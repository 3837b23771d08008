"""Read the records of calls with their bodies, in the order of their times, from either database of the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cds_service.alert_log.body import BODY_VERSION, FACTS_VERSION
from cds_service.alert_log.call_bodies import decompressor
from cds_service.criteria.facts import Facts
from cds_service.database import Database

_JOIN = {
    "sqlite": "LEFT JOIN log.body ON body.seq = call.seq",
    "postgres": """LEFT JOIN log.body ON body.tenant = call.tenant AND body.received_at = call.received_at
        AND body.call_id = call.id""",
}
_WITHIN = "call.repeat_of IS NULL AND call.received_at >= :since AND call.received_at < :until"
_COLUMNS = """call.id, call.received_at, call.client, call.hook, call.status, call.knowledge, call.dialect, call.service_version,
    call.degraded, call.patient, call.user_key, body.content"""


class StoredBody(msgspec.Struct, frozen=True, gc=False):
    """The members of a body that a replay compares, as the bytes that were written."""

    body_version: int
    facts_version: int
    hook_instance: str = ""
    evaluations: msgspec.Raw = msgspec.Raw(b"[]")
    facts: msgspec.Raw = msgspec.Raw(b"null")
    cards: list[msgspec.Raw] = []


class Record(msgspec.Struct, frozen=True):
    """One call that is no repeat. `body` is None where it was deleted; the others are names and ids as the log has them."""

    id: bytes
    received_at: int  # microseconds since 1970
    client: str
    hook: str
    status: int
    knowledge: str  # hash
    dialect: str
    service_version: str
    degraded: str
    patient: bytes | None
    user: bytes | None
    body: StoredBody | None

    @property
    def facts(self) -> Facts | None:
        """Return the facts; None for a call that was refused. Raises msgspec.DecodeError for damaged ones."""
        return None if self.body is None else _facts.decode(self.body.facts)


def of_patients(table: str, low: bytes, high: bytes | None) -> tuple[str, dict[str, bytes]]:
    """Return the condition on patients whose hash is in [low, high), and its parameters."""
    if high is None:
        condition, bounds = f"{table}.patient >= :low", {"low": low}
    else:
        condition, bounds = f"{table}.patient >= :low AND {table}.patient < :high", {"low": low, "high": high}
    return (condition if low else f"({condition} OR {table}.patient IS NULL)"), bounds


class NewerRecordError(ValueError):
    """Raised for a record that a newer program wrote."""


_body = msgspec.json.Decoder(StoredBody)
_facts = msgspec.json.Decoder(Facts | None)


class Records:
    """The records of one database connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decompressed = decompressor(database)

    def batches(self, since: int, until: int, size: int) -> list[tuple[int, int]]:
        """Cut the time from `since` to `until` (µs since 1970) into parts of about `size` records each."""
        found = self._database.rows(
            f"""SELECT received_at FROM (SELECT received_at, row_number() OVER (ORDER BY received_at) AS place
                FROM log.call WHERE {_WITHIN}) AS placed WHERE (place - 1) % :size = 0 ORDER BY received_at""",
            since=since,
            until=until,
            size=size,
        )
        starts = sorted({int(row["received_at"]) for row in found})
        return list(zip(starts, [*starts[1:], until], strict=True))

    def count(self, since: int, until: int) -> int:
        """Return how many records there are."""
        found = self._database.one(f"SELECT count(*) AS n FROM log.call WHERE {_WITHIN}", since=since, until=until)
        return 0 if found is None else int(found["n"])

    def between(self, since: int, until: int) -> Iterator[Record]:
        """Yield the records from `since` to before `until`.

        Raises msgspec.DecodeError, CompressionError for a damaged body, NewerRecordError for one of a newer program.
        """
        return self._read("", since=since, until=until)

    def of_patients(self, low: bytes, high: bytes | None, since: int, until: int) -> Iterator[Record]:
        """Yield the records of the patients whose hash is in [low, high), each patient's in the order of time.

        `high` None: to the end. `low` empty: calls without a patient too.
        """
        which, bounds = of_patients("call", low, high)
        return self._read(f" AND {which}", since=since, until=until, **bounds)

    def _read(self, which: str, **parameters: Any) -> Iterator[Record]:
        rows = self._database.rows(
            f"""SELECT {_COLUMNS} FROM log.call {_JOIN[self._database.dialect]} WHERE {_WITHIN}{which}
                ORDER BY call.received_at, call.id""",
            **parameters,
        )
        text = self._database.names.text
        for row in rows:
            yield Record(
                bytes(row["id"]),
                row["received_at"],
                text(row["client"]),
                text(row["hook"]),
                row["status"],
                text(row["knowledge"]),
                text(row["dialect"]),
                text(row["service_version"]),
                text(row["degraded"]),
                None if row["patient"] is None else bytes(row["patient"]),
                None if row["user_key"] is None else bytes(row["user_key"]),
                None if row["content"] is None else self._decoded(bytes(row["content"])),
            )

    def _decoded(self, content: bytes) -> StoredBody:
        body = _body.decode(self._decompressed(content))
        if body.body_version > BODY_VERSION or body.facts_version > FACTS_VERSION:
            raise NewerRecordError(f"body {body.body_version}, facts {body.facts_version}: written by a newer program")
        return body
