"""Choose which of the cards that fired are shown: once, after all could be drawn. Pure.

In this order: the repeat rule, one card for each subject, the limit on cards that inform, and the notices that a shown card makes
needless. Cards in shadow take part in the repeat rule only, as they take nothing from the cards that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from cds_service.criteria.facts import PriorCard
from cds_service.decide.decision import Decision, Outcome
from cds_service.decide.repeat_rule import repeated

_change = msgspec.structs.replace


def choose(
    decisions: Sequence[Decision],
    shown_before: Sequence[PriorCard],
    *,
    hook: str,
    now: datetime,
    answer_counts: timedelta,
    most: int,
) -> list[Decision]:
    """Return the decisions in the same order, with each card held back that is not to be shown.

    `shown_before`: what was shown about this patient. `answer_counts`: how long an answer given at order-select counts at
    order-sign. `most`: cards in one answer, warnings and louder ones not limited.
    """
    chosen = list(decisions)
    if shown_before:
        _hold_repeats_back(chosen, shown_before, hook, now, answer_counts)
    _give_way(chosen)
    _limit(chosen, most)
    _drop_needless_notices(chosen)
    return chosen


def _hold_repeats_back(
    decisions: list[Decision], shown_before: Sequence[PriorCard], hook: str, now: datetime, answer_counts: timedelta
) -> None:
    """Hold back a card that was shown before and has nothing new to say."""
    for position, decision in enumerate(decisions):
        if decision.outcome is Outcome.FIRED:
            prior = repeated(decision, shown_before, hook, now, answer_counts)
            if prior is not None:
                decisions[position] = _change(decision, outcome=Outcome.REPEATED, repeats=prior.uuid)


def _give_way(decisions: list[Decision]) -> None:
    """Show at most one card per subject: a card gives way to one of lower rank that covers its subjects or that it names."""
    taken: dict[str, str] = {}
    spoken: dict[str, str] = {}  # subjects whatever the order
    loud: dict[str, str] = {}  # those of warnings and louder
    for position, decision in enumerate(decisions):
        if not decision.shows:
            continue
        suffix = f" {decision.order.key}" if decision.order is not None else ""
        own = [f"{subject}{suffix}" for subject in decision.card.file.subjects]
        file = decision.card.file
        ways = ((taken, own), (spoken, file.gives_way_to), (loud, file.gives_way_to_warnings))
        louder = next((shown[subject] for shown, subjects in ways for subject in subjects if subject in shown), "")
        if louder:
            decisions[position] = _change(decision, outcome=Outcome.GAVE_WAY, gave_way_to=louder)
            continue
        taken.update(dict.fromkeys(own, decision.card.id))
        spoken.update(dict.fromkeys(file.subjects, decision.card.id))
        if decision.indicator != "info":
            loud.update(dict.fromkeys(file.subjects, decision.card.id))


def _limit(decisions: list[Decision], most: int) -> None:
    """Show at most `most` cards. Warnings are all shown; cards that inform share what is left."""
    shown = [position for position, decision in enumerate(decisions) if decision.shows]
    informing = [position for position in shown if decisions[position].indicator == "info"]
    for position in informing[max(0, most - (len(shown) - len(informing))) :]:
        decisions[position] = _change(decisions[position], outcome=Outcome.CAPPED)


def _drop_needless_notices(decisions: list[Decision]) -> None:
    """Drop notices on subjects that a shown card about the patient covers."""
    covered = {subject for one in decisions if one.shows and one.order is None for subject in one.card.file.subjects}
    for position, decision in enumerate(decisions):
        if decision.outcome is Outcome.COULD_NOT_CHECK and decision.say and covered.issuperset(decision.card.file.subjects):
            decisions[position] = _change(decision, say=False)
