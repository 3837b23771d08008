"""A CDS Hooks service call as it arrives on the wire.

A call is decoded in one typed pass over the whole body, straight into the FHIR structures that readers use. Only when something
in it doesn't fit is it decoded a second time, piece by piece, so that one odd field costs that field and not the call: an
optional field of the wrong type counts as not sent, and a prefetch value that doesn't fit is handed on as it was sent. What CDS
Hooks requires and this service can't do without is answered with a BadRequest that names the field.

Shapes are those of CDS Hooks 2.0.1; unknown fields and extensions are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from cds_service.errors import BadRequest
from cds_service.fhir import Resource
from cds_service.timings import Timings
from cds_service.trust import ANONYMOUS, Caller

S = TypeVar("S", bound=msgspec.Struct)

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what msgspec raises for a body that is no JSON text


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
    """What the hooks patient-view, order-select and order-sign say about the moment.

    After `decode_request`, `patientId` and `encounterId` are bare ids and `patientId` is never None.
    """

    userId: str | None = None  # "Practitioner/123"
    patientId: str | None = None
    encounterId: str | None = None
    selections: list[str] | None = None  # "MedicationRequest/123", references into draftOrders
    draftOrders: Raw = Raw()  # the Bundle as sent, because a suggestion changes what was sent; empty where there is none


class HookRequest(msgspec.Struct, gc=False):
    """One decoded service call."""

    hook: str
    hookInstance: str  # a UUID by the rule; anything that isn't empty by practice
    context: Context
    fhirServer: str | None  # without a slash at the end
    fhirAuthorization: FhirAuthorization | None
    prefetch: dict[str, Resource | Raw | None]  # Raw: it did not fit the fast pass; None: the EHR says that there is nothing
    caller: Caller = ANONYMOUS
    timings: Timings = msgspec.field(default_factory=Timings)


class _Wire(msgspec.Struct, gc=False):
    hook: str | None = None
    hookInstance: str | None = None
    fhirServer: str | None = None
    fhirAuthorization: FhirAuthorization | None = None
    context: Context | None = None
    prefetch: dict[str, Resource | None] | None = None


_fast = msgspec.json.Decoder(_Wire)
_members = msgspec.json.Decoder(dict[str, Raw])
_resource = msgspec.json.Decoder(Resource | None)


def decode_request(body: bytes, hook: str, caller: Caller = ANONYMOUS) -> HookRequest:
    """The call in `body`, sent by `caller` to a service of `hook`. Raises BadRequest naming the field or where JSON breaks."""
    try:
        wire = _fast.decode(body)
        prefetch: dict[str, Resource | Raw | None] = {**wire.prefetch} if wire.prefetch else {}
    except msgspec.ValidationError:
        members = decode_members(body)
        wire = _tolerant(members)
        prefetch = _tolerant_prefetch(members)
    except NOT_JSON as error:
        raise not_json(error) from None
    return _checked(wire, prefetch, hook, caller)


def decode_members(body: bytes) -> dict[str, Raw]:
    """The members of a JSON object, undecoded. Raises BadRequest when the body is something else."""
    try:
        return _members.decode(body)
    except msgspec.ValidationError:
        raise BadRequest("The body must be a JSON object") from None
    except NOT_JSON as error:
        raise not_json(error) from None


def not_json(error: Exception) -> BadRequest:
    """The error for a body that can't be decoded: says where, and repeats nothing of it."""
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest("The body holds text that is not UTF-8")
    return BadRequest(f"The body is not JSON: {error}")  # msgspec names the kind of fault and the byte, never the content


def fitting(raw: Raw | None, shape: Any) -> Any:
    """`raw` decoded as the type `shape`; None where there is nothing, or where it doesn't fit."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        return None
    except NOT_JSON as error:
        raise not_json(error) from None


def fitting_fields(raw: Raw | None, shape: type[S]) -> S | None:
    """The object `raw` as `shape`, without the fields that don't fit; None where `raw` is no object."""
    members = fitting(raw, dict[str, Raw])
    if members is None:
        return None
    values = {field.name: fitting(members.get(field.name), field.type) for field in msgspec.structs.fields(shape)}
    return shape(**{name: value for name, value in values.items() if value is not None})


def _tolerant(members: Mapping[str, Raw]) -> _Wire:
    return _Wire(
        hook=fitting(members.get("hook"), str),
        hookInstance=fitting(members.get("hookInstance"), str),
        fhirServer=fitting(members.get("fhirServer"), str),
        fhirAuthorization=fitting_fields(members.get("fhirAuthorization"), FhirAuthorization),
        context=fitting_fields(members.get("context"), Context),
    )


def _tolerant_prefetch(members: Mapping[str, Raw]) -> dict[str, Resource | Raw | None]:
    prefetch: dict[str, Resource | Raw | None] = {}
    for key, raw in (fitting(members.get("prefetch"), dict[str, Raw]) or {}).items():
        try:
            prefetch[key] = _resource.decode(raw)
        except msgspec.ValidationError:
            prefetch[key] = raw
        except NOT_JSON as error:
            raise not_json(error) from None
    return prefetch


def _checked(wire: _Wire, prefetch: dict[str, Resource | Raw | None], hook: str, caller: Caller) -> HookRequest:
    if not wire.hook:
        raise BadRequest("`hook` is required and must be a string")
    if wire.hook != hook:
        raise BadRequest(f"`hook` must be `{hook}` for this service")
    if not wire.hookInstance:
        raise BadRequest("`hookInstance` is required and must be a string that is not empty")
    return HookRequest(
        hook=wire.hook,
        hookInstance=wire.hookInstance,
        context=_checked_context(wire.context or Context(), hook),
        fhirServer=(wire.fhirServer or "").rstrip("/") or None,
        fhirAuthorization=wire.fhirAuthorization,
        prefetch=prefetch,
        caller=caller,
    )


def _checked_context(context: Context, hook: str) -> Context:
    patient_id = _id_of(context.patientId, "Patient")
    if patient_id is None:
        raise BadRequest("`context.patientId` is required and must be the id of a Patient")
    context.patientId = patient_id
    context.encounterId = _id_of(context.encounterId, "Encounter")
    if hook == "patient-view":
        return context
    # The public sandbox leaves both out when its current tab is clicked a second time.
    if bytes(memoryview(context.draftOrders)[:1]) != b"{":
        raise BadRequest(f"`context.draftOrders` is required at {hook} and must be a Bundle")
    if hook == "order-select" and not context.selections:
        raise BadRequest("`context.selections` is required at order-select and must be a list of references")
    return context


def _id_of(value: str | None, resource_type: str) -> str | None:
    """The id in "123", "Patient/123", "https://ehr.example/fhir/Patient/123" or ".../Patient/123/_history/4".

    None where `value` is none of these (a reference to another type, an empty text).
    """
    if value is None:
        return None
    before, slash, after = value.rpartition(f"{resource_type}/")
    if slash and (not before or before.endswith("/")):
        value = after.partition("/_history")[0]
    value = value.strip()
    return value if value not in ("", ".", "..") and "/" not in value else None
