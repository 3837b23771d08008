"""Evaluate a request: gather → read → judge → draw → choose → compose, the same for a server, a terminal, a case and a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import msgspec

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import Facts, Patient, PriorCard
from cds_service.decide.choose import choose
from cds_service.decide.decision import Decision, Outcome
from cds_service.decide.judge import judge
from cds_service.fhir.bundles import Gathered
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.gather import gather, require
from cds_service.gather.limits import MAX_ENTRIES, capped
from cds_service.knowledge.knowledge import Knowledge
from cds_service.present.cards import Presenter, Shown
from cds_service.read.draft_orders import WrongPatientError
from cds_service.read.reader import read
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.trust import Caller
from cds_service.wire.errors import BadRequest, CdsError, EngineFailed, PreconditionFailed
from cds_service.wire.hook_request import HookRequest, decode_request, fitting
from cds_service.wire.strict_json import members_of

if TYPE_CHECKING:
    from cds_service.settings import Settings

Sources = Mapping[str, Gathered]  # what was gathered, by prefetch key
# The cards that were shown about the patient before, as far as they can hold back one of these decisions.
# None: none of them can be held back, so nothing was asked.
ShownBefore = Callable[[Sequence[Decision], Facts], Awaitable[tuple[PriorCard, ...] | None]]


class Engine(msgspec.Struct, frozen=True):
    """What every evaluation needs beside the request: the cards, and the limits of this site."""

    knowledge: Knowledge
    presenter: Presenter
    jurisdiction: Literal["US", "GB"] = "US"
    max_entries: int = MAX_ENTRIES
    on_unavailable: Literal["412", "card"] = "card"
    on_crash: Literal["500", "card"] = "card"

    @staticmethod
    def of(settings: Settings, knowledge: Knowledge, presenter: Presenter) -> Engine:
        """Return the engine of a site with these settings."""
        return Engine(
            knowledge,
            presenter,
            settings.jurisdiction,
            settings.max_entries,
            settings.on_unavailable,
            settings.on_crash,
        )


class Evaluation(msgspec.Struct, frozen=True):
    """An evaluated request: what is answered, and from what."""

    body: bytes  # the CDS Hooks response
    facts: Facts
    decisions: list[Decision]
    shown: list[Shown]
    shadows: list[Shown]  # what cards in shadow would have shown: for the log only
    sources: Sources
    broke: bool = False  # no card was evaluated, see `_not_evaluated`

    @property
    def all_failed(self) -> bool:
        """Whether every live card failed, or the evaluation broke as a whole."""
        return self.broke or {one.outcome for one in self.decisions if one.card.live} == {Outcome.FAILED}


class RefusedRequest(Exception):  # noqa: N818 - named after what happened to the request
    """The request gets no cards: `error` answers it; `outcome` and `sources` are for the log.

    `security`: the kind of security event that this is, "" where it is none.
    """

    def __init__(self, error: CdsError, outcome: str, sources: Sources = MappingProxyType({}), *, security: str = "") -> None:
        super().__init__(outcome)
        self.error = error
        self.outcome = outcome
        self.sources = sources
        self.security = security


async def evaluate_request(
    call: HookRequest,
    engine: Engine,
    now: datetime,
    *,
    client: FhirClient | None = None,
    remaining_ms: float = 0,
    gone: Callable[[], Awaitable[object]] | None = None,
    shown_before: ShownBefore | None = None,
) -> Evaluation:
    """Evaluate one decoded request at the clock `now` (aware, UTC).

    `client` asks the FHIR server of the call for what was not sent, within `remaining_ms`; without it only what was sent is read.
    `gone` ends when the client has ended the call. `shown_before` tells which cards were shown before; without it nothing is a
    repeat. The timings of the call are marked.

    Raises RefusedRequest (412 where data is missing and this site wants that said so, 400 where a draft order is for another
    patient, 500 where no card could be evaluated) and AbandonedError where `gone` ended first.
    """
    sources = await _gathered(call, engine, client, remaining_ms, gone)
    try:
        evaluation = await _evaluated(call, sources, engine, now, shown_before)
    except WrongPatientError:
        wrong = BadRequest("An order in `context.draftOrders` is for another patient than `context.patientId`")
        raise RefusedRequest(wrong, "wrong_patient", sources, security="wrong_patient_order") from None
    except Exception as error:  # noqa: BLE001 - whatever broke outside of the cards: counted, logged, and said
        evaluation = _not_evaluated(call, sources, engine, now, error)
    if evaluation.all_failed and (engine.on_crash == "500" or not evaluation.shown):  # an empty answer would say: checked
        failed = EngineFailed("No card could be evaluated: nothing was checked for this patient")
        raise RefusedRequest(failed, Outcome.FAILED, sources)
    return evaluation


async def evaluate_body(body: bytes, engine: Engine, now: datetime, *, dialect: str = "") -> Evaluation:
    """Evaluate the request in `body`, which names its hook, without a FHIR server and without the log.

    Raises CdsError as a server would answer.
    """
    hooks = [service.hook for service in engine.knowledge.services]
    hook = fitting(members_of(body, "the body").get("hook"), str)
    if hook not in hooks:
        raise BadRequest(f"`hook` must be one of {', '.join(hooks)}")
    try:
        return await evaluate_request(decode_request(body, hook, Caller(client="trial", dialect=dialect)), engine, now)
    except RefusedRequest as refusal:
        raise refusal.error from None


async def _gathered(
    call: HookRequest,
    engine: Engine,
    client: FhirClient | None,
    remaining_ms: float,
    gone: Callable[[], Awaitable[object]] | None,
) -> Sources:
    """Gather the data about the patient, as much of it as can be had in time."""
    service = next(one for one in engine.knowledge.services if one.hook == call.hook)
    templates = service.templates(include=call.caller.include)
    try:
        gathered = await gather(call, templates, client, remaining_ms, gone, engine.knowledge.terminology)
    finally:
        call.timings.mark("gather")
    sources = capped(gathered, engine.max_entries)
    if engine.on_unavailable == "412":
        try:
            require({key: one.source for key, one in sources.items()})
        except PreconditionFailed as error:
            raise RefusedRequest(error, Outcome.COULD_NOT_CHECK, sources) from None
    return sources


async def _evaluated(
    call: HookRequest, sources: Sources, engine: Engine, now: datetime, shown_before: ShownBefore | None
) -> Evaluation:
    """Go the way from what was gathered to the answer: one way, each stage once."""
    knowledge, presenter, mark = engine.knowledge, engine.presenter, call.timings.mark
    facts = read(
        sources,
        call.drafts,
        call.context.selections,
        hook=call.hook,
        patient_id=call.context.patientId or "",
        now=now,
        jurisdiction=engine.jurisdiction,
        terminology=knowledge.terminology,
        fhir_server=call.fhirServer,
    )
    mark("read")
    judged = judge(facts, knowledge, _note_failure)
    mark("judge")
    decisions, drawn = presenter.draw(judged, facts, call.hookInstance, _note_failure, call.caller.dialect)
    mark("draw")
    prior = await shown_before(decisions, facts) if shown_before is not None else None
    if prior is not None:
        facts = msgspec.structs.replace(facts, prior_cards=prior)
        mark("shown_before")
    chosen = choose(
        decisions,
        facts.prior_cards,
        hook=call.hook,
        now=now,
        answer_counts=knowledge.engineering.answer_counts.span,
        most=knowledge.labels.most_cards,
    )
    shown, shadows = presenter.compose(chosen, drawn, facts, call.hookInstance, call.caller.dialect)
    evaluation = Evaluation(_response(shown), facts, chosen, shown, shadows, sources)
    mark("choose")
    return evaluation


def _not_evaluated(call: HookRequest, sources: Sources, engine: Engine, now: datetime, error: Exception) -> Evaluation:
    """Answer where `error` ended the evaluation as a whole: every card failed, and a notice says what was not checked."""
    metrics.ENGINE_FAILURES.inc()
    tell(Event.ENGINE_FAILED, error=type(error).__name__, place=place(error.__traceback__))
    knowledge = engine.knowledge
    facts = Facts(now, call.hook, engine.jurisdiction, Patient(call.context.patientId or "", None, None, ""), {})
    findings = Evaluator(FactIndex(facts), knowledge.criteria, knowledge.per_order, _note_failure)
    failed = [
        Decision(card, Outcome.FAILED, findings, in_notice=True, error=type(error).__name__)
        for card in knowledge.cards_at(call.hook)
    ]
    nothing = [None] * len(failed)
    shown, shadows = engine.presenter.compose(failed, nothing, facts, call.hookInstance, call.caller.dialect)
    return Evaluation(_response(shown), facts, failed, shown, shadows, sources, broke=True)


def _response(shown: Sequence[Shown]) -> bytes:
    return b'{"cards":[' + b",".join([one.body for one in shown]) + b"]}"


def _note_failure(name: str, error: Exception) -> None:
    """Count and log a card or criterion that broke, by class and place, because a message may hold data."""
    metrics.EVALUATION_FAILURES.labels(name).inc()
    tell(Event.EVALUATION_FAILED, card=name, error=type(error).__name__, place=place(error.__traceback__))
