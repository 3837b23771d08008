"""Criteria and cards in English, generated from the data that is evaluated, so that words and logic cannot drift apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cds_service.card_file import CardFile, Row
from cds_service.criteria.kinds import (
    AgeCriterion,
    AllCriterion,
    AllergyCriterion,
    AnyCriterion,
    Composite,
    CountCriterion,
    Criterion,
    DoseCriterion,
    DrugCriterion,
    HookCriterion,
    JurisdictionCriterion,
    LabCriterion,
    OrderCriterion,
    ProblemCriterion,
    ReasonCriterion,
)
from cds_service.criteria.wording import spoken_unit
from cds_service.terminology import Terminology


class Sentences:
    """Says what each criterion means, with the names of the value sets."""

    def __init__(self, criteria: Mapping[str, Criterion], terminology: Terminology) -> None:
        self._criteria = criteria
        self._terminology = terminology

    def of(self, name: str) -> str:
        """The criterion `name` as a phrase; a group of criteria is called by its name."""
        criterion = self._criteria[name]
        return _name(name) if isinstance(criterion, Composite) else self._meaning(criterion)

    def meaning(self, name: str) -> str:
        """What the criterion `name` means; for a group its members, which are called by their names where they are groups."""
        return self._meaning(self._criteria[name])

    def _meaning(self, criterion: Criterion) -> str:
        match criterion:
            case LabCriterion():
                return self._lab(criterion)
            case DrugCriterion():
                return self._drug(criterion)
            case ProblemCriterion():
                return self._problem(criterion)
            case CountCriterion(classes=classes, sets=sets, at_least=at_least, not_routes=routes):
                named = _or(self._classes(classes) + [self._terminology.problem_names[one] for one in sets])
                return f"at least {at_least} of: {named}" + (f" (not {_or(routes)})" if routes else "")
            case AllergyCriterion(classes=classes):
                return f"an allergy or earlier reaction to {_or(self._classes(classes))}"
            case AgeCriterion(below=below, at_least=at_least):
                limits = [f"under {below} years"] if below is not None else []
                return " and ".join(limits + ([f"{at_least} years or older"] if at_least is not None else []))
            case OrderCriterion():
                return self._order(criterion)
            case DoseCriterion(above=above, at_least=at_least):
                limit = f"above {above}" if above is not None else f"of at least {at_least}"
                return f"an ordered daily dose {limit} {criterion.unit}"
            case ReasonCriterion():
                return self._reason(criterion)
            case HookCriterion(hooks=hooks):
                return f"the moment is {_or(list(hooks))}"
            case JurisdictionCriterion(country=country):
                return f"the site is in {country}"
            case AnyCriterion(of=of):
                return "any of: " + "; ".join(self.of(one) for one in of)
            case AllCriterion(of=of, none_of=none_of):
                said = " and ".join(self.of(one) for one in of)
                return said + "".join(f", and not {self.of(one)}" for one in none_of)

    def row(self, row: Row) -> str:
        """The conditions of a table row as one sentence."""
        when = " and ".join(self.of(name) for name in row.when) or "always"
        return when + "".join(f", unless {self.of(name)}" for name in row.unless)

    def _lab(self, criterion: LabCriterion) -> str:
        analyte = self._terminology.analytes[criterion.analyte].name
        if criterion.missing:
            return f"no {analyte} in the last {criterion.within_days} days"
        limits = [
            f"{words} {_number(limit)} {spoken_unit(criterion.unit)}"
            for words, limit in (
                ("below", criterion.below),
                ("of at most", criterion.at_most),
                ("above", criterion.above),
                ("of at least", criterion.at_least),
            )
            if limit is not None
        ]
        if criterion.below_reported:
            limits[0] += "".join(
                f" (below {_number(limit)} {unit} where it is reported in {unit})"
                for unit, limit in criterion.below_reported.items()
            )
        if criterion.upper_limit_times is not None:
            own = f"above {_number(criterion.upper_limit_times)} times the laboratory's upper limit"
            limits[0] = f"{own} ({limits[0]} where it sent none)"
        said = f"{analyte} {' and '.join(limits)}" if limits else analyte
        if criterion.at_least == 0 and len(limits) == 1:
            said = f"any {analyte}"  # only asks that there is one
        if criterion.own_range is not None:
            own = "without a" if criterion.own_range == "not sent" else f"{criterion.own_range} the laboratory's own"
            said += f" {own} lower limit"
        if criterion.as_measured:
            said += " as it was measured, without a correction"
        if criterion.below_reference_range:
            said += " (and below the laboratory's own limit, where it sent one)"
        if criterion.haemolysed is not None:
            said += " in a haemolysed sample" if criterion.haemolysed else " in a sample that is not haemolysed"
        if criterion.sampling is not None:
            said += f" taken {criterion.sampling.replace('-', ' ')}"
        if criterion.preliminary == "accepted":
            said += ", results that are not confirmed included"
        elif criterion.preliminary == "only":
            said += ", in a result that is not confirmed"
        elif criterion.preliminary == "ignored":
            said += " (results that are not confirmed do not count)"
        if criterion.older_than_days is not None:
            return f"{said}, {criterion.older_than_days + 1} to {criterion.within_days} days old"
        return f"{said}, at most {criterion.within_days} days old"

    def _problem(self, criterion: ProblemCriterion) -> str:
        said = f"an active problem: {_or([self._terminology.problem_names[one] for one in criterion.sets])}"
        if criterion.text_patterns:
            said += f" whose name says {_or([one.replace('_', ' ') for one in criterion.text_patterns])}"
        if criterion.onset_within_days is not None:
            said += f", since at most {criterion.onset_within_days} days"
        if criterion.onset_more_than_days_ago is not None:
            said += f", since more than {criterion.onset_more_than_days_ago} days"
        if criterion.newer_than is not None:
            said += f", newer than the newest {self._terminology.analytes[criterion.newer_than].name} or of unknown date"
        return f"{said}, or since an unknown date" if criterion.undated else said

    def _drug(self, criterion: DrugCriterion) -> str:
        said = f"takes {_or(criterion.ingredients or self._classes(criterion.classes))}"
        if criterion.route is not None:
            said += f" ({criterion.route})"
        if criterion.not_routes:
            said += f" (not by {_or(criterion.not_routes)})"
        if criterion.dose_above is not None:
            said += f" above {_number(criterion.dose_above)} mg/day"
        if criterion.regular:
            said += " on a schedule, not as needed"
        if criterion.begun_days_before is not None:
            problems = _or([self._terminology.problem_names[one] for one in criterion.before_sets])
            said += f" begun at most {criterion.begun_days_before} days before: {problems}"
        if criterion.started_after is not None:
            said += f" started after the newest {self._terminology.analytes[criterion.started_after].name}"
        if criterion.started_at_most_days_ago is not None:
            said += f", at most {criterion.started_at_most_days_ago} days ago"
        if criterion.started_more_than_days_ago is not None:
            said += f", more than {criterion.started_more_than_days_ago} days ago"
        if criterion.started_at_most_hours_ago is not None:
            said += f", at most {criterion.started_at_most_hours_ago} hours ago"
        if criterion.started_more_than_hours_ago is not None:
            said += f", more than {criterion.started_more_than_hours_ago} hours ago"
        if criterion.new_therapy:
            said += ", not renewed from before"
        if criterion.same_as_order:
            said += " with the same active ingredient as the order"
        return said if criterion.drafts else f"{said} (the drafts of this session not counted)"

    def _order(self, criterion: OrderCriterion) -> str:
        drugs = _or(criterion.ingredients or self._classes(criterion.classes))
        said = {
            "start": f"an order for {drugs}",
            "stop": f"an order that stops or pauses {drugs}",
            "switch": f"an order that replaces {drugs} by another drug",
        }[criterion.action]
        if criterion.route is not None:
            said += f" ({criterion.route})"
        if criterion.not_routes:
            said += f" (not by {_or(criterion.not_routes)})"
        if criterion.new_therapy:
            said += ", not renewing what is taken"
        return f"{said} whose code means another drug than its text" if criterion.code_disagrees else said

    def _reason(self, criterion: ReasonCriterion) -> str:
        where = "the order" if criterion.of == "order" else "an order or an active medication"
        if criterion.of_classes:
            where += f" of {_or(self._classes(criterion.of_classes))}"
        if criterion.stated:
            return f"{where} states a reason"
        said = [one.removesuffix("_reason").replace("_", " ") for one in criterion.patterns]
        coded = [self._terminology.problem_names[one] for one in criterion.sets]
        ways = ([f"says {_or(said)}"] if said else []) + ([f"is coded as {_or(coded)}"] if coded else [])
        return f"the reason of {where} {' or '.join(ways)}"

    def _classes(self, classes: list[str]) -> list[str]:
        return [self._terminology.class_display(name) for name in classes]


def unknown_policy(card: CardFile) -> list[str]:
    """What the card does where a criterion is unknown, a sentence for each that is not the default."""
    words = {
        "say_so": "the card says that it could not check",
        "stay_silent": "the card stays silent",
        "carry_on": "the card goes on as if it were not met, and says so",
    }
    said = [f"{_name(name)} could not be looked up or read: {words[policy]}" for name, policy in card.on_unknown.items()]
    return said + [f"{_name(name)} has nothing on record: {words[policy]}" for name, policy in card.on_missing.items()]


def repetition(card: CardFile) -> str:
    """When the card is shown again about the same patient; "" where it may always be."""
    if card.repeat is None:
        return ""
    said = f"not shown again for {card.repeat.after_days} days about the same patient"
    about = " or ".join(_name(name) for name in card.repeat.about)
    return said + (f", unless there is something new in {about}" if about else "")


def _name(criterion: str) -> str:
    return f"'{criterion.replace('_', ' ')}'"


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _number(value: Decimal) -> str:
    return f"{value:f}"
