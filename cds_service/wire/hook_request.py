"""Decode a CDS Hooks service call.

The whole body is decoded in one pass into the FHIR structures that readers use; the JSON of the context and its draft orders is
decoded on its own. Only a body with a value that doesn't fit is decoded a second time, piece by piece, so that an odd field costs
that field and not the call: an optional field of the wrong type counts as not sent, and a prefetch value that doesn't fit is
passed on as it was sent. A missing field that CDS Hooks or this service requires is a BadRequest that names it.

Shapes are those of CDS Hooks 2.0.1; unknown fields and extensions are ignored. Members that decide about the call and stand twice
are refused, see `strict_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Raw

from cds_service.fhir.draft_entries import DraftEntries, draft_entries
from cds_service.fhir.resources import NOT_JSON, Resource
from cds_service.telemetry.timings import Timings
from cds_service.trust import ANONYMOUS, Caller
from cds_service.wire.errors import BadRequest
from cds_service.wire.strict_json import CountingDecoder, Name, check_whole, checked_text, members_of, not_json

S = TypeVar("S", bound=msgspec.Struct)

MAX_ID = 255  # characters of an id, a reference to a person, a hook instance; FHIR allows 64 for an id and Epic sends more
MAX_URL = 2048
MAX_TOKEN = 16_384
MAX_SELECTIONS = 500


class FhirAuthorization(msgspec.Struct, gc=False):
    """The bearer token for the EHR's FHIR server. Lives as long as the call; never logged or stored."""

    access_token: str | None = None
    token_type: str | None = None
    expires_in: int | float | str | None = None  # seconds; a string is seen in the wild
    scope: str | None = None
    subject: str | None = None
    patient: str | None = None

    def __repr__(self) -> str:
        return "FhirAuthorization(…)"


class Context(msgspec.Struct, gc=False):
    """The context of patient-view, order-select and order-sign.

    After `decode_request`, `patientId` and `encounterId` are bare ids and `patientId` is never None. The draft orders are in
    `HookRequest.drafts`.
    """

    userId: str | None = None  # "Practitioner/123"
    patientId: str | None = None
    encounterId: str | None = None
    selections: list[str] | None = None  # "MedicationRequest/123", references into draftOrders


class FhirQuery(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One request to the call's FHIR server, for the log: no address, because it holds ids."""

    key: str  # prefetch key
    outcome: str  # `gather.fhir_outcome.Outcome`
    status: int = 0  # HTTP; 0 where no response came
    ms: float = 0.0  # until its end, with a second try
    bytes: int = 0  # of the body
    page: int = 1  # of a search


class HookRequest(msgspec.Struct, gc=False):
    """One decoded service call."""

    hook: str
    hookInstance: str  # a UUID by the specification; in practice any text that isn't empty
    context: Context
    fhirServer: str | None  # without a slash at the end
    fhirAuthorization: FhirAuthorization | None
    prefetch: dict[str, Resource | Raw | None]  # Raw: it did not fit the fast pass; None: the EHR says that there is nothing
    drafts: DraftEntries | None = None  # `context.draftOrders`; None where it was not sent
    caller: Caller = ANONYMOUS
    timings: Timings = msgspec.field(default_factory=Timings)
    quirks: tuple[str, ...] = ()  # search quirks of the FHIR server that were used, for the log (`search_support`)
    queries: tuple[FhirQuery, ...] = ()  # that were sent for this call, for the log


class _Wire(msgspec.Struct, gc=False):
    hook: Name | None = None
    hookInstance: Name | None = None
    fhirServer: Name | None = None
    fhirAuthorization: dict[Name, Raw] | None = None
    context: dict[Name, Raw] | None = None
    prefetch: dict[Name, Resource | None] | None = None

    def names(self) -> int:
        """Return how many names a `CountingDecoder` counts where no member stands twice."""
        texts = (self.hook is not None) + (self.hookInstance is not None) + (self.fhirServer is not None)
        return texts + len(self.fhirAuthorization or ()) + len(self.context or ()) + len(self.prefetch or ())


_fast: CountingDecoder[_Wire] = CountingDecoder(_Wire)
_resource = msgspec.json.Decoder(Resource | None)


def decode_request(body: bytes, hook: str, caller: Caller = ANONYMOUS) -> HookRequest:
    """Decode the call in `body`, sent by `caller` to a service of `hook`.

    Raises BadRequest that names the field, or the place where the JSON breaks.
    """
    body = checked_text(body)
    try:
        wire, count = _fast.decode(body)
    except msgspec.ValidationError:
        members = members_of(body, "the body")
        return _checked(_tolerant(members), _tolerant_prefetch(members), hook, caller)
    except NOT_JSON as error:
        raise not_json(error, body) from None
    if count != wire.names():
        text = "A member of the body, of `context`, of `fhirAuthorization` or of `prefetch` stands twice"
        raise BadRequest(text, why="member_twice")
    return _checked(wire, cast("dict[str, Resource | Raw | None]", wire.prefetch or {}), hook, caller)


def fitting(raw: Raw | None, shape: Any) -> Any:
    """Decode `raw` as the type `shape`; return None where it is empty or doesn't fit."""
    return _fitting(raw, _decoder(shape))


def _fitting(raw: Raw | None, decoder: msgspec.json.Decoder[Any]) -> Any:
    if not raw:
        return None
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        return None
    except NOT_JSON as error:
        raise not_json(error) from None


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[tuple[str, msgspec.json.Decoder[Any]], ...]:
    return tuple((field.name, _decoder(field.type)) for field in msgspec.structs.fields(shape))


def _fitting_fields(members: Mapping[str, Raw], shape: type[S]) -> S:
    """Return a `shape` with those fields of `members` that fit."""
    fitted = shape()
    for name, decoder in _fields(shape):
        if (value := _fitting(members.get(name), decoder)) is not None:
            setattr(fitted, name, value)
    return fitted


def _object(raw: Raw | None, where: str) -> dict[str, Raw] | None:
    """Return the members of an object, None for other JSON. Raises BadRequest where a member stands twice."""
    return members_of(raw, where) if raw and bytes(memoryview(raw)[:1]) == b"{" else None


def _tolerant(members: Mapping[str, Raw]) -> _Wire:
    authorization, context = (_object(members.get(name), f"`{name}`") for name in ("fhirAuthorization", "context"))
    return _Wire(
        hook=fitting(members.get("hook"), str),
        hookInstance=fitting(members.get("hookInstance"), str),
        fhirServer=fitting(members.get("fhirServer"), str),
        fhirAuthorization=cast("dict[Name, Raw] | None", authorization),
        context=cast("dict[Name, Raw] | None", context),
    )


def _tolerant_prefetch(members: Mapping[str, Raw]) -> dict[str, Resource | Raw | None]:
    sent = members.get("prefetch")
    values = _object(sent, "`prefetch`")
    if values is None and sent and bytes(sent) != b"null":
        raise BadRequest("`prefetch` must be an object with a member for each key, or left out", why="prefetch")
    prefetch: dict[str, Resource | Raw | None] = {}
    for key, raw in (values or {}).items():
        try:
            prefetch[key] = _resource.decode(raw)
        except msgspec.ValidationError:
            prefetch[key] = raw
        except NOT_JSON as error:
            raise not_json(error) from None
    return prefetch


def _checked(wire: _Wire, prefetch: dict[str, Resource | Raw | None], hook: str, caller: Caller) -> HookRequest:
    if not wire.hook:
        raise BadRequest("`hook` is required and must be a string", why="hook")
    if wire.hook != hook:
        raise BadRequest(f"`hook` must be `{hook}` for this service", why="hook")
    if not wire.hookInstance:
        raise BadRequest("`hookInstance` is required and must be a string that is not empty", why="hookInstance")
    access = cast("Mapping[str, Raw]", wire.fhirAuthorization or {})
    authorization = _fitting_fields(access, FhirAuthorization) if access else None
    if authorization is not None:
        _no_longer_than(MAX_TOKEN, "fhirAuthorization.access_token", authorization.access_token)
        authorization.patient = _token_patient(access.get("patient"))
    hook_instance = _no_longer_than(MAX_ID, "hookInstance", str(wire.hookInstance))
    context, drafts = _checked_context(cast("Mapping[str, Raw]", wire.context or {}), hook)
    return HookRequest(
        hook=hook,
        hookInstance=hook_instance,
        context=context,
        fhirServer=_no_longer_than(MAX_URL, "fhirServer", wire.fhirServer or "").rstrip("/") or None,
        fhirAuthorization=authorization,
        prefetch=prefetch,
        drafts=drafts,
        caller=caller,
    )


def _token_patient(raw: Raw | None) -> str | None:
    """Return the patient id that the token is limited to, or None.

    Raises BadRequest for a value that can't be read, because it can't be compared with the patient of the call.
    """
    patient = fitting(raw, str | int | None)
    if patient is None and raw and bytes(raw) != b"null":
        raise BadRequest("`fhirAuthorization.patient` must be a string", why="fhirAuthorization.patient")
    return None if patient is None else _no_longer_than(MAX_URL, "fhirAuthorization.patient", str(patient))


def _checked_context(members: Mapping[str, Raw], hook: str) -> tuple[Context, DraftEntries | None]:
    """Return the context and its draft orders. Raises BadRequest where a member that the hook requires is missing."""
    context = _fitting_fields(members, Context)
    patient_id = _id_of(context.patientId, "Patient")
    if patient_id is None:
        raise BadRequest("`context.patientId` is required and must be the id of a Patient", why="context.patientId")
    context.patientId = _no_longer_than(MAX_ID, "context.patientId", patient_id)
    context.encounterId = _no_longer_than(MAX_ID, "context.encounterId", _id_of(context.encounterId, "Encounter"))
    _no_longer_than(MAX_URL, "context.userId", context.userId)
    drafts = _drafts(members.get("draftOrders", Raw()), hook)
    if hook == "patient-view":
        return context, drafts
    if hook == "order-select" and drafts is not None and not context.selections:
        text = "`context.selections` is required at order-select and must be a list of references"
        raise BadRequest(text, why="context.selections")
    if len(context.selections or ()) > MAX_SELECTIONS:
        raise BadRequest(f"`context.selections` may have at most {MAX_SELECTIONS} entries", why="context.selections")
    return context, drafts


def _drafts(raw: Raw, hook: str) -> DraftEntries | None:
    """Check and decode the draft orders; None where none were sent, which at the hooks of orders means: not checked.

    The public sandbox leaves them out, with the selections, when its current tab is clicked a second time. A refusal would look
    like "no recommendations" to the clinician. Raises BadRequest where they are malformed.
    """
    if not raw or (hook != "patient-view" and bytes(memoryview(raw)[:1]) == b"n"):  # null
        return None
    check_whole(raw, "`context.draftOrders`")
    if hook != "patient-view" and bytes(memoryview(raw)[:1]) != b"{":
        raise BadRequest(f"`context.draftOrders` must be a Bundle at {hook}", why="context.draftOrders")
    return draft_entries(raw)


L = TypeVar("L", str, str | None)


def _no_longer_than(limit: int, where: str, text: L) -> L:
    if text is not None and len(text) > limit:
        raise BadRequest(f"`{where}` may have at most {limit} characters", why=where)
    return text


def _id_of(value: str | None, resource_type: str) -> str | None:
    """Return the id in "123", "Patient/123", "https://ehr.example/fhir/Patient/123" or ".../Patient/123/_history/4".

    Returns None for any other text (a reference to another type, an empty text).
    """
    if value is None:
        return None
    before, slash, after = value.rpartition(f"{resource_type}/")
    if slash and (not before or before.endswith("/")):
        value = after.partition("/_history")[0]
    value = value.strip()
    return value if value not in ("", ".", "..") and "/" not in value else None
