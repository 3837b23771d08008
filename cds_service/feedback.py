"""Feedback on cards: what a clinician did with them, as EHRs send it.

The shape is that of CDS Hooks 2.0 (`overrideReason`: one reason as a Coding, and a comment). Understood too: a CodeableConcept
as the reason, and Epic's spelling (`overrideReasons`, with the reason in `reason` or in an extension). Items are kept in the
order in which they came, repeated and contradictory ones among them: what a clinician did last is for the reader of the log to
say. A batch is taken as a whole or not at all.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Raw

from cds_service.alert_log import FeedbackRecord
from cds_service.errors import BadRequest
from cds_service.protocol import fitting
from cds_service.strictjson import check_whole, checked_text, members_of
from cds_service.trust import ANONYMOUS, Caller

MAX_ITEMS = 1000
MAX_ID = 200  # characters of a card's or suggestion's uuid; ours have 36
MAX_TEXT = 200  # characters kept of a reason's system, code and display

_EPIC = "com.epic.cdshooks.feedback.overrideReason"


class _Reason(msgspec.Struct):
    code: str = ""
    system: str = ""
    display: str = ""


def decode_feedback(body: bytes, service: str, received_at: datetime, caller: Caller = ANONYMOUS) -> list[FeedbackRecord]:
    """The items of `{"feedback": [...]}` that `caller` sent, at most 1000.

    Raises BadRequest naming the field, for example `feedback[2].outcome`.
    """
    body = checked_text(body)
    members = members_of(body, "the body")
    check_whole(body, "the body")
    items = fitting(members.get("feedback"), list[Raw])
    if items is None:
        raise BadRequest("`feedback` is required and must be a list")
    if len(items) > MAX_ITEMS:
        raise BadRequest(f"`feedback` must hold at most {MAX_ITEMS} items")
    return [_record(raw, f"feedback[{position}]", service, received_at, caller) for position, raw in enumerate(items)]


def _record(raw: Raw, where: str, service: str, received_at: datetime, caller: Caller) -> FeedbackRecord:
    members = fitting(raw, dict[str, Raw])
    if members is None:
        raise BadRequest(f"`{where}` must be an object")
    card = fitting(members.get("card"), str)
    if not card or len(card) > MAX_ID:
        raise BadRequest(f"`{where}.card` is required and must be the uuid of a card")
    outcome = fitting(members.get("outcome"), str)
    if outcome not in ("accepted", "overridden"):
        raise BadRequest(f"`{where}.outcome` is required and must be `accepted` or `overridden`")
    overrides = _objects(members.get("overrideReason")) or _objects(members.get("overrideReasons"))
    override = overrides[0] if overrides else {}
    reason = _reason(override)
    return FeedbackRecord(
        received_at=received_at,
        service=service,
        card_uuid=card,
        outcome=outcome,
        accepted=_accepted(members.get("acceptedSuggestions")),
        reason_system=reason.system[:MAX_TEXT],
        reason_code=reason.code[:MAX_TEXT],
        reason_display=reason.display[:MAX_TEXT],
        comment_length=len(fitting(override.get("userComment"), str) or ""),
        outcome_timestamp=_timestamp(fitting(members.get("outcomeTimestamp"), str)),
        client=caller.client,
        tenant=caller.tenant,
    )


def _objects(raw: Raw | None) -> list[dict[str, Raw]]:
    """The objects in a list, or the one object that stands where a list could."""
    one = fitting(raw, dict[str, Raw])
    if one is not None:
        return [one]
    several = (fitting(element, dict[str, Raw]) for element in fitting(raw, list[Raw]) or ())
    return [members for members in several if members is not None]


def _accepted(raw: Raw | None) -> list[str]:
    """Uuids in `[{"id": ...}]`. What doesn't fit is left out: the outcome is worth more than a complaint about its detail."""
    ids = (fitting(suggestion.get("id"), str) for suggestion in _objects(raw))
    return [uuid for uuid in ids if uuid and len(uuid) <= MAX_ID]


def _reason(override: dict[str, Raw]) -> _Reason:
    raw = override.get("reason")
    concept = fitting(raw, dict[str, Raw]) or {}
    coding = next(iter(_objects(concept.get("coding"))), concept)
    reason = _Reason(*(fitting(coding.get(name), str) or "" for name in ("code", "system", "display")))
    if reason == _Reason():
        return _epic_reason(fitting(override.get("extension"), dict[str, Raw]) or {}, fitting(concept.get("text"), str) or "")
    return reason


def _epic_reason(extension: dict[str, Raw], text: str) -> _Reason:
    """Epic numbers its override reasons per site (`reasonCategory`), so the extension's name stands in for a code system."""
    category, display, title = (
        fitting(extension.get(f"{_EPIC}.{name}"), str) or "" for name in ("reasonCategory", "reasonDisplay", "reasonTitle")
    )
    return _Reason(code=category, system=_EPIC if category else "", display=display or title or text)


def _timestamp(text: str | None) -> str:
    """`text` where it is an ISO 8601 instant, else ""."""
    try:
        datetime.fromisoformat(text or "")
    except ValueError:
        return ""
    return text or ""
