"""One service call, from the decoded request to the answer: the story of the whole program on one page."""

from __future__ import annotations

import logging
import time
from collections import Counter
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect

from cds_service.arrival import Arrival
from cds_service.ehr import EhrClient
from cds_service.errors import BadRequest, PreconditionFailed
from cds_service.evaluate import conclude, evaluate
from cds_service.gather import AbandonedError, gather, require
from cds_service.logged import Timings, call_record, refused_record
from cds_service.metrics import SECURITY_EVENTS
from cds_service.prefetch import ServiceDefinition
from cds_service.prior_cards import prior_cards, repeatable
from cds_service.protocol import HookRequest, decode_request
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.runtime import Runtime

log = logging.getLogger(__name__)


security_events: Counter[str] = Counter()  # data, orders or FHIR servers of others than the call may speak of, since the start


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> bytes:
    """The response body of one call, logged before it is returned.

    Raises PreconditionFailed (412) where data was not sent and there is nowhere to ask for it, BadRequest (400) where
    `fhirServer` is not the client's own or a draft order is for another patient, and ClientDisconnect where nobody waits for it.
    """
    received_at = datetime.now(UTC)
    timings = Timings(time.perf_counter())
    bytes_in = arrival.bytes_in
    try:
        ehr = _ehr_of(call, runtime)
    except ForeignServerError:
        security_events["foreign_fhir_server"] += 1
        SECURITY_EVENTS.labels("foreign_fhir_server").inc()
        log.warning("security event kind=foreign_fhir_server client=%s", call.caller.client)
        refused = refused_record(call, service, runtime, received_at, {}, timings, bytes_in, 400, "foreign_server")
        await runtime.alert_log.append(refused)
        raise BadRequest("`fhirServer` is not among the FHIR servers that are registered for this client") from None
    remaining_ms = (call.caller.deadline_ms or runtime.settings.deadline_ms) - arrival.elapsed_ms()
    try:
        gathered = await gather(call, service.prefetch, ehr, remaining_ms, arrival.gone)
    except AbandonedError as error:
        timings.mark("gather")
        left = refused_record(call, service, runtime, received_at, error.gathered, timings, bytes_in, 499, "abandoned")
        await runtime.alert_log.append(left)
        raise ClientDisconnect from None
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
        security_events["wrong_patient_order"] += 1
        refused = refused_record(call, service, runtime, received_at, gathered, timings, bytes_in, 400, "wrong_patient")
        await runtime.alert_log.append(refused)
        raise BadRequest("An order in `context.draftOrders` is for another patient than `context.patientId`") from None
    security_events["wrong_patient_data"] += sum(source.note == FOREIGN for source in answer.facts.sources.values())
    timings.mark("evaluate")
    if wanted := repeatable(answer.decisions, call.hook):  # few calls: one would show what may have been shown before
        prior = await prior_cards(wanted, answer.facts, call, runtime)
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
    gathered = await gather(call, service.prefetch, None, runtime.settings.deadline_ms)
    return evaluate(call, gathered, runtime.knowledge, runtime.presenter, datetime.now(UTC), runtime.settings.jurisdiction).body


class ForeignServerError(Exception):
    """A registered client names a FHIR server that is not its own."""


def _ehr_of(call: HookRequest, runtime: Runtime) -> EhrClient | None:
    """The FHIR server of this call, where it names one that its caller may have us ask. Raises ForeignServerError."""
    if not call.fhirServer or call.caller.fhir_bases == ():
        return None
    base = call.caller.base_of(call.fhirServer)
    if base is None:
        if call.caller.fhir_bases is not None:
            raise ForeignServerError
        return None
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return EhrClient(runtime.http, base, token)
