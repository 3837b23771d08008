"""Respond to one service call, from the decoded request to the logged answer: the story of the program on one page."""

from __future__ import annotations

from starlette.requests import ClientDisconnect

from cds_service.alert_log.call_record import ReceivedCall, call_record, refused_record, withdraw
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.shown_before import ShownBeforeInLog
from cds_service.evaluate import Evaluation, RefusedRequest, evaluate_request
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.gather import AbandonedError
from cds_service.knowledge.services import ServiceDefinition
from cds_service.read.reader import FOREIGN
from cds_service.read.subject import Owner, Whose
from cds_service.runtime import Runtime
from cds_service.telemetry import metrics
from cds_service.telemetry.call_counts import count_answer
from cds_service.telemetry.events import Event, tell
from cds_service.wire.arrival import Arrival
from cds_service.wire.errors import CLIENT_WENT_AWAY, BadRequest, CdsError, LogUnavailable
from cds_service.wire.hook_request import HookRequest


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> Evaluation:
    """Answer one call: return what is answered and from what, after it was logged.

    Raises CdsError where the call is refused (400, 412 or 500, see `evaluate_request`) and ClientDisconnect where the client
    ended it, both of which are logged, too; LogUnavailable (503) where the log must have the answer and can't take it.
    """
    hashed = Pseudonyms(runtime.hash_secret, call.caller, call.fhirServer)
    received = ReceivedCall(
        call, service.id, runtime.clock(), arrival.bytes_in, hashed, runtime.knowledge.hash, runtime.settings.jurisdiction
    )
    try:
        evaluation = await _evaluated(received, runtime, arrival)
    except (RefusedRequest, AbandonedError) as refusal:
        error = await _log_refusal(refusal, received, runtime)
        try:
            raise error from None
        finally:
            error.__context__ = None  # the refusal, which holds the error: a cycle
    timings = call.timings
    record = call_record(received, evaluation.facts, evaluation.decisions, evaluation.shown, evaluation.shadows, evaluation.body)
    count_answer(
        service.id,
        [(one.card.id, one.outcome) for one in evaluation.decisions],
        [(one.card, one.indicator, one.mode) for one in record.cards],
        not_checked=any(one.decision is None for one in evaluation.shown),
        unread=[one.kind for one in evaluation.facts.unread],
    )
    timings.cards = len(evaluation.shown)
    del call, received  # a large request is not held while the log is written
    durable = await runtime.alert_log.append(record)
    timings.mark("log")
    if runtime.settings.log_required and not durable:
        withdraw(record)
        raise LogUnavailable("The answer could not be logged, which this site requires: nothing was said about this patient")
    return evaluation


async def _evaluated(received: ReceivedCall, runtime: Runtime, arrival: Arrival) -> Evaluation:
    """Evaluate the call with the FHIR server that it names, and note what is a matter of security."""
    call, client = received.call, None
    answer_counts = runtime.knowledge.engineering.answer_counts.span
    try:
        _expect_own_token(call)
        client = _fhir_client(call, runtime)
        evaluation = await evaluate_request(
            call,
            runtime.engine,
            received.at,
            client=client,
            remaining_ms=(call.caller.deadline_ms or runtime.settings.deadline_ms) - call.timings.elapsed_ms(),
            gone=arrival.gone,
            shown_before=ShownBeforeInLog(call, runtime.alert_log, received.hashed, answer_counts),
        )
    except RefusedRequest as refusal:
        if refusal.security:
            _note_security(refusal.security, call)
        raise
    finally:
        if client is not None and client.ways:
            _note_ways(client, call)
    if foreign := sum(source.note == FOREIGN for source in evaluation.facts.sources.values()):
        _note_security("wrong_patient_data", call, foreign)
    return evaluation


async def _log_refusal(
    refusal: RefusedRequest | AbandonedError, received: ReceivedCall, runtime: Runtime
) -> CdsError | ClientDisconnect:
    """Log a call that gets no cards, and return the error that answers it."""
    error: CdsError | ClientDisconnect
    if isinstance(refusal, RefusedRequest):
        error, sources = refusal.error, refusal.sources
        status, outcome = refusal.error.status, refusal.outcome
    else:
        error, sources = ClientDisconnect(), refusal.gathered
        status, outcome = CLIENT_WENT_AWAY, "abandoned"
    states = {name: one.source for name, one in sources.items()}
    await runtime.alert_log.append(refused_record(received, states, status, outcome))
    return error


def _expect_own_token(call: HookRequest) -> None:
    """Refuse a call whose token is limited to another patient: one of the two patients is a mistake, and not known which."""
    patient = call.fhirAuthorization.patient if call.fhirAuthorization is not None else None
    if patient and Owner(call.context.patientId or "", call.fhirServer, {}).meant_by(patient) is not Whose.THE_PATIENTS:
        wrong = BadRequest("`fhirAuthorization.patient` is another patient than `context.patientId`")
        raise RefusedRequest(wrong, "wrong_patient", security="wrong_patient_token")


def _fhir_client(call: HookRequest, runtime: Runtime) -> FhirClient | None:
    """Return a client of the call's FHIR server, where it names one that its caller may have us ask.

    Refuses a call whose registered client names a server that is not its own, whether or not it would be asked.
    """
    if not call.fhirServer or call.caller.fhir_bases == ():
        return None
    base = call.caller.base_of(call.fhirServer)
    if base is None:
        if call.caller.fhir_bases is None:
            return None
        foreign = BadRequest("`fhirServer` is not among the FHIR servers that are registered for this client")
        raise RefusedRequest(foreign, "foreign_server", security="foreign_fhir_server")
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return FhirClient(runtime.http, base, token)


def _note_ways(client: FhirClient, call: HookRequest) -> None:
    """Keep the ways of the FHIR server for the call's record, and tell those that were learned in it."""
    call.ways = tuple(map(str, client.ways))
    for way, learned in client.ways.items():
        if learned:
            tell(Event.FHIR_WAY, client=call.caller.client, kind=way.kind, why=str(way))


def _note_security(kind: str, call: HookRequest, count: int = 1) -> None:
    metrics.SECURITY_EVENTS.labels(kind).inc(count)
    tell(Event.SECURITY, kind=kind, client=call.caller.client, count=count)
