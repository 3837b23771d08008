"""Respond to one service call: the program's story on one page. Start reading here.

A clinician opens a chart or signs an order, and the EHR calls one of our services. `hooks` has identified the caller, then read
and decoded the body. From here on:

1. A call that names a FHIR server which is not registered for its caller, or brings a token for another patient, is refused. (In
   the dev profile without a registry any FHIR server will do.)
2. `evaluate_request` finds the cards for the patient. It gathers the data (from prefetch, or from the FHIR server), reads it into
   facts, judges every card on these facts, draws the cards that fire, and chooses which are shown. It asks the alert log which
   cards were shown before.
3. The record of the call goes to the alert log: every decision, its evidence, and the cards. A call that is refused from here on
   gets a record, too, with its `RefusalOutcome`. A call that `hooks`, `trust` or `wire` refused never comes here and gets none.
4. Only after the record is stored does `hooks` send the response. Where the log can't be written, the site's `CDS_LOG_REQUIRED`
   decides: the response goes out and the record waits in memory, or the call gets status 503.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import ClientDisconnect

from cds_service.alert_log.call_record import ReceivedCall, call_record, refused_record
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.shown_before import ShownBeforeInLog
from cds_service.criteria.facts import SourceState
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.gather import AbandonedError
from cds_service.knowledge.services import ServiceDefinition
from cds_service.read.subject import CallPatient, Ownership
from cds_service.runtime import Runtime
from cds_service.telemetry import metrics
from cds_service.telemetry.call_counts import count_answer
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import SecurityKind
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.errors import CLIENT_WENT_AWAY, BadRequest, CdsError, LogUnavailable
from cds_service.wire.hook_request import HookRequest
from cds_service.wire.refusal import RefusalOutcome, RequestRefusedError


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, connection: ClientConnection) -> Evaluation:
    """Evaluate one call and log it, then return the evaluation, whose body is the response.

    Raises CdsError where the call is refused: 400 for a token of another patient or a FHIR server that is not registered, and
    what `evaluate_request` refuses (400, 412, 500). Raises ClientDisconnect where the client closed the connection (499). All of
    these are logged. Raises LogUnavailable (503) where the site requires the log and the record could not be stored.
    """
    context = call.context
    hashed = Pseudonyms(
        *(runtime.hash_secret, call.caller, call.fhirServer, context.patientId, context.encounterId),
        generation=runtime.settings.hash_generation,
        old_secret=runtime.old_hash_secret,
    )
    received = ReceivedCall(
        *(call, service.id, runtime.clock(), connection.body_bytes, hashed, runtime.knowledge.hash),
        runtime.settings.jurisdiction,
        runtime.sealing,
        runtime.knowledge.terminology if runtime.settings.keep_inputs else None,
    )
    shown_before = ShownBeforeInLog(call, runtime.alert_log, hashed, runtime.knowledge.engineering.answer_counts.span)
    try:
        evaluation = await _evaluate(received, runtime, connection, shown_before)
    except (RequestRefusedError, AbandonedError) as refusal:
        error = await _log_refusal(refusal, received, runtime)
        try:
            raise error from None
        finally:
            error.__context__ = None  # the refusal, which holds the error: a cycle
    timings = call.timings
    record = call_record(
        received,
        evaluation.facts,
        evaluation.decisions,
        evaluation.shown,
        evaluation.shadows,
        evaluation.held_back,
        evaluation.body,
        _degraded(runtime, evaluation, shown_before),
        evaluation.chart,
    )
    timings.cards = len(evaluation.shown)
    evaluation = msgspec.structs.replace(evaluation, sources=evaluation.sources if connection.explained else {}, chart=None)
    del call, received, shown_before  # a large request is not held while the log is written
    durable = await runtime.alert_log.append(record)
    timings.recorded = (record.id, record.received_at)
    timings.mark("log")
    if runtime.settings.log_required and not durable:
        runtime.alert_log.withdraw(record, runtime.clock())
        text = "The answer could not be logged, which this site requires: no cards were returned for this patient"
        raise LogUnavailable(text, why="log_required")
    count_answer(
        service.id,
        tuple([(one.card.id, one.outcome) for one in evaluation.decisions]),
        [(one.card, one.indicator, one.mode) for one in record.cards if one.state == "shown"],
        not_checked=any(one.is_notice for one in evaluation.shown),
        notice_repeated=any(one.said_before for one in evaluation.decisions),
        unread=[one.kind for one in evaluation.facts.unread],
    )
    return evaluation


def _degraded(runtime: Runtime, evaluation: Evaluation, shown_before: ShownBeforeInLog) -> list[str]:
    """Return what did not work while the call was answered, for its record."""
    sources = evaluation.facts.sources.values()
    flags = {
        "fhir_down": any(one.origin == "fhir" and one.state is SourceState.ERROR for one in sources),
        "log_degraded": runtime.alert_log.state != "ok",
        "shown_before_unknown": shown_before.unknown,
        "auth_degraded": runtime.callers.degraded,
        "engine_failed": evaluation.engine_failed,
    }
    return [name for name, holds in flags.items() if holds]


async def _evaluate(
    received: ReceivedCall, runtime: Runtime, connection: ClientConnection, shown_before: ShownBeforeInLog
) -> Evaluation:
    """Evaluate the call with the FHIR server that it names, and record security events."""
    call, client = received.call, None
    try:
        _refuse_token_of_another_patient(call)
        client = _fhir_client(call, runtime)
        evaluation = await evaluate_request(
            call,
            runtime.engine,
            received.at,
            client=client,
            remaining_ms=(call.caller.deadline_ms or runtime.settings.deadline_ms) - call.timings.elapsed_ms(),
            client_gone=connection.wait_until_closed,
            shown_before=shown_before,
            session=received.hashed.session(call.hookInstance),
        )
    except RequestRefusedError as refusal:
        if refusal.security:
            _record_security_event(refusal.security, call)
        raise
    finally:
        if client is not None:
            call.queries = tuple(sorted(client.queries, key=lambda one: (one.key, one.page)))  # they end in any order
            if client.quirks:
                _record_quirks(client, call)
    if foreign := sum(source.foreign for source in evaluation.facts.sources.values()):
        _record_security_event("wrong_patient_data", call, foreign)
    return evaluation


async def _log_refusal(
    refusal: RequestRefusedError | AbandonedError, received: ReceivedCall, runtime: Runtime
) -> CdsError | ClientDisconnect:
    """Log a call that gets no cards, and return the error to raise."""
    error: CdsError | ClientDisconnect
    outcome: RefusalOutcome | Literal["abandoned"]
    if isinstance(refusal, RequestRefusedError):
        error, sources = refusal.error, refusal.sources
        status, outcome = refusal.error.status, refusal.outcome
    else:
        error, sources = ClientDisconnect(), refusal.gathered
        status, outcome = CLIENT_WENT_AWAY, "abandoned"
    states = {name: one.source for name, one in sources.items()}
    record = refused_record(received, states, status, outcome)
    await runtime.alert_log.append(record)
    received.call.timings.recorded = (record.id, record.received_at)
    received.call.timings.mark("log")
    return error


def _refuse_token_of_another_patient(call: HookRequest) -> None:
    """Refuse a call whose token is limited to another patient, because either patient could be the wrong one."""
    patient = call.fhirAuthorization.patient if call.fhirAuthorization is not None else None
    if patient and CallPatient(call.context.patientId or "", call.fhirServer, {}).by_reference(patient) is not Ownership.PATIENT:
        text = "`fhirAuthorization.patient` is another patient than `context.patientId`"
        wrong = BadRequest(text, why="fhirAuthorization.patient")
        raise RequestRefusedError(wrong, "wrong_patient", security="wrong_patient_token")


def _fhir_client(call: HookRequest, runtime: Runtime) -> FhirClient | None:
    """Return a client of the call's FHIR server, or None where it may not be asked.

    Refuses a call whose registered client names a server that is not its own, even where no request would be sent.
    """
    if not call.fhirServer:
        return None
    if call.caller.is_foreign(call.fhirServer):
        text = "`fhirServer` is not among the FHIR servers that are registered for this client"
        raise RequestRefusedError(BadRequest(text, why="fhirServer"), "foreign_server", security="foreign_fhir_server")
    base = call.caller.base_of(call.fhirServer)
    if base is None:
        return None
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return FhirClient(runtime.http, base, token)


def _record_quirks(client: FhirClient, call: HookRequest) -> None:
    """Keep the FHIR server's search quirks for the call's record, and log those that it learned."""
    call.quirks = tuple(map(str, client.quirks))
    for quirk, learned in client.quirks.items():
        if learned:
            tell(Event.FHIR_QUIRK, client=call.caller.client, kind=quirk.kind, why=str(quirk))


def _record_security_event(kind: SecurityKind, call: HookRequest, count: int = 1) -> None:
    metrics.SECURITY_EVENTS.labels(kind).inc(count)
    tell(Event.SECURITY, kind=kind, client=call.caller.client, count=count)
