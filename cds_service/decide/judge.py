"""Judge facts by the knowledge of the cards: facts in, frozen decisions out.

Pure: no I/O, no clock, no FHIR, no framework; the same input gives the same output. Each card of the hook is decided by itself:
one that raises has the outcome FAILED, and the others are still decided. `choose` then selects the cards that are shown.
"""

from __future__ import annotations

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import Facts
from cds_service.criteria.findings import IS_UNMET, UNMET, OnError
from cds_service.decide.decision import NOT_FIRED, Decision, Outcome
from cds_service.decide.empty_chart import empty_chart
from cds_service.decide.one_card import judge_safely
from cds_service.knowledge.knowledge import Knowledge

_DECEASED = "the patient is recorded as deceased"


def judge(facts: Facts, knowledge: Knowledge, on_error: OnError) -> list[Decision]:
    """Decide every card of `facts.hook`, in rank order; none fires for a deceased patient.

    A card that looks at nothing which these facts have is decided as in an empty chart. `on_error(card or criterion id,
    exception)` is called for every failure; it counts and logs.
    """
    index = FactIndex(facts)
    empty = empty_chart(knowledge, facts.hook, facts.jurisdiction)
    traits = empty.bits(index.traits())
    findings = Evaluator(index, knowledge.criteria, knowledge.per_order, on_error, empty.prepared, traits)
    if facts.patient.deceased:
        return [Decision(card, Outcome.NOT_APPLICABLE, findings, reason=_DECEASED) for card in knowledge.cards_at(facts.hook)]
    of_order = [(order, findings.for_order(order)) for order in index.selected_orders]
    decisions: list[Decision] = []
    for card in knowledge.cards_at(facts.hook):
        about_orders = False
        if card.file.for_each:
            for order, own in of_order:
                if own[card.file.for_each].truth is not IS_UNMET:
                    about_orders = True
                    decisions.append(judge_safely(card, own, order, facts.hook, on_error))
        if not about_orders:
            silent = empty.silent.get(card.id)
            if silent is not None and not silent.looks_for & traits:
                findings.update(silent.findings)
                decisions.append(Decision(card, NOT_FIRED, findings, unknown=silent.unknown))
            else:
                decisions.append(judge_safely(card, findings, None, facts.hook, on_error))
        elif index.order_absent is not UNMET:  # the orders that were read must not hide that there are others
            unread = judge_safely(card, findings.for_unread_orders(), None, facts.hook, on_error)
            if unread.outcome in (Outcome.COULD_NOT_CHECK, Outcome.FAILED):
                decisions.append(unread)
    return decisions
