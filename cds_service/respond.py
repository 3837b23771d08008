"""One service call, from the decoded request to the answer: the story of the whole program on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from types import MappingProxyType

from starlette.requests import ClientDisconnect

from cds_service import metrics
from cds_service.alert_log import CallRecord
from cds_service.arrival import Arrival
from cds_service.call_counts import count_answer
from cds_service.call_record import ReceivedCall, call_record, refused_record, withdraw
from cds_service.caps import capped
from cds_service.decision import Outcome
from cds_service.decode import Gathered
from cds_service.errors import CLIENT_WENT_AWAY, BadRequest, CdsError, EngineFailed, LogUnavailable, PreconditionFailed
from cds_service.evaluate import Answer, conclude, evaluate, not_evaluated
from cds_service.events import Event, tell
from cds_service.fhir_client import FhirClient
from cds_service.gather import AbandonedError, gather, require
from cds_service.prefetch import ServiceDefinition
from cds_service.prior_cards import prior_cards, repeatable
from cds_service.protocol import HookRequest, decode_request
from cds_service.pseudonyms import Pseudonyms
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.runtime import Runtime
from cds_service.timings import Timings
from cds_service.whose import Owner, Whose

Sent = Mapping[str, Gathered]  # what was gathered, by prefetch key

# Who wants to see how a call of the same context was answered sets this, and is told before the answer is logged: the playground,
# which explains it.
onlooker: ContextVar[Callable[[Answer, Sent, Timings], None] | None] = ContextVar("onlooker", default=None)


async def respond(call: HookRequest, service: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> bytes:
    """The response body of one call, logged before it is returned.

    Raises what `_gathered` and `_evaluated` refuse, which is logged, too, and LogUnavailable (503) where the log must have the
    answer and can't take it.
    """
    received_at = runtime.clock()
    timings = call.timings
    pseudonyms = Pseudonyms(runtime.hash_secret, call.caller, call.fhirServer)
    received = ReceivedCall(
        call, service.id, received_at, arrival.bytes_in, pseudonyms, runtime.knowledge.hash, runtime.settings.jurisdiction
    )
    try:
        gathered = await _gathered(call, service, runtime, arrival)
        answer = _evaluated(call, gathered, runtime, received_at)
    except _Refusal as refusal:
        sources = {name: one.source for name, one in refusal.gathered.items()}
        await runtime.alert_log.append(refused_record(received, sources, refusal.status, refusal.outcome))
        try:
            raise refusal.error from None
        finally:
            refusal.error.__context__ = None  # the refusal, which holds the error: a cycle
    # Few calls ask the log: those with a card that may have been shown before.
    if wanted := repeatable(answer.decisions, call.hook, runtime.knowledge.engineering.answer_counts.span):
        prior = await prior_cards(wanted, answer.decisions, answer.facts, call, pseudonyms, runtime.alert_log)
        if prior:
            answer = conclude(call, answer.facts, runtime.knowledge, runtime.presenter, prior)
        timings.mark("prior_cards")
    record = call_record(received, answer.facts, answer.decisions, answer.shown, answer.shadows, answer.body)
    _count(answer, record)
    body = answer.body
    timings.cards = len(answer.shown)
    if (told := onlooker.get()) is not None:
        told(answer, gathered, timings)
    del call, received, gathered, answer  # a large request is not held while the log is written
    durable = await runtime.alert_log.append(record)
    timings.mark("log")
    if runtime.settings.log_required and not durable:
        withdraw(record)
        raise LogUnavailable("The answer could not be logged, which this site requires: nothing was said about this patient")
    return body


def _count(answer: Answer, record: CallRecord) -> None:
    """Count an answer by the ids of its cards."""
    count_answer(
        record.service,
        [(one.card.id, one.outcome) for one in answer.decisions],
        [(one.card, one.indicator, one.mode) for one in record.cards],
        not_checked=any(one.decision is None for one in answer.shown),
        unread=[one.kind for one in answer.facts.unread],
    )


class _Refusal(Exception):  # noqa: N818 (it is no error of ours)
    """The call gets no cards: the error that answers it, and what the log has of it."""

    def __init__(self, error: CdsError | ClientDisconnect, outcome: str, gathered: Sent = MappingProxyType({})) -> None:
        super().__init__(outcome)
        self.error = error
        self.outcome = outcome
        self.gathered = gathered
        self.status = error.status if isinstance(error, CdsError) else CLIENT_WENT_AWAY


async def _gathered(call: HookRequest, service: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> Sent:
    """The data about the patient, as much of it as can be had in time.

    Refuses with 400 where the token is for another patient or `fhirServer` is not the client's own, with 412 where data was not
    sent and there is nowhere to ask for it, and with ClientDisconnect where nobody waits for it any more.
    """
    if _token_is_anothers(call):
        _note_security("wrong_patient_token", call)
        raise _Refusal(BadRequest("`fhirAuthorization.patient` is another patient than `context.patientId`"), "wrong_patient")
    ehr = _ehr_of(call, runtime)
    remaining_ms = (call.caller.deadline_ms or runtime.settings.deadline_ms) - call.timings.elapsed_ms()
    templates, terminology = service.templates(include=call.caller.include), runtime.knowledge.terminology
    try:
        gathered = await gather(call, templates, ehr, remaining_ms, arrival.gone, terminology)
    except AbandonedError as error:
        raise _Refusal(ClientDisconnect(), "abandoned", error.gathered) from None
    finally:
        if ehr is not None and ehr.ways:
            _note_ways(ehr, call)
        call.timings.mark("gather")
    gathered = capped(gathered, runtime.settings.max_entries)
    if runtime.settings.on_unavailable == "412":
        try:
            require({key: one.source for key, one in gathered.items()})
        except PreconditionFailed as error:
            raise _Refusal(error, Outcome.COULD_NOT_CHECK, gathered) from None
    return gathered


def _evaluated(call: HookRequest, gathered: Sent, runtime: Runtime, now: datetime) -> Answer:
    """The cards. Refuses with 400 where a draft order is for another patient, with 500 where no card could be evaluated."""
    knowledge, presenter, jurisdiction = runtime.knowledge, runtime.presenter, runtime.settings.jurisdiction
    try:
        answer = evaluate(call, gathered, knowledge, presenter, now, jurisdiction, mark=call.timings.mark)
    except WrongPatientError:
        _note_security("wrong_patient_order", call)
        wrong = BadRequest("An order in `context.draftOrders` is for another patient than `context.patientId`")
        raise _Refusal(wrong, "wrong_patient", gathered) from None
    except Exception as error:  # noqa: BLE001 - whatever broke outside of the cards: counted, logged, and said
        answer = not_evaluated(call, knowledge, presenter, now, jurisdiction, error)
    if answer.all_failed and (runtime.settings.on_crash == "500" or not answer.shown):  # an empty answer would say: checked
        failed = EngineFailed("No card could be evaluated: nothing was checked for this patient")
        raise _Refusal(failed, Outcome.FAILED, gathered)
    if foreign := sum(source.note == FOREIGN for source in answer.facts.sources.values()):
        _note_security("wrong_patient_data", call, foreign)
    return answer


def _token_is_anothers(call: HookRequest) -> bool:
    """Whether the EHR's token is limited to another patient: then one of the two patients is a mistake, and not known which."""
    patient = call.fhirAuthorization.patient if call.fhirAuthorization is not None else None
    return bool(patient) and Owner(call.context.patientId or "", call.fhirServer, {}).meant_by(patient) is not Whose.THE_PATIENTS


def _ehr_of(call: HookRequest, runtime: Runtime) -> FhirClient | None:
    """The FHIR server of this call, where it names one that its caller may have us ask.

    Refuses where a registered client names one that is not its own, whether or not it would be asked.
    """
    if not call.fhirServer or call.caller.fhir_bases == ():
        return None
    base = call.caller.base_of(call.fhirServer)
    if base is None:
        if call.caller.fhir_bases is None:
            return None
        _note_security("foreign_fhir_server", call)
        foreign = BadRequest("`fhirServer` is not among the FHIR servers that are registered for this client")
        raise _Refusal(foreign, "foreign_server")
    token = call.fhirAuthorization.access_token if call.fhirAuthorization is not None else None
    return FhirClient(runtime.http, base, token)


def _note_ways(ehr: FhirClient, call: HookRequest) -> None:
    """Keeps the ways of the FHIR server for the call's record, and tells those that were learned in it."""
    call.ways = tuple(map(str, ehr.ways))
    for way, learned in ehr.ways.items():
        if learned:
            tell(Event.FHIR_WAY, client=call.caller.client, kind=way.kind, why=str(way))


def _note_security(kind: str, call: HookRequest, count: int = 1) -> None:
    metrics.SECURITY_EVENTS.labels(kind).inc(count)
    tell(Event.SECURITY, kind=kind, client=call.caller.client, count=count)


async def answer_in_process(body: bytes, service_id: str, runtime: Runtime) -> bytes:
    """From request bytes to response bytes without a server and without the log; for the benchmark and `cds-service fire`."""
    service = next(service for service in runtime.knowledge.services if service.id == service_id)
    call = decode_request(body, service.hook)
    gathered = capped(await gather(call, service.prefetch, None, runtime.settings.deadline_ms), runtime.settings.max_entries)
    return evaluate(call, gathered, runtime.knowledge, runtime.presenter, runtime.clock(), runtime.settings.jurisdiction).body
