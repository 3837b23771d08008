"""List the numbers and yes/no choices of a card that a site's overlay may change.

They are read off the criteria that the card uses, so a new criterion or field needs no entry here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, get_args

import msgspec

from cds_service.criteria.age import AgeCriterion
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.numbers import numbers_in, unit_of
from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge import thresholds
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.names_used import named_in, with_children
from cds_service.knowledge.overlay import CARD

CRITERIA = "criteria.yaml"
Value = Decimal | int | bool

# What the form takes where the knowledge itself has no bounds: a lifetime in days and in hours, ages, daily doses in mg.
_BOUNDS = {"days": (0, 36_500), "hours": (0, 8_784), "years": (0, 130), "mg/day": (0, 100_000), "": (1, 100)}


class SiteNumber(msgspec.Struct, frozen=True):
    """One number or yes/no choice.

    `file`, `keys`: where an overlay says it. `shipped`: the value in `cards/`, None where only the overlay has the criterion.
    `low`, `high`: both allowed, None for a yes/no choice. `uses`: the card's criteria, `cards`: ids of other cards that change
    with it.
    """

    file: str
    keys: tuple[str, ...]
    value: Value
    shipped: Value | None
    unit: str
    low: Decimal | None
    high: Decimal | None
    whole: bool
    uses: tuple[str, ...]
    cards: tuple[str, ...]
    source: tuple[str, ...]  # of the criterion or threshold

    @property
    def name(self) -> str:
        """Return its name in a form, such as `criteria.yaml:potassium_low:within_days`."""
        return ":".join((self.file, *self.keys))

    @property
    def by_overlay(self) -> bool:
        """Tell whether the site's overlay has changed it."""
        return self.value != self.shipped

    def read(self, text: str) -> Value:
        """Return the value that somebody typed. Raises SiteNumberError."""
        if isinstance(self.value, bool):
            if text not in ("yes", "no"):
                raise SiteNumberError("say yes or no")
            return text == "yes"
        try:
            value = Decimal(text.strip())
        except InvalidOperation:
            raise SiteNumberError("is not a number; write it with a point, such as 3.5") from None
        if not value.is_finite() or value != value.quantize(Decimal(1 if self.whole else "0.0001")):
            raise SiteNumberError("must be a whole number" if self.whole else "has more than four decimals")
        if not (self.low or 0) <= value <= (self.high or 0):
            raise SiteNumberError(f"must be from {self.low} to {self.high}{f' {self.unit}' if self.unit else ''}")
        return int(value) if self.whole else value


class SiteNumberError(ValueError):
    """Raised for a value that a site's overlay can't have. The text is for the person who typed it."""


def site_numbers(card: Card, knowledge: Knowledge, folder: Path) -> list[SiteNumber]:
    """Return what an overlay may change of a card, thresholds first. `folder`: of the shipped cards. Raises KnowledgeError."""
    files = {name: YamlFile(folder / name, f"cards/{name}").data for name in (thresholds.FILE, CRITERIA, f"{card.id}/{CARD}")}
    shared = {*files[CRITERIA], *_own(knowledge, CRITERIA)}
    users = _users(knowledge)
    found = list(_thresholds(card, knowledge, files[thresholds.FILE], users))
    for name in with_children(named_in(card.file), knowledge.criteria):
        of_card = name not in shared
        file, keys = (f"{card.id}/{CARD}", ("criteria", name)) if of_card else (CRITERIA, (name,))
        others = () if of_card else tuple(one for one in users[name] if one != card.id)
        shipped = (files[file].get("criteria", {}) if of_card else files[file]).get(name, {})
        found += _of_criterion(name, knowledge, file, keys, shipped, others)
    if card.file.repeat is not None:
        shipped = files[f"{card.id}/{CARD}"].get("repeat", {}).get("after_days")
        low, high = (Decimal(one) for one in _BOUNDS["days"])
        found.append(
            SiteNumber(
                file=f"{card.id}/{CARD}",
                keys=("repeat", "after_days"),
                value=card.file.repeat.after_days,
                shipped=shipped,
                unit="days",
                low=max(low, Decimal(1)),
                high=high,
                whole=True,
                uses=(),
                cards=(),
                source=(),
            )
        )
    return found


def _own(knowledge: Knowledge, name: str) -> Mapping[str, Any]:
    """Return the overlay's file; empty where it has none."""
    file = knowledge.overlay.own(name) if knowledge.overlay is not None else None
    return file.data if file is not None and isinstance(file.data, dict) else {}


def _users(knowledge: Knowledge) -> dict[str, list[str]]:
    """Return the cards that use each criterion."""
    users: dict[str, list[str]] = {}
    for card in knowledge.cards:
        if card.file.status != "retired":
            for name in with_children(named_in(card.file), knowledge.criteria):
                users.setdefault(name, []).append(card.id)
    return users


def _thresholds(
    card: Card, knowledge: Knowledge, shipped: Mapping[str, Any], users: Mapping[str, list[str]]
) -> Iterator[SiteNumber]:
    """Yield the named thresholds that criteria of the card use, each once."""
    used: dict[str, list[tuple[str, str]]] = {}
    for criterion, fields in knowledge.named.items():
        for field, name in fields.items():
            used.setdefault(name, []).append((criterion, field))
    own = set(with_children(named_in(card.file), knowledge.criteria))
    for name, one in knowledge.thresholds.items():
        places = used.get(name, [])
        mine = tuple(dict.fromkeys(criterion for criterion, _ in places if criterion in own))
        if not mine:
            continue
        bounds = [_bounds(knowledge.criteria[criterion], field, one.unit, knowledge) for criterion, field in places]
        cards = sorted({user for criterion, _ in places for user in users.get(criterion, ())} - {card.id})
        yield SiteNumber(
            thresholds.FILE,
            (name, "value"),
            one.value,
            shipped.get(name, {}).get("value"),
            one.unit,
            max(low for low, _ in bounds),
            min(high for _, high in bounds),
            any(_whole(knowledge.criteria[criterion], field) for criterion, field in places),
            mine,
            tuple(cards),
            tuple(one.source),
        )


def _of_criterion(
    name: str, knowledge: Knowledge, file: str, keys: tuple[str, ...], shipped: Mapping[str, Any], others: tuple[str, ...]
) -> Iterator[SiteNumber]:
    """Yield the plain numbers and yes/no choices of one criterion; what names a threshold is changed there."""
    criterion, named = knowledge.criteria[name], knowledge.named.get(name, {})
    for field, value, unit in numbers_in(criterion):
        plain, _, of_unit = field.partition(".")
        if plain in named:
            continue
        at = (plain, of_unit) if of_unit else (plain,)
        low, high = _bounds(criterion, plain, unit, knowledge)
        before = shipped.get(plain)
        before = before.get(of_unit) if isinstance(before, dict) else before
        whole = _whole(criterion, plain)
        yield SiteNumber(file, (*keys, *at), value, before, unit, low, high, whole, (name,), others, tuple(criterion.source))
    for one in msgspec.structs.fields(criterion):
        if one.type is bool or bool in get_args(one.type):
            choice = getattr(criterion, one.name)
            if choice is not None and (one.name in shipped or choice != one.default):  # the others are not this criterion's point
                before = shipped.get(one.name, one.default) if shipped else None
                source = tuple(criterion.source)
                yield SiteNumber(file, (*keys, one.name), choice, before, "", None, None, False, (name,), others, source)


def _whole(criterion: Criterion, field: str) -> bool:
    kind = next(one.type for one in msgspec.structs.fields(criterion) if one.name == field)
    return int in (kind, *get_args(kind))


def _bounds(criterion: Criterion, field: str, unit: str, knowledge: Knowledge) -> tuple[Decimal, Decimal]:
    """Return the lowest and highest number that makes sense: of a result, those that are read as results at all."""
    if isinstance(criterion, LabCriterion) and field in ("below", "at_most", "above", "at_least", "below_reported"):
        analyte = knowledge.terminology.analytes[criterion.analyte]
        if analyte.plausible is not None:
            factor = analyte.factors.get(unit, Decimal(1)) if unit != analyte.unit else Decimal(1)
            low, high = (one / factor for one in analyte.plausible)
            return (Decimal(0) if criterion.at_least == 0 and field == "at_least" else low), high
        return Decimal(0), Decimal(100_000)
    kind = str(criterion.__struct_config__.tag)
    key = "years" if isinstance(criterion, AgeCriterion) else unit_of(field, kind, unit)
    least, most = _BOUNDS.get(key, (0, 100_000))
    return Decimal(least), Decimal(most)


def changes_of(numbers: Iterable[SiteNumber], typed: Mapping[str, str]) -> tuple[dict[SiteNumber, Value], dict[str, str]]:
    """Return what was typed and differs from today, and the errors by name. What was not typed stays as it is."""
    changed: dict[SiteNumber, Value] = {}
    wrong: dict[str, str] = {}
    for one in numbers:
        if one.name not in typed:
            continue
        try:
            value = one.read(typed[one.name])
        except SiteNumberError as error:
            wrong[one.name] = str(error)
            continue
        if value != one.value:
            changed[one] = value
    return changed, wrong
