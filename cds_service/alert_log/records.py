"""Define the records of the log: calls with their cards, feedback on cards, quarantined records.

Ids of people, encounters and orders arrive here as keyed hashes (`keys.keyed_hash`); names, notes and tokens never arrive.
JSON arrives encoded, so that the writer stores bytes that were made once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec

# Within this time, a call with the same content and response is the same call, sent again by an EHR that didn't get the response.
# Retries come within seconds; `hookInstance` alone is no proof, because some EHRs send the same one again and again.
RETRY = timedelta(seconds=60)


class CardRecord(msgspec.Struct, frozen=True, gc=False):
    """One card that was returned, or was drawn for the log only (`mode` is "shadow")."""

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


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call of a hook, whether or not it returned cards: the calls without cards are the denominators.

    `evaluations` is a JSON array with an object per evaluated card (and order). `card` (id) and `order_key` join it to a
    CardRecord; `evidence` and `missing` are exported beside the card. All but `card` may be left out where they are empty.
    Review also finds there outcome, truth of each criterion, version and hash.
    """

    id: str  # uuid4, 32 hex digits, made by the caller
    received_at: datetime  # aware
    service: str
    hook: str
    hook_instance: str
    client: str  # "" for an anonymous one
    patient_key: str
    user_key: str
    encounter_key: str
    status: int  # HTTP
    outcome: str  # of its decisions (`decide.decision`), else `wire.refusal.RefusalOutcome`, "abandoned" or "log_unavailable"
    evaluations: bytes
    sources: bytes  # JSON: state of each prefetch key, fetches
    timings: bytes  # JSON: ms per phase
    facts: bytes  # JSON: the facts for a replay; b"" where none are kept
    service_version: str
    knowledge_hash: str
    jurisdiction: str
    bytes_in: int
    bytes_out: int
    cards: tuple[CardRecord, ...]
    tenant: str = ""  # of the client
    digest: str = ""  # keyed hash of caller, request and response; "" where repeats are not recognised


class WithdrawnRecord(msgspec.Struct, frozen=True, gc=False):
    """A logged call whose response was held back: it takes the place of the call's first record."""

    call: CallRecord  # as it ends in the log


def withdrawn(call: CallRecord) -> WithdrawnRecord:
    """Return the record of the same call with response 503 instead, which showed no card.

    The digest goes, so that the same call sent again is no repeat of this one and gets a record with its cards.
    """
    return WithdrawnRecord(msgspec.structs.replace(call, status=503, outcome="log_unavailable", bytes_out=0, cards=(), digest=""))


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
