"""Read bodies and archived knowledge from either database of the log, for the pages that show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_service.alert_log.body import CallBody, decode_body
from cds_service.alert_log.compression import Decompressor
from cds_service.alert_log.knowledge_archive import unpack_knowledge
from cds_service.database import Database

_BODY = {
    "sqlite": """SELECT body.content FROM log.body JOIN log.call ON call.seq = body.seq
        WHERE call.received_at = :received_at AND call.id = :id""",
    "postgres": "SELECT content FROM log.body WHERE tenant = :tenant AND received_at = :received_at AND call_id = :id",
}
_FIRST = "SELECT id, received_at, tenant, repeat_of FROM log.call WHERE id = :id AND received_at BETWEEN :since AND :until"
_MINUTE = 60_000_000  # microseconds; a repeat comes within one


def read_body(database: Database, call: Mapping[str, Any]) -> CallBody | None:
    """Return the body of a call: for a repeat, that of the call which it repeats. None where it was deleted.

    `call`: id, received_at, tenant and repeat_of of a row of `log.call`. Raises CompressionError or msgspec.DecodeError for a
    damaged body, ValueError for one of a newer program, and what `Database.rows` does.
    """
    at = call["received_at"]
    if call["repeat_of"] is not None:
        first = database.one(_FIRST, id=bytes(call["repeat_of"]), since=at - 2 * _MINUTE, until=at + 2 * _MINUTE)
        return None if first is None else read_body(database, first | {"repeat_of": None})
    which = {"id": bytes(call["id"]), "received_at": at}
    if database.dialect == "postgres":
        which["tenant"] = call["tenant"]
    found = database.one(_BODY[database.dialect], **which)
    return None if found is None else decode_body(decompressor(database)(bytes(found["content"])))


def archived_files(database: Database, knowledge_hash: str) -> dict[str, bytes] | None:
    """Return the files of an archived version of the knowledge by their paths; None where it is not in the log.

    `restore_knowledge` writes them into a folder from which `load_knowledge` loads them.
    """
    number = database.names.id(knowledge_hash)
    if number is None:
        return None
    found = database.one("SELECT content FROM log.knowledge WHERE hash = :hash", hash=number)
    return None if found is None else unpack_knowledge(bytes(found["content"]))


def decompressor(database: Database) -> Decompressor:
    """Return what decompresses the bodies of one connection; it remembers the dictionaries that it needed."""

    def dictionary(number: int) -> bytes | None:
        found = database.one("SELECT content FROM log.dictionary WHERE id = :id", id=number)
        return None if found is None else bytes(found["content"])

    return Decompressor(dictionary)
