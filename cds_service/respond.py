"""One service call, from the decoded request to the answer: the story of the whole program on one page."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from cds_service.caps import capped
from cds_service.ehr import EhrClient
from cds_service.errors import BadRequest, PreconditionFailed
from cds_service.evaluate import conclude, evaluate
from cds_service.gather import gather, require
from cds_service.logged import Timings, call_record, refused_record
from cds_service.metrics import SECURITY_EVENTS
from cds_service.prefetch import ServiceDefinition
from cds_service.prior_cards import prior_cards, repeatable
from cds_service.protocol import HookRequest, decode_request
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.runtime import Runtime
from cds_service.whose import Owner, Whose

log = logging.getLogger(__name__)


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, bytes_in: int) -> bytes:
    """The response body of one call, logged before it is returned.

    Raises PreconditionFailed (412) where data was not sent and there is nowhere to ask for it, and BadRequest (400) where a draft
    order or the bearer token is for another patient.
    """
    received_at = datetime.now(UTC)
    timings = Timings(time.perf_counter())
    if _token_is_anothers(call):
        _note_security_event("wrong_patient_token", call, service)
        await runtime.alert_log.append(refused_record(call, service, runtime, received_at, {}, timings, bytes_in, status=400))
        raise BadRequest("`fhirAuthorization.patient` is another patient than `context.patientId`")
    gathered = await gather(call, service.prefetch, _ehr_of(call, runtime), runtime.settings.deadline_ms)
    gathered = capped(gathered, runtime.settings.max_entries)
    timings.mark("gather")
    if runtime.settings.on_unavailable == "412":
        try:
            require({key: one.source for key, one in gathered.items()})
        except PreconditionFailed:
            await runtime.alert_log.append(refused_record(call, service, runtime, received_at, gathered, timings, bytes_in))
            raise
    try:
        answer = evaluate(call, gathered, runtime.knowledge, runtime.presenter, received_at, runtime.settings.jurisdiction)
    except WrongPatientError:
        _note_security_event("wrong_patient_order", call, service)
        refused = refused_record(call, service, runtime, received_at, gathered, timings, bytes_in, status=400)
        await runtime.alert_log.append(refused)
        raise BadRequest("An order in `context.draftOrders` is for another patient than `context.patientId`") from None
    for source in answer.facts.sources.values():
        if source.note == FOREIGN:
            _note_security_event("wrong_patient_data", call, service)
    timings.mark("evaluate")
    if wanted := repeatable(answer.decisions, call.hook):  # few calls: one would show what may have been shown before
        prior = await prior_cards(wanted, answer.decisions, answer.facts, call, runtime)
        if prior:
            answer = conclude(call, answer.facts, runtime.knowledge, runtime.presenter, prior)
        timings.mark("prior_cards")
    record = call_record(call, service, runtime, received_at, answer, timings, bytes_in)
    body = answer.body
    del call, gathered, answer  # a large request is not held while the log is written
    await runtime.alert_log.append(record)
    return body


async def answer_in_process(body: bytes, service_id: str, runtime: Runtime) -> bytes:
    """From request bytes to response bytes without a server and without the log; for the benchmark and `cds-service fire`."""
    service = next(service for service in runtime.knowledge.services if service.id == service_id)
    call = decode_request(body, service.hook)
    gathered = capped(await gather(call, service.prefetch, None, runtime.settings.deadline_ms), runtime.settings.max_entries)
    return evaluate(call, gathered, runtime.knowledge, runtime.presenter, datetime.now(UTC), runtime.settings.jurisdiction).body


def _token_is_anothers(call: HookRequest) -> bool:
    """Whether the EHR's token is limited to another patient: then one of the two patients is a mistake, and not known which."""
    patient = call.fhirAuthorization.patient if call.fhirAuthorization is not None else None
    return bool(patient) and Owner(call.context.patientId or "", call.fhirServer, {}).meant_by(patient) is not Whose.THE_PATIENTS


def _note_security_event(kind: str, call: HookRequest, service: ServiceDefinition) -> None:
    SECURITY_EVENTS.labels(kind).inc()
    log.warning("security event kind=%s service=%s client=%s", kind, service.id, call.caller.client)


def _ehr_of(call: HookRequest, runtime: Runtime) -> EhrClient | None:
    """The FHIR server of this call, where it names one that its caller may have us ask."""
    if not call.fhirServer or not call.caller.may_call(call.fhirServer):
        return None
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return EhrClient(runtime.http, call.fhirServer, token)
