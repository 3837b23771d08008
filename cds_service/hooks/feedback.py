"""Decode feedback: what clinicians did with cards, as EHRs send it.

The shape is that of CDS Hooks 2.0 (`overrideReason`: one reason as a Coding, and a comment). Also understood: a CodeableConcept
as the reason, a reason that is written flat into `overrideReason`, comments as a list (drafts of later versions), the outcome
`ignored` (the same), and Epic's spelling (`overrideReasons`, with the reason in `reason` or in an extension). Items are kept in
the order in which they came, also repeated and contradictory ones: the reader of the log decides which one is the clinician's
last. An item that can't be read is refused on its own, and the others are taken.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from cds_service.alert_log import FeedbackRecord, QuarantineRecord
from cds_service.alert_log.sealing import SealingKey
from cds_service.trust import ANONYMOUS, Caller
from cds_service.wire.errors import BadRequest
from cds_service.wire.hook_request import fitting
from cds_service.wire.strict_json import check_whole, checked_text, members_of

MAX_ITEMS = 1000
MAX_ID = 200  # characters of a card's or suggestion's uuid; ours have 36
MAX_TEXT = 200  # characters kept of a reason's system, code and display

_FLAT = ("code", "system", "display", "coding", "text")  # of a reason
OUTCOMES = ("accepted", "overridden", "ignored")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9._:|/+-]{1,200}")  # no spaces: a text that a person writes has some
# Members of a refused item whose codes are kept.
_KEPT_MEMBERS = frozenset({"card", "outcome", "outcomeTimestamp", "id", "code", "system"})
_MAX_RAW = 2_000  # characters kept of a refused item
_MAX_NAMED = 3  # refused items that an error for the whole batch names
EPIC_REASONS = "com.epic.cdshooks.feedback.overrideReason"  # the extension, in place of a code system


class _Reason(msgspec.Struct):
    code: str = ""
    system: str = ""
    display: str = ""


class RefusedItem(msgspec.Struct, frozen=True):
    """The position of an item that can't be read, and the reason, without its content."""

    index: int
    why: str


class Batch(msgspec.Struct):
    """A decoded batch: the items read, those refused, and the log's records of those refused."""

    records: list[FeedbackRecord]
    refused: list[RefusedItem]
    kept: list[QuarantineRecord]

    def expect_record(self) -> None:
        """Raise BadRequest that names the first items, where items were sent and none could be read."""
        if self.refused and not self.records:
            reasons = "; ".join(f"`feedback[{one.index}]`: {one.why}" for one in self.refused[:_MAX_NAMED])
            raise BadRequest(f"No item of `feedback` could be read. {reasons}", why="feedback")


def decode_feedback(
    body: bytes, service: str, received_at: datetime, caller: Caller = ANONYMOUS, sealing: SealingKey | None = None
) -> Batch:
    """Decode the items of `{"feedback": [...]}` that `caller` sent, at most 1000.

    `sealing`: where the site keeps comments. Raises BadRequest where `feedback` is missing, is not a list, or is too long.
    """
    body = checked_text(body)
    members = members_of(body, "the body")
    check_whole(body, "the body")
    items = fitting(members.get("feedback"), list[Raw])
    if items is None:
        raise BadRequest("`feedback` is required and must be a list", why="feedback")
    if len(items) > MAX_ITEMS:
        raise BadRequest(f"`feedback` must hold at most {MAX_ITEMS} items", why="feedback")
    batch = Batch([], [], [])
    for index, raw in enumerate(items):
        try:
            batch.records.append(_record(raw, service, received_at, caller, sealing))
        except BadRequest as error:
            why = str(error)
            batch.refused.append(RefusedItem(index, why))
            raw_kept = msgspec.json.encode(_without_words(msgspec.json.decode(raw))).decode()[:_MAX_RAW]
            batch.kept.append(QuarantineRecord(received_at, "feedback", "", why, service, caller.client, caller.tenant, raw_kept))
    return batch


def _record(raw: Raw, service: str, received_at: datetime, caller: Caller, sealing: SealingKey | None) -> FeedbackRecord:
    """Decode one item. Raises BadRequest that says what is wrong with it."""
    members = fitting(raw, dict[str, Raw])
    if members is None:
        raise BadRequest("an item must be an object")
    card = fitting(members.get("card"), str)
    if not card or len(card) > MAX_ID:
        raise BadRequest("`card` is required and must be the uuid of a card")
    outcome = (fitting(members.get("outcome"), str) or "").strip().lower()
    if outcome not in OUTCOMES:
        raise BadRequest("`outcome` is required and must be `accepted`, `overridden` or `ignored`")
    overrides = _objects(members.get("overrideReason")) or _objects(members.get("overrideReasons"))
    override = overrides[0] if overrides else {}
    reason = _reason(override)
    comment = _comment(override.get("userComment")) or _comment(members.get("userComment"))
    own_id = os.urandom(16) if sealing is not None else b""
    return FeedbackRecord(
        received_at=received_at,
        service=service,
        card_uuid=_uuid(card),
        outcome=outcome,
        accepted=_accepted(members.get("acceptedSuggestions")),
        reason_system=reason.system[:MAX_TEXT],
        reason_code=reason.code[:MAX_TEXT],
        reason_display=reason.display[:MAX_TEXT],
        comment_length=sum(map(len, comment)),
        id=own_id,
        comment=sealing.seal(own_id, "comment", "\n".join(comment)) if sealing is not None and comment else None,
        outcome_timestamp=_timestamp(fitting(members.get("outcomeTimestamp"), str)),
        client=caller.client,
        tenant=caller.tenant,
    )


def _uuid(sent: str) -> str:
    """Return a uuid in lower case (RFC 9562: its letters have no case), any other text unchanged."""
    return sent.lower() if _UUID.fullmatch(sent) else sent


def _comment(comment: Raw | None) -> list[str]:
    """Return a comment, or all comments of a list, without empty ones."""
    several = fitting(comment, list[Raw])
    return [text for one in (several if several is not None else [comment]) if (text := fitting(one, str))]


def _objects(raw: Raw | None) -> list[dict[str, Raw]]:
    """Return the objects of a list, or a single object sent in place of a list."""
    one = fitting(raw, dict[str, Raw])
    if one is not None:
        return [one]
    several = (fitting(element, dict[str, Raw]) for element in fitting(raw, list[Raw]) or ())
    return [members for members in several if members is not None]


def _accepted(raw: Raw | None) -> list[str]:
    """Return the uuids in `[{"id": ...}]`, leaving out malformed ones, so that the outcome is not lost."""
    ids = (fitting(suggestion.get("id"), str) for suggestion in _objects(raw))
    return [_uuid(uuid) for uuid in ids if uuid and len(uuid) <= MAX_ID]


def _reason(override: dict[str, Raw]) -> _Reason:
    """Return the reason in `reason`, or in `override` itself. A text that looks like a code counts as one."""
    raw = override.get("reason")
    code = fitting(raw, str) or ""
    if _CODE.fullmatch(code):
        return _Reason(code=code)
    concept = fitting(raw, dict[str, Raw]) or {name: override[name] for name in _FLAT if name in override}
    coding = next(iter(_objects(concept.get("coding"))), concept)
    reason = _Reason(*(fitting(coding.get(name), str) or "" for name in ("code", "system", "display")))
    if reason == _Reason():
        return _epic_reason(fitting(override.get("extension"), dict[str, Raw]) or {}, fitting(concept.get("text"), str) or "")
    return reason


def _epic_reason(extension: dict[str, Raw], text: str) -> _Reason:
    """Return the reason of Epic's extension, with the extension's name in place of a code system.

    Epic numbers its override reasons per site (`reasonCategory`).
    """
    category, display, title = (
        fitting(extension.get(f"{EPIC_REASONS}.{name}"), str) or "" for name in ("reasonCategory", "reasonDisplay", "reasonTitle")
    )
    return _Reason(code=category, system=EPIC_REASONS if category else "", display=display or title or text)


def _timestamp(text: str | None) -> str:
    """Return `text` where it is an ISO 8601 instant, else ""."""
    try:
        datetime.fromisoformat(text or "")
    except ValueError:
        return ""
    return text or ""


def _without_words(value: Any, name: str = "") -> Any:
    """Return `value` with the codes in known members, and the length of every other text.

    Another text may be about people.
    """
    if isinstance(value, dict):
        return {key if _CODE.fullmatch(key) else "…": _without_words(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_words(inner, name) for inner in value]
    if isinstance(value, str):
        return value if name in _KEPT_MEMBERS and _CODE.fullmatch(value) else f"({len(value)} characters)"
    return value if value is None or isinstance(value, bool) else "(a number)"
