"""Read the forms of the playground and make the CDS Hooks request of each."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl
from uuid import uuid4

import msgspec

from cds_service.authoring.samples import PATIENT_VIEW, Sample
from cds_service.authoring.shorthand import ShorthandError
from cds_service.knowledge.card_file import Hook
from cds_service.knowledge.services import ServiceDefinition
from cds_service.wire.errors import BadRequest
from cds_service.wire.hook_request import fitting
from cds_service.wire.strict_json import members_of

MAX_FORM_BYTES = 4 * 1024 * 1024
MAX_ORDER = 300  # characters

Form = Mapping[str, bytes]


class FormCall(msgspec.Struct, frozen=True):
    """Hold the service to call, the body to send and a title."""

    service: str
    body: bytes
    title: str


def read_form(content_type: str, body: bytes) -> Form:
    """Return the fields of a form as bytes, uploaded files included.

    The last field of a name counts.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        return {name: value.encode() for name, value in parse_qsl(body.decode("utf-8", "replace"), max_num_fields=50)}
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    fields: dict[str, bytes] = {}
    for part in BytesParser(policy=HTTP).parsebytes(header + body).iter_parts():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content
    return fields


def text(form: Form, name: str) -> str:
    """Return a field as one line of text; "" where it was not sent."""
    return " ".join(form.get(name, b"").decode("utf-8", "replace").split())


def call_from_form(
    form: Form, samples: Mapping[str, Sample], services: Mapping[str, ServiceDefinition], now: datetime
) -> FormCall:
    """Return the call that a form requests, dated `now`; `services` are by hook.

    Raises BadRequest with a text for the page.
    """
    hook = text(form, "hook")
    if hook and hook not in services:
        raise BadRequest(f"Choose one of the hooks {', '.join(services)}")
    if text(form, "what") == "request":
        return _pasted(form, hook, services)
    sample = samples.get(text(form, "sample"))
    if sample is None:
        raise BadRequest("Choose a sample patient first")
    return _of_sample(form, sample, hook, services, now)


def _pasted(form: Form, hook: str, services: Mapping[str, ServiceDefinition]) -> FormCall:
    """Return a pasted request unchanged, valid or not.

    The page shows how the service responds to it.
    """
    body = form.get("file", b"").strip() or form.get("request", b"").strip()
    if not body:
        raise BadRequest("Paste a request, or choose a file")
    if not hook:
        try:
            hook = fitting(members_of(body, "the request").get("hook"), str) or ""
        except BadRequest:
            hook = ""
    service = services.get(hook) or next(iter(services.values()))
    return FormCall(service.id, body, "A request of your own")


def _of_sample(form: Form, sample: Sample, hook: str, services: Mapping[str, ServiceDefinition], now: datetime) -> FormCall:
    order = text(form, "order")
    if len(order) > MAX_ORDER:
        raise BadRequest(f"An order may have at most {MAX_ORDER} characters")
    at: Hook = sample.hook
    if hook:
        at = services[hook].hook  # type: ignore[assignment]  # checked when the cards load
    elif order and at == PATIENT_VIEW:
        at = "order-sign"
    if order and at == PATIENT_VIEW:
        raise BadRequest("There are no orders at patient-view; choose order-select or order-sign, or leave the order out")
    if at == "order-select" and not order and not sample.orders:
        raise BadRequest("order-select is about an order that is being picked, and this sample drafts none; type one")
    line = order if order.lower().startswith("order:") else f"order: {order}"
    try:
        request = sample.request(now, at, [line] if order else None)
    except ShorthandError as error:
        column = error.column - len(line) + len(order)  # the text of the field begins after the keyword
        raise BadRequest(f"The order could not be read at character {max(column, 1)}: {error.problem}") from None
    request["hookInstance"] = str(uuid4())  # each call is new, not a repetition of the one before
    body = msgspec.json.encode(request)
    if not text(form, "same"):
        body = _as_new_patient(request["context"]["patientId"], body)
    return FormCall(services[at].id, body, sample.title)


def as_new_call(body: bytes) -> bytes:
    """Return a request with a hook instance of its own: else it is the same call, sent again."""
    request = msgspec.json.decode(body)
    return msgspec.json.encode(request | {"hookInstance": str(uuid4())}) if isinstance(request, dict) else body


def _as_new_patient(patient: str, body: bytes) -> bytes:
    """Give the request a new patient id, so that no card is a repeat."""
    fresh = f"{patient}-{secrets.token_hex(3)}"
    request = msgspec.json.decode(body.replace(f'"Patient/{patient}"'.encode(), f'"Patient/{fresh}"'.encode()))
    request["context"]["patientId"] = fresh
    if chart := request["prefetch"].get("patient"):
        chart["id"] = fresh
    return msgspec.json.encode(request)
