"""Write criteria and cards as English sentences.

They are generated from the data that is evaluated, so that words and logic cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from cds_service.criteria.facts import PriorCard
from cds_service.criteria.group import Composite
from cds_service.criteria.kinds import Criterion
from cds_service.knowledge.card_file import CardFile, Row
from cds_service.terminology.terminology import Terminology


class Sentences:
    """Write what each criterion means, with the names of the value sets (implements `kind.Names`)."""

    def __init__(self, criteria: Mapping[str, Criterion], terminology: Terminology) -> None:
        self._criteria = criteria
        self._terminology = terminology

    def of(self, name: str) -> str:
        """Return the criterion `name` as a phrase; a group by its name."""
        criterion = self._criteria[name]
        return _name(name) if isinstance(criterion, Composite) else criterion.sentence(self)

    def meaning(self, name: str) -> str:
        """Return what `name` means; for a group its members, each nested group by its name."""
        return self._criteria[name].sentence(self)

    def row(self, row: Row) -> str:
        """Return the conditions of a table row as one sentence."""
        when = " and ".join(self.of(name) for name in row.when) or "always"
        return when + "".join(f", unless {self.of(name)}" for name in row.unless)

    def analyte(self, analyte: str) -> str:
        """Return the name of an analyte."""
        return self._terminology.analytes[analyte].name

    def classes(self, classes: Iterable[str]) -> list[str]:
        """Return the names of drug classes."""
        return [self._terminology.class_display(name) for name in classes]

    def problems(self, sets: Iterable[str]) -> list[str]:
        """Return the names of problem sets."""
        return [self._terminology.problem_names[name] for name in sets]


def unknown_policy(card: CardFile) -> list[str]:
    """Return a sentence for each criterion whose `on_unknown` or `on_missing` is not the default."""
    words = {
        "say_so": "the card says that it could not check",
        "stay_silent": "the card stays silent",
        "carry_on": "the card goes on as if it were not met, and says so",
    }
    said = [f"{_name(name)} could not be looked up or read: {words[policy]}" for name, policy in card.on_unknown.items()]
    return said + [f"{_name(name)} has nothing on record: {words[policy]}" for name, policy in card.on_missing.items()]


def repetition(card: CardFile) -> str:
    """Return when the card is shown again for the same patient.

    "" without a `repeat` rule.
    """
    if card.repeat is None:
        return ""
    said = f"not shown again for {card.repeat.after_days} days about the same patient"
    about = " or ".join(_name(name) for name in card.repeat.about)
    return said + (f", unless there is something new in {about}" if about else "")


def repeated(card: CardFile, indicator: str, prior: PriorCard | None, now: datetime) -> str:
    """Return when a repeated card was shown, by which rule it is held back, and when it comes again with nothing new.

    `prior`: the earlier card, None where it is not known.
    """
    shown = f" on {prior.shown_at:%Y-%m-%d} at {prior.shown_at:%H:%M} UTC" if prior is not None else ""
    if card.repeat is None or indicator != "info":
        return f"it was shown{shown} and there is nothing new (a card that was answered at picking is not shown at signing)"
    said = f"it was shown{shown} and there is nothing new ({repetition(card)})"
    if prior is None:
        return said
    again = prior.shown_at + timedelta(days=card.repeat.after_days)
    days = -((now - again) // timedelta(days=1))
    return f"{said}; again in {days} day{'s' if days != 1 else ''}, from {again:%Y-%m-%d}"


def notice_repeated(prior: PriorCard | None, counts: timedelta) -> str:
    """Return when the same user was told that draft orders were not sent, and when that is said again.

    `prior`: the earlier notice, None where it is not known; `counts`: for how long it counts.
    """
    if prior is None:
        return "this user was told for this patient, so it is not said again"
    again = prior.shown_at + counts
    return (
        f"this user was told for this patient on {prior.shown_at:%Y-%m-%d} at {prior.shown_at:%H:%M} UTC, "
        f"so it is not said again before {again:%Y-%m-%d} at {again:%H:%M} UTC"
    )


def _name(criterion: str) -> str:
    return f"'{criterion.replace('_', ' ')}'"
