"""Keep legal holds: what a court, an authority or an investigation needs stays, however old it is."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from cds_service.alert_log.key_pairs import hash_bytes, same_ids
from cds_service.database import Database
from cds_service.database.migrations import for_dialect

Kind = Literal["patient", "call", "client"]
_CALL_ID = re.compile(r"[0-9a-f]{32}")
_MOST_REASON = 500  # characters
_REPEAT = 120_000_000  # microseconds within which a call and its repeats lie


class HoldError(ValueError):
    """Raised for a hold that can't be meant. The text says why, without the value."""


class Hold(msgspec.Struct, frozen=True):
    """One hold that has not ended."""

    id: int
    kind: Kind
    value: str  # the patient's keyed hash, the call's id in hex, the client's name
    reason: str
    began_at: int  # microseconds since 1970


def add_hold(database: Database, kind: Kind, value: str, reason: str, at: int) -> int:
    """Begin a hold; return its number. Raises HoldError. `at`: microseconds since 1970."""
    value = value.strip() if kind == "client" else value.strip().lower()
    if kind == "patient" and hash_bytes(value) is None:
        raise HoldError("a patient is given by the hash that pages and exports show: k1: and 32 hex digits")
    if kind == "call" and not _CALL_ID.fullmatch(value.replace("-", "")):
        raise HoldError("a call is given by its id, 32 hex digits")
    if kind == "client" and database.names.id(value) is None:
        raise HoldError("the log has no call of a client of this name")
    if not reason.strip() or len(reason) > _MOST_REASON:
        raise HoldError(f"a hold needs a reason, of at most {_MOST_REASON} characters")
    row = database.one(
        "INSERT INTO review.hold (kind, value, reason, began_at) VALUES (:kind, :value, :reason, :at) RETURNING id",
        kind=kind,
        value=value.replace("-", "") if kind == "call" else value,
        reason=reason.strip(),
        at=at,
    )
    assert row is not None  # noqa: S101 - RETURNING gives the row
    return int(row["id"])


def holds(database: Database) -> list[Hold]:
    """Return the holds that have not ended, oldest first."""
    found = database.rows("SELECT id, kind, value, reason, began_at FROM review.hold WHERE ended_at IS NULL ORDER BY id")
    return [Hold(**row) for row in found]


def end_hold(database: Database, number: int, at: int) -> bool:
    """End a hold; False where there is none of this number. Its row stays, as proof of it."""
    ended = "UPDATE review.hold SET ended_at = :at WHERE id = :number AND ended_at IS NULL"
    return database.execute(ended, number=number, at=at) == 1


# What is held, for the statements of one connection.
_TABLES = (
    "CREATE TEMP TABLE held_call (tenant INTEGER NOT NULL, received_at INTEGER NOT NULL, id BLOB NOT NULL, "
    "PRIMARY KEY (received_at, id))",
    "CREATE TEMP TABLE held_feedback (received_at INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (received_at, id))",
    "CREATE TEMP TABLE held_client (client INTEGER NOT NULL)",
)
_HOLD = "INSERT INTO held_call SELECT tenant, received_at, id FROM log.call WHERE received_at < :before AND {which}"
_ONCE = " ON CONFLICT DO NOTHING"
_IN = {"patient": "patient IN :values", "call": "id IN :values", "client": "client IN :values"}
# A repeat has its cards and body with the call that it repeats, so that each keeps the other.
_FIRSTS = f"""INSERT INTO held_call SELECT f.tenant, f.received_at, f.id FROM held_call h
    JOIN log.call r ON r.tenant = h.tenant AND r.received_at = h.received_at AND r.id = h.id
    JOIN log.call f ON f.received_at BETWEEN r.received_at - {_REPEAT} AND r.received_at + {_REPEAT} AND f.id = r.repeat_of
    WHERE r.repeat_of IS NOT NULL"""
_REPEATS = f"""INSERT INTO held_call SELECT r.tenant, r.received_at, r.id FROM held_call h
    JOIN log.call r ON r.received_at BETWEEN h.received_at - {_REPEAT} AND h.received_at + {_REPEAT} AND r.repeat_of = h.id
    WHERE true"""
_FEEDBACK = """INSERT INTO held_feedback SELECT f.received_at, f.id FROM held_call h
    JOIN log.card c ON c.tenant = h.tenant AND c.received_at = h.received_at AND c.call_id = h.id
    JOIN log.feedback f ON f.card_uuid = c.uuid WHERE true"""
_FEEDBACK_OF_CLIENT = """INSERT INTO held_feedback SELECT received_at, id FROM log.feedback
    WHERE received_at < :before AND client IN (SELECT client FROM held_client)"""


def mark_held(database: Database, held: list[Hold], before: int) -> None:
    """Fill `held_call`, `held_feedback` and `held_client`, temporary tables of the connection, with what `held` keeps.

    `before`: microseconds since 1970; younger records are kept anyway.
    """
    for statement in _TABLES:
        database.execute(for_dialect(statement, database.dialect))
    for one in held:
        values = _values(database, one)
        if values:
            database.execute(_HOLD.format(which=_IN[one.kind]) + _ONCE, before=before, values=values)
        if one.kind == "client":
            database.execute_many("INSERT INTO held_client VALUES (:client)", [{"client": value} for value in values])
    for statement in (_FIRSTS, _REPEATS, _FEEDBACK):
        database.execute(statement + _ONCE)
    database.execute(_FEEDBACK_OF_CLIENT + _ONCE, before=before)


def _values(database: Database, hold: Hold) -> list[bytes | int]:
    """Return what stands in the log's column for a hold."""
    if hold.kind == "client":
        return [*database.names.ids(hold.value)]
    known = hash_bytes(hold.value)
    if known is None:  # written by hand
        return []
    return [*same_ids(database, known)] if hold.kind == "patient" else [known]
