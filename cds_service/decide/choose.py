"""Choose which of the drawn cards that fired are shown. Pure.

In this order: the repeat rule, one card for each subject, the limit on info cards, notices on covered subjects, then what this
user was told of missing draft orders. Cards in shadow suppress no shown card. The repeat rule holds for them, too, where the
caller knows what was shown: the cases of a draft do; the alert log is not asked, because nothing of such a card was ever shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from cds_service.criteria.facts import PriorCard
from cds_service.decide.decision import FIRED, Decision, Outcome
from cds_service.decide.repeat_rule import repeated, repeated_notice

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
    """Return the decisions in the same order, each suppressed card with the outcome that says why.

    `shown_before`: the cards shown about this patient. `answer_counts`: how long an answer given at order-select counts at
    order-sign. `most`: the limit on cards in one response; warnings and critical cards are never cut.
    """
    chosen = _choose_cards(decisions, shown_before, hook, now, answer_counts, most)
    if shown_before and (prior := repeated_notice(shown_before, now, answer_counts)) is not None:
        for position, decision in enumerate(chosen):
            if decision.in_notice and decision.lacks_orders:
                chosen[position] = _change(decision, in_notice=False, repeats=prior.uuid)
    return chosen


def _choose_cards(
    decisions: Sequence[Decision],
    shown_before: Sequence[PriorCard],
    hook: str,
    now: datetime,
    answer_counts: timedelta,
    most: int,
) -> list[Decision]:
    """Suppress the cards that are not shown, and notices on subjects that the shown ones cover."""
    chosen = list(decisions)
    fired = [position for position, one in enumerate(chosen) if one.outcome is FIRED]
    if not fired:  # then no card is shown that could cover a subject either
        return chosen
    if shown_before:
        _suppress_repeats(chosen, fired, shown_before, hook, now, answer_counts)
    live = [position for position in fired if chosen[position].shows]
    capped: set[int] = set()
    while True:
        kept = list(chosen)
        for position in capped:
            kept[position] = _change(kept[position], outcome=Outcome.CAPPED)
        shown = _give_way(kept, [position for position in live if position not in capped])
        # A capped card covers no subject, so that a card which gave way to it is looked at again.
        if not (beyond := _beyond_limit(kept, shown, most)):
            break
        capped.update(beyond)
    _drop_needless_notices(kept, shown)
    return kept


def _suppress_repeats(
    decisions: list[Decision],
    fired: Iterable[int],
    shown_before: Sequence[PriorCard],
    hook: str,
    now: datetime,
    answer_counts: timedelta,
) -> None:
    """Suppress cards that were shown before and have no new content, of those at the positions `fired`."""
    for position in fired:
        prior = repeated(decisions[position], shown_before, hook, now, answer_counts)
        if prior is not None:
            decisions[position] = _change(decisions[position], outcome=Outcome.REPEATED, repeats=prior.uuid)


def _give_way(decisions: list[Decision], fired: Iterable[int]) -> list[int]:
    """Show at most one card per subject; return those of the positions `fired` that are still shown.

    A card gives way to an earlier one that covers one of its subjects, or a subject that its `gives_way_to` names.
    """
    shown: list[int] = []
    # Subject -> id of the shown card that covers it:
    covered: dict[str, str] = {}  # for one order, or for the patient
    covered_anywhere: dict[str, str] = {}  # for any order
    covered_by_warning: dict[str, str] = {}  # by a warning or critical card, for any order
    for position in fired:
        decision = decisions[position]
        suffix = f" {decision.order.key}" if decision.order is not None else ""
        own = [f"{subject}{suffix}" for subject in decision.card.file.subjects]
        file = decision.card.file
        rules = ((covered, own), (covered_anywhere, file.gives_way_to), (covered_by_warning, file.gives_way_to_warnings))
        earlier = next((by[subject] for by, subjects in rules for subject in subjects if subject in by), "")
        if earlier:
            decisions[position] = _change(decision, outcome=Outcome.GAVE_WAY, gave_way_to=earlier)
            continue
        shown.append(position)
        covered.update(dict.fromkeys(own, decision.card.id))
        covered_anywhere.update(dict.fromkeys(file.subjects, decision.card.id))
        if decision.indicator != "info":
            covered_by_warning.update(dict.fromkeys(file.subjects, decision.card.id))
    return shown


def _beyond_limit(decisions: list[Decision], shown: list[int], most: int) -> list[int]:
    """Return the positions of info cards beyond `most` cards in one response; warnings and critical cards are all shown."""
    info = [position for position in shown if decisions[position].indicator == "info"]
    return info[max(0, most - (len(shown) - len(info))) :]


def _drop_needless_notices(decisions: list[Decision], shown: Iterable[int]) -> None:
    """Drop notices on subjects that a shown card about the patient covers."""
    about_patient = [decisions[position].card for position in shown if decisions[position].order is None]
    covered = {subject for card in about_patient for subject in card.file.subjects}
    for position, decision in enumerate(decisions):
        if decision.in_notice and decision.outcome is Outcome.COULD_NOT_CHECK and covered.issuperset(decision.card.file.subjects):
            decisions[position] = _change(decision, in_notice=False)
