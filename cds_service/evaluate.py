"""Evaluate a request: find the cards to show for one patient at one moment.

All code that uses cards calls `evaluate_request`: a call of an EHR, a command in a terminal, a card's cases, the self-check, a
test. It runs the stages in one direction, each once:

- gather: get the patient's data, from prefetch or from the EHR's FHIR server, within limits of time and number.
- read: turn FHIR resources into facts (labs, drugs, problems, orders).
- judge: decide for every card whether it fires, from facts and the card's criteria. No I/O.
- draw: write each card that fired, with its suggestions. A card that can't be drawn counts as failed.
- choose: hold back repeats of cards shown before, cards that give way to others, and cards beyond the limit.
- compose: join the chosen cards, and the notice on data that could not be checked, into the response.

A card that fails costs only itself. Where no card could be evaluated, the response says that nothing was checked: never an empty
list, which would say that all is well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import Facts, Patient, PriorCard
from cds_service.decide.choose import choose
from cds_service.decide.decision import Decision, Outcome
from cds_service.decide.judge import judge
from cds_service.fhir.gathered import Gathered
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.gather import gather, require
from cds_service.gather.limits import MAX_ENTRIES, capped
from cds_service.knowledge.knowledge import Knowledge
from cds_service.present.card_template import Shown
from cds_service.present.cards import Presenter
from cds_service.read.chart import Chart, own_chart
from cds_service.read.draft_orders import WrongPatientError
from cds_service.read.reader import read_chart
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.trust import Caller
from cds_service.wire.errors import BadRequest, EngineFailed, PreconditionFailed
from cds_service.wire.hook_request import HookRequest, decode_request, fitting
from cds_service.wire.refusal import RequestRefusedError
from cds_service.wire.strict_json import checked_text, members_of

if TYPE_CHECKING:
    from cds_service.settings import Settings

Sources = Mapping[str, Gathered]  # what was gathered, by prefetch key
# Returns the cards shown before for the patient that can make one of these decisions a repeat; None where no decision can be one,
# so that the log was not asked.
ShownBefore = Callable[[Sequence[Decision], Facts], Awaitable[tuple[PriorCard, ...] | None]]


class Engine(msgspec.Struct, frozen=True):
    """Hold what every evaluation needs beside the request: the cards, and the limits of this site."""

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
    """An evaluated request: the response, and the facts and decisions behind it."""

    body: bytes  # the CDS Hooks response
    facts: Facts
    decisions: list[Decision]
    shown: list[Shown]
    shadows: list[Shown]  # cards that fired in shadow: for the log only, not in the response
    sources: Sources
    held_back: list[Shown] = []  # cards that fired and were not chosen: for the log only
    engine_failed: bool = False  # no card was evaluated, see `_evaluation_of_failure`
    chart: Chart | None = None  # what the facts were read from; None where that failed

    def __repr__(self) -> str:
        """Return the counts only, without patient data, because asyncio and tracebacks write the text of results."""
        return f"<Evaluation of {len(self.decisions)} decisions, {len(self.shown)} cards>"

    @property
    def all_failed(self) -> bool:
        """Say whether every live card failed, or the evaluation as a whole."""
        return self.engine_failed or {one.outcome for one in self.decisions if one.card.live} == {Outcome.FAILED}


async def evaluate_request(
    call: HookRequest,
    engine: Engine,
    now: datetime,
    *,
    client: FhirClient | None = None,
    remaining_ms: float = 0,
    client_gone: Callable[[], Awaitable[object]] | None = None,
    shown_before: ShownBefore | None = None,
    session: str = "",
) -> Evaluation:
    """Evaluate one decoded request at the clock `now` (aware, UTC).

    `client` asks the call's FHIR server for data that was not sent, within `remaining_ms`; without it only prefetch is read.
    `client_gone` returns when the client has closed the connection. `shown_before` returns the cards shown before; without it no
    card is a repeat. `session`: what the uuids of cards are made from, beside card and order; by default the hook instance. The
    timings of the call are marked.

    Raises RequestRefusedError (412 where data is missing and the site's `on_unavailable` is "412", 400 where a draft order is for
    another patient, 500 where no card could be evaluated) and AbandonedError where `client_gone` returned first.
    """
    session = session or call.hookInstance
    sources = await _gather_data(call, engine, client, remaining_ms, client_gone)
    try:
        evaluation = await _run_stages(call, sources, engine, now, shown_before, session)
    except WrongPatientError:
        text = "An order in `context.draftOrders` is for another patient than `context.patientId`"
        wrong = BadRequest(text, why="context.draftOrders")
        raise RequestRefusedError(wrong, "wrong_patient", sources, security="wrong_patient_order") from None
    except Exception as error:  # noqa: BLE001 - any fault outside of a card: counted, logged, and stated in the response
        evaluation = _evaluation_of_failure(call, sources, engine, now, error, session)
    if evaluation.all_failed and (engine.on_crash == "500" or not evaluation.shown):  # no cards would mean: checked, all is well
        raise RequestRefusedError(_nothing_evaluated(), "failed", sources)
    return evaluation


async def evaluate_body(body: bytes, engine: Engine, now: datetime, *, dialect: str = "") -> Evaluation:
    """Evaluate the request in `body`, which names its hook, without a FHIR server and without the log.

    Raises the CdsError that a server would answer with.
    """
    hooks = [service.hook for service in engine.knowledge.services]
    hook = fitting(members_of(checked_text(body), "the body").get("hook"), str)
    if hook not in hooks:
        raise BadRequest(f"`hook` must be one of {', '.join(hooks)}", why="hook")
    try:
        return await evaluate_request(decode_request(body, hook, Caller(client="trial", dialect=dialect)), engine, now)
    except RequestRefusedError as refusal:
        raise refusal.error from None


async def _gather_data(
    call: HookRequest,
    engine: Engine,
    client: FhirClient | None,
    remaining_ms: float,
    client_gone: Callable[[], Awaitable[object]] | None,
) -> Sources:
    """Gather the data about the patient, within the limits of time and number."""
    service = next(one for one in engine.knowledge.services if one.hook == call.hook)
    templates = service.templates(include=call.caller.include)
    try:
        gathered = await gather(call, templates, client, remaining_ms, client_gone, engine.knowledge.terminology)
    finally:
        call.timings.mark("gather")
    sources = capped(gathered, engine.max_entries)
    if engine.on_unavailable == "412":
        try:
            require({key: one.source for key, one in sources.items()})
        except PreconditionFailed as error:
            raise RequestRefusedError(error, "could_not_check", sources) from None
    return sources


async def _run_stages(
    call: HookRequest, sources: Sources, engine: Engine, now: datetime, shown_before: ShownBefore | None, session: str
) -> Evaluation:
    """Run the stages from gathered data to the response, each once."""
    knowledge, presenter, mark = engine.knowledge, engine.presenter, call.timings.mark
    chart = own_chart(
        sources,
        call.drafts,
        call.context.selections,
        hook=call.hook,
        patient_id=call.context.patientId or "",
        now=now,
        fhir_server=call.fhirServer,
    )
    facts = read_chart(chart, hook=call.hook, now=now, jurisdiction=engine.jurisdiction, terminology=knowledge.terminology)
    mark("read")
    judged = judge(facts, knowledge, _record_failure)
    mark("judge")
    decisions, drawn = presenter.draw(judged, facts, session, _record_failure, call.caller.dialect)
    mark("draw")
    prior = await _ask_shown_before(shown_before, decisions, facts)
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
    shown, shadows = presenter.compose(chosen, drawn, facts, session, call.caller.dialect)
    held_back = presenter.held_back(chosen, drawn, facts, call.caller.dialect)
    evaluation = Evaluation(_response(shown), facts, chosen, shown, shadows, sources, held_back, chart=chart)
    mark("choose")
    return evaluation


async def _ask_shown_before(
    shown_before: ShownBefore | None, decisions: Sequence[Decision], facts: Facts
) -> tuple[PriorCard, ...] | None:
    """Return the cards shown before. A fault there is counted and costs no card: a repeat is shown, as in the first call."""
    if shown_before is None:
        return None
    try:
        return await shown_before(decisions, facts)
    except Exception as error:  # noqa: BLE001 - whatever the log holds, the drawn cards are shown
        _record_failure("shown_before", error)
        return None


def _evaluation_of_failure(
    call: HookRequest, sources: Sources, engine: Engine, now: datetime, error: Exception, session: str
) -> Evaluation:
    """Return the evaluation where `error` ended it: every card failed, a notice lists what was not checked.

    Raises RequestRefusedError (500) where not even the notice can be written.
    """
    metrics.ENGINE_FAILURES.inc()
    tell(Event.ENGINE_FAILED, error=type(error).__name__, place=place(error.__traceback__))
    knowledge = engine.knowledge
    facts = Facts(now, call.hook, engine.jurisdiction, Patient(call.context.patientId or "", None, None, ""), {})
    findings = Evaluator(FactIndex(facts), knowledge.criteria, knowledge.per_order, _record_failure)
    failed = [
        Decision(card, Outcome.FAILED, findings, in_notice=True, error=type(error).__name__)
        for card in knowledge.cards_at(call.hook)
    ]
    nothing = [None] * len(failed)
    try:
        shown, shadows = engine.presenter.compose(failed, nothing, facts, session, call.caller.dialect)
    except Exception as second:  # noqa: BLE001 - counted, logged, and answered with 500
        _record_failure("notice", second)
        raise RequestRefusedError(_nothing_evaluated(), "failed", sources) from None
    return Evaluation(_response(shown), facts, failed, shown, shadows, sources, engine_failed=True)


def _nothing_evaluated() -> EngineFailed:
    return EngineFailed("No card could be evaluated: nothing was checked for this patient")


def _response(shown: Sequence[Shown]) -> bytes:
    return b'{"cards":[' + b",".join([one.body for one in shown]) + b"]}"


def _record_failure(name: str, error: Exception) -> None:
    """Count and log a failed card or criterion, by class and place, because a message may hold data."""
    metrics.EVALUATION_FAILURES.labels(name).inc()
    tell(Event.EVALUATION_FAILED, card=name, error=type(error).__name__, place=place(error.__traceback__))
