"""One service call, from the decoded request to the answer: the story of the whole program on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial

from starlette.requests import ClientDisconnect

from cds_service import metrics
from cds_service.arrival import Arrival
from cds_service.caps import capped
from cds_service.decide import Outcome
from cds_service.decode import Gathered
from cds_service.ehr import EhrClient
from cds_service.errors import BadRequest, EngineFailed, LogUnavailable, PreconditionFailed
from cds_service.evaluate import Answer, conclude, evaluate, not_evaluated
from cds_service.events import Event, tell
from cds_service.gather import AbandonedError, gather, require
from cds_service.logged import call_record, refused_record, withdraw
from cds_service.prefetch import ServiceDefinition
from cds_service.prior_cards import prior_cards, repeatable
from cds_service.protocol import HookRequest, decode_request
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.runtime import Runtime
from cds_service.tally import note_answer
from cds_service.timings import Timings
from cds_service.whose import Owner, Whose

Sent = Mapping[str, Gathered]  # what was gathered, by prefetch key

# Who wants to see how a call of the same context was answered sets this, and is told before the answer is logged: the playground,
# which explains it.
onlooker: ContextVar[Callable[[Answer, Sent, Timings], None] | None] = ContextVar("onlooker", default=None)


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> bytes:
    """The response body of one call, logged before it is returned.

    Raises PreconditionFailed (412) where data was not sent and there is nowhere to ask for it, BadRequest (400) where
    `fhirServer` is not the client's own, or the bearer token or a draft order is for another patient, EngineFailed (500) where no
    card could be evaluated, LogUnavailable (503) where the log must have the answer and can't take it, ClientDisconnect where
    nobody waits.
    """
    received_at = datetime.now(UTC)
    timings = call.timings
    refused = partial(refused_record, service=service, runtime=runtime, received_at=received_at, bytes_in=arrival.bytes_in)
    append = runtime.alert_log.append
    if _token_is_anothers(call):
        _note_security("wrong_patient_token", call)
        await append(refused(call, {}, status=400, outcome="wrong_patient"))
        raise BadRequest("`fhirAuthorization.patient` is another patient than `context.patientId`")
    try:
        ehr = _ehr_of(call, runtime)
    except ForeignServerError:
        _note_security("foreign_fhir_server", call)
        await append(refused(call, {}, status=400, outcome="foreign_server"))
        raise BadRequest("`fhirServer` is not among the FHIR servers that are registered for this client") from None
    remaining_ms = (call.caller.deadline_ms or runtime.settings.deadline_ms) - timings.elapsed_ms()
    try:
        gathered = await gather(call, service.prefetch, ehr, remaining_ms, arrival.gone)
    except AbandonedError as error:
        timings.mark("gather")
        await append(refused(call, error.gathered, status=499, outcome="abandoned"))
        raise ClientDisconnect from None
    gathered = capped(gathered, runtime.settings.max_entries)
    timings.mark("gather")
    if runtime.settings.on_unavailable == "412":
        try:
            require({key: one.source for key, one in gathered.items()})
        except PreconditionFailed:
            await append(refused(call, gathered, status=412, outcome=Outcome.COULD_NOT_CHECK))
            raise
    try:
        answer = evaluate(
            call, gathered, runtime.knowledge, runtime.presenter, received_at, runtime.settings.jurisdiction, mark=timings.mark
        )
    except WrongPatientError:
        _note_security("wrong_patient_order", call)
        await append(refused(call, gathered, status=400, outcome="wrong_patient"))
        raise BadRequest("An order in `context.draftOrders` is for another patient than `context.patientId`") from None
    except Exception as error:  # noqa: BLE001 - whatever broke outside of the cards: counted, logged, and said
        answer = not_evaluated(call, runtime.knowledge, runtime.presenter, received_at, runtime.settings.jurisdiction, error)
    if answer.all_failed and (runtime.settings.on_crash == "500" or not answer.shown):  # an empty answer would say: checked
        await append(refused(call, gathered, status=500, outcome=Outcome.FAILED))
        raise EngineFailed("No card could be evaluated: nothing was checked for this patient")
    if foreign := sum(source.note == FOREIGN for source in answer.facts.sources.values()):
        _note_security("wrong_patient_data", call, foreign)
    if wanted := repeatable(answer.decisions, call.hook):  # few calls: one would show what may have been shown before
        prior = await prior_cards(wanted, answer.decisions, answer.facts, call, runtime)
        if prior:
            answer = conclude(call, answer.facts, runtime.knowledge, runtime.presenter, prior)
        timings.mark("prior_cards")
    record = call_record(call, service, runtime, received_at, answer, timings, arrival.bytes_in)
    note_answer(service.id, answer.decisions, answer.shown, answer.shadows)
    body = answer.body
    timings.cards = len(answer.shown)
    if (told := onlooker.get()) is not None:
        told(answer, gathered, timings)
    del call, gathered, answer  # a large request is not held while the log is written
    durable = await append(record)
    timings.mark("log")
    if runtime.settings.log_required and not durable:
        withdraw(record)
        raise LogUnavailable("The answer could not be logged, which this site requires: nothing was said about this patient")
    return body


def _token_is_anothers(call: HookRequest) -> bool:
    """Whether the EHR's token is limited to another patient: then one of the two patients is a mistake, and not known which."""
    patient = call.fhirAuthorization.patient if call.fhirAuthorization is not None else None
    return bool(patient) and Owner(call.context.patientId or "", call.fhirServer, {}).meant_by(patient) is not Whose.THE_PATIENTS


def _note_security(kind: str, call: HookRequest, count: int = 1) -> None:
    metrics.SECURITY_EVENTS.labels(kind).inc(count)
    tell(Event.SECURITY, kind=kind, client=call.caller.client, count=count)


async def answer_in_process(body: bytes, service_id: str, runtime: Runtime) -> bytes:
    """From request bytes to response bytes without a server and without the log; for the benchmark and `cds-service fire`."""
    service = next(service for service in runtime.knowledge.services if service.id == service_id)
    call = decode_request(body, service.hook)
    gathered = capped(await gather(call, service.prefetch, None, runtime.settings.deadline_ms), runtime.settings.max_entries)
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
