"""Define the records of the log: calls with their cards, feedback on cards, and what is known about a call only later.

Ids of people, encounters and orders arrive here as keyed hashes (`keys.keyed_hash`); names, notes and tokens never arrive.
JSON arrives encoded, so that the writer stores bytes that were made once.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from cds_service.alert_log.instants import micros

# Within this time, a call with the same content and response is the same call, sent again by an EHR that didn't get the response.
# Retries come within seconds; `hookInstance` alone is no proof, because some EHRs send the same one again and again.
RETRY = timedelta(seconds=60)

# One decision: card, version, content hash, outcome, row of the card's table (-1: none), whether the card applied: 1, 0 (it is
# about orders and there was none of its kind), -1 (not recorded, in version 0.1.0).
OutcomeRow: TypeAlias = tuple[str, str, str, str, int, int]
MissingRow: TypeAlias = tuple[str, str, str]  # card, criterion that was unknown and mattered, cause


def new_call_id(received_at: datetime) -> bytes:
    """Return a UUIDv7 (RFC 9562, 5.7), whose time is that of the call, so that the id alone says where its rows are."""
    return call_id(received_at, os.urandom(10))


def call_id(received_at: datetime, chance: bytes) -> bytes:
    """Return the UUIDv7 of a time and 10 random bytes, of which 74 bits are used."""
    number = (micros(received_at) // 1000 << 80) | int.from_bytes(chance)
    return (number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62).to_bytes(16)


class CardRecord(msgspec.Struct, frozen=True, gc=False):
    """One card that fired: returned (`state` is "shown"), held back, or drawn for the log only (`mode` is "shadow")."""

    uuid: str  # derived, the same for a repeated call; suggestion uuids stand in the body
    card: str  # id of the card
    version: str
    content_hash: str
    indicator: str
    mode: Literal["live", "shadow"]
    order_key: str  # keyed hash of the order that it is about, "" for none
    body: bytes  # the card's JSON exactly as returned
    about: str = ""  # names of its subjects, where its repetition depends on them
    row: int = -1  # of the card's table
    state: Literal["shown", "repeated", "gave_way", "capped"] = "shown"


class KeyPair(msgspec.Struct, frozen=True, gc=False):
    """The hashes of one id under two keys that follow each other."""

    kind: Literal["patient", "user"]
    old: str
    new: str


class SealedText(msgspec.Struct, frozen=True, gc=False):
    """A text, or packed inputs, that only those with the reveal key can read, see `sealing`."""

    kind: Literal["comment", "patient", "user", "encounter", "inputs"]
    key_id: int
    content: bytes


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call of a hook, whether or not it returned cards: the calls without cards are the denominators.

    `evaluations`, `facts`, `sources`, `queries` and `timings` are members of the record's body, see `body.CallBody`.
    """

    id: bytes  # a UUIDv7, see `new_call_id`
    received_at: datetime  # aware
    service: str
    hook: str
    hook_instance: str
    client: str  # "" for an anonymous one
    patient_key: str
    user_key: str
    encounter_key: str
    status: int  # HTTP
    outcome: str  # of its decisions (`decide.decision`), else `wire.refusal.RefusalOutcome` or "abandoned"
    evaluations: bytes  # JSON array
    sources: bytes  # JSON object: state of each prefetch key
    timings: bytes  # JSON object: ms per phase
    facts: bytes  # JSON: the facts for a replay; b"" where none are kept
    service_version: str
    knowledge_hash: str
    jurisdiction: str
    bytes_in: int
    bytes_out: int
    cards: tuple[CardRecord, ...]
    tenant: str = ""  # of the client
    digest: int | None = None  # 64 bits of a keyed hash of caller, request and response; None where no repeat is recognised
    queries: bytes = b"[]"  # JSON array: the requests to the FHIR server
    orders: int = 0  # draft orders in the call
    order_keys: tuple[str, ...] = ()  # keyed hashes of the orders that cards looked at
    outcomes: tuple[OutcomeRow, ...] = ()
    missing: tuple[MissingRow, ...] = ()
    dialect: str = ""
    took_us: int | None = None  # from receipt until this record was made
    clock_offset_ms: int | None = None  # issue time of the caller's token minus receipt; None without a token
    degraded: str = ""  # flags with a space between
    key_pairs: tuple[KeyPair, ...] = ()
    sealed: tuple[SealedText, ...] = ()


class WithdrawnRecord(msgspec.Struct, frozen=True, gc=False):
    """A logged call whose response was held back: the EHR got status 503 and none of its cards."""

    call: CallRecord
    at: datetime  # aware


class DeliveryRecord(msgspec.Struct, frozen=True, gc=False):
    """What is known of a call once its response has left."""

    call_id: bytes
    received_at: datetime
    log_us: int | None  # for which the response waited for its record; None where it has none
    total_us: int  # from receipt until the response was handed to the server
    delivered: bool  # False: the client had gone


class RefusalRecord(msgspec.Struct, frozen=True, gc=False):
    """A number of requests of one minute that never became a call."""

    minute: datetime  # its start, aware
    tenant: str
    client: str
    hook: str
    status: int
    reason: str
    n: int


class PriorRecord(msgspec.Struct, frozen=True, gc=False):
    """One live card that was shown before, as `AlertLog.prior_cards` returns it."""

    uuid: str
    card: str
    version: str
    indicator: Literal["info", "warning", "critical"]
    about: str
    row: int
    order_key: str
    hook: str
    user_key: str
    shown_at: datetime  # aware, UTC
    answered: Literal["", "accepted", "overridden"]  # feedback since; accepted wins where it contradicts itself


class FeedbackRecord(msgspec.Struct, frozen=True, gc=False):
    """One item of feedback about one card. A comment may name people: only its length is kept."""

    received_at: datetime  # aware
    service: str
    card_uuid: str
    outcome: str
    accepted: list[str]  # ids of the accepted suggestions
    reason_system: str
    reason_code: str
    reason_display: str
    comment_length: int  # characters, 0 for none
    outcome_timestamp: str  # as sent
    client: str = ""  # its sender: it counts for cards of calls of the same client and tenant
    tenant: str = ""
    id: bytes = b""  # 16 random bytes, given by `AlertLog.append_feedback` where it has none
    comment: SealedText | None = None


class QuarantineRecord(msgspec.Struct, frozen=True, gc=False):
    """The trace of a record that could not be stored, or a feedback item that could not be read."""

    noted_at: datetime  # aware
    kind: Literal["call", "feedback"]
    record_id: str  # the call's id or the card's uuid; "" for an item
    error: str  # class of the error, or the problem of the item
    service: str = ""
    client: str = ""
    tenant: str = ""
    item: str = ""  # JSON of an item as it was sent, without free text; "" for a record


Note: TypeAlias = DeliveryRecord | RefusalRecord  # nothing waits for these
Record: TypeAlias = CallRecord | WithdrawnRecord | FeedbackRecord | QuarantineRecord | Note
