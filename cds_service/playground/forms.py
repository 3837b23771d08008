"""Read the forms of the playground and make the CDS Hooks request of each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from cds_service.authoring.samples import PATIENT_VIEW, Sample
from cds_service.authoring.shorthand import ShorthandError, request_from_case
from cds_service.knowledge.card_file import Hook
from cds_service.knowledge.services import ServiceDefinition
from cds_service.playground.completions import LabChoice
from cds_service.playground.imports import imported
from cds_service.wire.errors import BadRequest
from cds_service.wire.hook_request import fitting
from cds_service.wire.strict_json import checked_text, members_of

MAX_FORM_BYTES = 4 * 1024 * 1024
MAX_ORDER = 300  # characters
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,4})?")
_ORDERED = ("draftOrders", "selections")  # members of the context

Form = Mapping[str, bytes]


class FormCall(msgspec.Struct, frozen=True):
    """Hold the service to call, the body to send, a title, and notes on how the body came about."""

    service: str
    body: bytes
    title: str
    notes: tuple[str, ...] = ()


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
    form: Form,
    samples: Mapping[str, Sample],
    services: Mapping[str, ServiceDefinition],
    labs: Iterable[LabChoice],
    now: datetime,
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
    return _of_sample(form, sample, hook, services, labs, now)


def call_with_order(request: bytes, form: Form, services: Mapping[str, ServiceDefinition], title: str, now: datetime) -> FormCall:
    """Return the call of a kept `request` with another order in place of its draft orders, and nothing else changed.

    At patient-view, which has no orders, it becomes a call of order-sign. Raises BadRequest with a text for the page.
    """
    order = _order(form)
    if not order:
        raise BadRequest("Type the order to draft")
    body = msgspec.json.decode(request)
    context = body.get("context") if isinstance(body, dict) else None
    if not isinstance(context, dict) or not isinstance(patient := context.get("patientId"), str):
        raise BadRequest("The request names no patient, so no order can be drafted for one")
    at = body.get("hook") if body.get("hook") in services else "order-sign"
    at = "order-sign" if at == PATIENT_VIEW else at
    drafted = _expanded(order, lambda line: request_from_case([line], at, now, {"id": patient.rpartition("/")[2]}))
    body |= {"hook": at, "context": context | {name: drafted["context"][name] for name in _ORDERED if name in drafted["context"]}}
    return FormCall(services[at].id, as_new_call(msgspec.json.encode(body)), title, (f"Only the order was changed: {order}",))


def _order(form: Form) -> str:
    order = text(form, "order")
    if len(order) > MAX_ORDER:
        raise BadRequest(f"An order may have at most {MAX_ORDER} characters")
    return order


def _expanded(order: str, make: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` makes of the line of an order. Raises BadRequest with the character at fault."""
    line = order if order.lower().startswith("order:") else f"order: {order}"
    try:
        return make(line)
    except ShorthandError as error:
        column = error.column - len(line) + len(order)  # the text of the field begins after the keyword
        raise BadRequest(f"The order could not be read at character {max(column, 1)}: {error.problem}") from None


def _pasted(form: Form, hook: str, services: Mapping[str, ServiceDefinition]) -> FormCall:
    """Return what was pasted: a request unchanged, valid or not, or the request that was found in something else.

    The page shows how the service responds to it.
    """
    pasted = form.get("file", b"").strip() or form.get("request", b"").strip()
    if not pasted:
        raise BadRequest("Paste a request, or choose a file")
    body, notes = imported(pasted)
    try:
        sent = fitting(members_of(checked_text(body), "the request").get("hook"), str) or ""
    except BadRequest:
        sent = ""
    service = services.get(hook or sent) or next(iter(services.values()))
    if hook and notes:  # what was made here follows the choice; a request that was sent is never changed
        body = _at_hook(body, hook)
    return FormCall(service.id, body, "A request of your own", notes)


def _at_hook(body: bytes, hook: str) -> bytes:
    """Return a made request for another hook; at order-select all draft orders are selected."""
    request = msgspec.json.decode(body)
    if not isinstance(request, dict) or not isinstance(context := request.get("context"), dict):
        return body
    if hook != PATIENT_VIEW:
        drafts = context.setdefault("draftOrders", {"resourceType": "Bundle", "type": "collection"})
        entries = [entry["resource"] for entry in drafts.get("entry", [])]
        if hook == "order-select":
            context["selections"] = [f"{one['resourceType']}/{one['id']}" for one in entries]
    return msgspec.json.encode(request | {"hook": hook})


def _of_sample(
    form: Form,
    sample: Sample,
    hook: str,
    services: Mapping[str, ServiceDefinition],
    labs: Iterable[LabChoice],
    now: datetime,
) -> FormCall:
    order = _order(form)
    at: Hook = sample.hook
    if hook:
        at = services[hook].hook  # type: ignore[assignment]  # checked when the cards load
    elif order and at == PATIENT_VIEW:
        at = "order-sign"
    if order and at == PATIENT_VIEW:
        raise BadRequest("There are no orders at patient-view; choose order-select or order-sign, or leave the order out")
    if at == "order-select" and not order and not sample.orders:
        raise BadRequest("order-select is about an order that is being picked, and this sample drafts none; type one")
    added = list(_added(form, labs, now))
    chart = replace(sample, given=[*sample.given, *added])
    try:
        chart.request(now, at, [])
    except ShorthandError as error:
        raise BadRequest(f"What is added to the chart could not be read: {error.problem}") from None
    request = _expanded(order, lambda line: chart.request(now, at, [line] if order else None))
    request["hookInstance"] = str(uuid4())  # each call is new, not a repetition of the one before
    body = msgspec.json.encode(request)
    if not text(form, "same"):
        body = _as_new_patient(request["context"]["patientId"], body)
    return FormCall(services[at].id, body, sample.title, (f"Added to the chart: {'; '.join(added)}",) if added else ())


def _added(form: Form, labs: Iterable[LabChoice], now: datetime) -> Iterator[str]:
    """Yield the lines of shorthand for what a form adds to a chart."""
    chosen, value = text(form, "lab"), text(form, "value")
    if chosen or value:
        lab = next((one for one in labs if one.id == chosen), None)
        if lab is None or not _NUMBER.fullmatch(value):
            raise BadRequest("A result needs its name and a number, such as 2.9")
        yield f"LOINC#{lab.code} {lab.name} {value} {lab.unit} at {now:%H:%M}"
    for name, keyword in (("problem", "problem"), ("taken", "takes")):
        if said := text(form, name):
            yield f"{keyword}: {said[:MAX_ORDER]}"


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
