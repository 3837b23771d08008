"""read → decide → present: from what was gathered to the cards, pure but for counting what broke."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from cds_service.decide import Decision, decide
from cds_service.decode import Gathered
from cds_service.facts import Facts, PriorCard
from cds_service.knowledge import Knowledge
from cds_service.present import Presenter, Shown
from cds_service.protocol import HookRequest
from cds_service.read import read

log = logging.getLogger(__name__)

failures: Counter[str] = Counter()  # cards and criteria that broke since this process started, by id; shown on /health


class Answer(msgspec.Struct):
    """An evaluated call."""

    body: bytes  # the CDS Hooks response
    facts: Facts
    decisions: list[Decision]
    shown: list[Shown]
    shadows: list[Shown]  # what cards in shadow would have shown: for the log only


def evaluate(
    call: HookRequest,
    gathered: Mapping[str, Gathered],
    knowledge: Knowledge,
    presenter: Presenter,
    now: datetime,
    jurisdiction: Literal["US", "GB"],
    prior: tuple[PriorCard, ...] = (),
) -> Answer:
    """read → decide → present: pure, at the clock `now` (aware, UTC)."""
    facts = read(
        gathered,
        bytes(call.context.draftOrders) or None,
        call.context.selections,
        hook=call.hook,
        patient_id=call.context.patientId or "",
        now=now,
        jurisdiction=jurisdiction,
        terminology=knowledge.terminology,
        fhir_server=call.fhirServer,
    )
    return conclude(call, facts, knowledge, presenter, prior)


def conclude(
    call: HookRequest, facts: Facts, knowledge: Knowledge, presenter: Presenter, prior: tuple[PriorCard, ...] = ()
) -> Answer:
    """decide → present, with the cards that were shown before: pure."""
    if prior:
        facts = msgspec.structs.replace(facts, prior_cards=prior)
    decisions = decide(facts, knowledge, _note_failure)
    shown, shadows = presenter.present(decisions, facts, call.hookInstance, _note_failure)
    body = b'{"cards":[' + b",".join([one.body for one in shown]) + b"]}"
    return Answer(body, facts, decisions, shown, shadows)


def _note_failure(name: str, error: Exception) -> None:
    """A card or criterion that broke: counted and logged by class and place, because a message may hold data."""
    failures[name] += 1
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"
    log.error("evaluation failed at=%s error=%s in=%s", name, type(error).__name__, place)
