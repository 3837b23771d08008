"""read → decide → present: from what was gathered to the cards, pure but for counting what broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from cds_service import metrics
from cds_service.criteria.facts import Facts, Patient, PriorCard
from cds_service.criteria.findings import Findings, View
from cds_service.decide import decide
from cds_service.decision import Decision, Outcome
from cds_service.decode import Gathered
from cds_service.events import Event, place, tell
from cds_service.knowledge import Knowledge
from cds_service.present import Presenter, Shown
from cds_service.protocol import HookRequest
from cds_service.read import read

Mark = Callable[[str], None]  # told the name of a phase when it ends


def _unmarked(_: str) -> None:
    """For callers that do not measure."""


class Answer(msgspec.Struct):
    """An evaluated call."""

    body: bytes  # the CDS Hooks response
    facts: Facts
    decisions: list[Decision]
    shown: list[Shown]
    shadows: list[Shown]  # what cards in shadow would have shown: for the log only
    broke: bool = False  # no card was evaluated, see `not_evaluated`

    @property
    def all_failed(self) -> bool:
        """Whether not one of the cards that are shown could be evaluated, or the evaluation broke as a whole."""
        return self.broke or {one.outcome for one in self.decisions if one.card.live} == {Outcome.FAILED}


def evaluate(
    call: HookRequest,
    gathered: Mapping[str, Gathered],
    knowledge: Knowledge,
    presenter: Presenter,
    now: datetime,
    jurisdiction: Literal["US", "GB"],
    prior: tuple[PriorCard, ...] = (),
    mark: Mark = _unmarked,
) -> Answer:
    """read → decide → present: pure, at the clock `now` (aware, UTC)."""
    facts = read(
        gathered,
        call.drafts,
        call.context.selections,
        hook=call.hook,
        patient_id=call.context.patientId or "",
        now=now,
        jurisdiction=jurisdiction,
        terminology=knowledge.terminology,
        fhir_server=call.fhirServer,
    )
    mark("read")
    return conclude(call, facts, knowledge, presenter, prior, mark)


def conclude(
    call: HookRequest,
    facts: Facts,
    knowledge: Knowledge,
    presenter: Presenter,
    prior: tuple[PriorCard, ...] = (),
    mark: Mark = _unmarked,
) -> Answer:
    """decide → present, with the cards that were shown before: pure."""
    if prior:
        facts = msgspec.structs.replace(facts, prior_cards=prior)
    decisions = decide(facts, knowledge, _note_failure)
    mark("decide")
    shown, shadows = presenter.present(decisions, facts, call.hookInstance, _note_failure, call.caller.dialect)
    body = b'{"cards":[' + b",".join([one.body for one in shown]) + b"]}"
    mark("present")
    return Answer(body, facts, decisions, shown, shadows)


def not_evaluated(
    call: HookRequest,
    knowledge: Knowledge,
    presenter: Presenter,
    now: datetime,
    jurisdiction: Literal["US", "GB"],
    error: Exception,
) -> Answer:
    """The answer where `error` ended the evaluation as a whole: every card failed, and a notice says what was not checked."""
    metrics.ENGINE_FAILURES.inc()
    tell(Event.ENGINE_FAILED, error=type(error).__name__, place=place(error.__traceback__))
    facts = Facts(now, call.hook, jurisdiction, Patient(call.context.patientId or "", None, None, ""), {})
    findings = Findings(View(facts), knowledge.criteria, knowledge.per_order, _note_failure)
    decisions = [
        Decision(card, Outcome.FAILED, findings, say=True, error=type(error).__name__) for card in knowledge.cards_at(call.hook)
    ]
    shown, shadows = presenter.present(decisions, facts, call.hookInstance, _note_failure, call.caller.dialect)
    body = b'{"cards":[' + b",".join([one.body for one in shown]) + b"]}"
    return Answer(body, facts, decisions, shown, shadows, broke=True)


def _note_failure(name: str, error: Exception) -> None:
    """A card or criterion that broke: counted and logged by class and place, because a message may hold data."""
    metrics.EVALUATION_FAILURES.labels(name).inc()
    tell(Event.EVALUATION_FAILED, card=name, error=type(error).__name__, place=place(error.__traceback__))
