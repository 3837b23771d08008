"""One service call, from the decoded request to the answer: the story of the whole program on one page."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from cds_service.ehr import EhrClient
from cds_service.errors import BadRequest, PreconditionFailed
from cds_service.evaluate import Answer, conclude, evaluate
from cds_service.gather import gather, require
from cds_service.logged import Timings, call_record, refused_record
from cds_service.prefetch import ServiceDefinition
from cds_service.prior_cards import prior_cards, repeatable
from cds_service.protocol import HookRequest, decode_request
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.runtime import Runtime

log = logging.getLogger(__name__)

# Who wants to see how a call of the same context was answered sets this, and is told before the answer is logged: the playground,
# which explains it.
onlooker: ContextVar[Callable[[Answer, Timings], None] | None] = ContextVar("onlooker", default=None)

security_events: Counter[str] = Counter()  # data or orders of another patient than that of the call, since the start


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, bytes_in: int) -> bytes:
    """The response body of one call, logged before it is returned.

    Raises PreconditionFailed (412) where data was not sent and there is nowhere to ask for it, and BadRequest (400) where a draft
    order is for another patient.
    """
    received_at = datetime.now(UTC)
    timings = Timings(time.perf_counter())
    gathered = await gather(call, service.prefetch, _ehr_of(call, runtime), runtime.settings.deadline_ms)
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
        refused = refused_record(call, service, runtime, received_at, gathered, timings, bytes_in, status=400)
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
    if (tell := onlooker.get()) is not None:
        tell(answer, timings)
    del call, gathered, answer  # a large request is not held while the log is written
    await runtime.alert_log.append(record)
    return body


async def answer_in_process(body: bytes, service_id: str, runtime: Runtime) -> bytes:
    """From request bytes to response bytes without a server and without the log; for the benchmark and `cds-service fire`."""
    service = next(service for service in runtime.knowledge.services if service.id == service_id)
    call = decode_request(body, service.hook)
    gathered = await gather(call, service.prefetch, None, runtime.settings.deadline_ms)
    return evaluate(call, gathered, runtime.knowledge, runtime.presenter, datetime.now(UTC), runtime.settings.jurisdiction).body


def _ehr_of(call: HookRequest, runtime: Runtime) -> EhrClient | None:
    """The FHIR server of this call, where it names one that its caller may have us ask."""
    if not call.fhirServer or not call.caller.may_call(call.fhirServer):
        return None
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return EhrClient(runtime.http, call.fhirServer, token)
