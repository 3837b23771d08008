"""Check the names and numbers in the files of cards; yield each error with its place."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from cds_service.criteria.kind import Known
from cds_service.criteria.lab import LabCriterion
from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.files.yaml_file import Problem, YamlFile
from cds_service.knowledge.card_file import CardFile, OverrideFile, Resource, SourceFile
from cds_service.knowledge.card_texts import placeholder_problems
from cds_service.knowledge.names_used import criteria_named_in, named_in, with_children
from cds_service.knowledge.overlay import Overlay
from cds_service.knowledge.written_criteria import WrittenCriteria
from cds_service.terminology.lab_terms import Analyte
from cds_service.terminology.terminology import Terminology
from cds_service.terminology.units import canonical, is_plausible

ENGINEERING = "engineering"  # in the place of a source: a choice for a clinician to sign


def check_names(file: YamlFile, keys: Keys, used: Iterable[str], known: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each of the names `used` at `keys` that is not known."""
    for name in used:
        if name not in known:
            yield file.problem(keys, f"unknown name{suggestion(name, list(known))}")


def check_criteria(written: WrittenCriteria, terminology: Terminology, sources: Mapping[str, SourceFile]) -> Iterator[Problem]:
    """Check the names and thresholds of all criteria."""
    analytes = {name: tuple(one.factors) for name, one in terminology.analytes.items()}
    for name, criterion in written.criteria.items():
        file, keys = written.where[name]
        known = Known(
            analytes,
            terminology.drug_classes,
            terminology.ingredients,
            terminology.problem_names,
            terminology.patterns,
            written.known_in(file),
        )
        for used in criterion.names_used(known):
            yield from check_names(file, (*keys, used.field), used.names, used.known)
        yield from check_names(file, (*keys, "source"), criterion.source, [*sources, ENGINEERING])
        if isinstance(criterion, LabCriterion) and criterion.analyte in terminology.analytes:
            yield from _check_thresholds(file, keys, criterion, terminology.analytes[criterion.analyte])


def _check_thresholds(file: YamlFile, keys: Keys, criterion: LabCriterion, analyte: Analyte) -> Iterator[Problem]:
    """Check that thresholds have the analyte's unit and are plausible; at least 0 means any result."""
    limits = {name: getattr(criterion, name) for name in ("below", "at_most", "above", "at_least")}
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    if limits and criterion.unit != analyte.unit:
        yield file.problem((*keys, "unit"), f"must be `{analyte.unit}`, the unit of {criterion.analyte}")
        return
    placed = [((*keys, name), limit, limit) for name, limit in limits.items() if (name, limit) != ("at_least", 0)]
    placed += [
        ((*keys, "below_reported", unit), limit, canonical(limit, unit, analyte))
        for unit, limit in criterion.below_reported.items()
        if unit in analyte.factors
    ]
    for at, limit, value in placed:
        if analyte.plausible is not None and not is_plausible(value, analyte):
            low, high = analyte.plausible
            yield file.problem(
                at, f"{limit} is not a possible threshold: {criterion.analyte} is read from {low} to {high} {analyte.unit}"
            )


def check_card(
    file: YamlFile,
    card: CardFile,
    written: WrittenCriteria,
    sources: Mapping[str, SourceFile],
    orders: Mapping[str, Resource],
    overrides: Mapping[str, OverrideFile],
    overlay: Overlay | None,
) -> list[Problem]:
    """Check the names that a card uses; where all are known, also its own criteria and its texts."""
    problems = list(_check_names_of_card(file, card, written, sources, orders, overrides))
    if problems or written.failed:  # the names in a criterion that could not be read are not known
        return problems
    used = with_children(named_in(card), written.criteria)
    for name, (at_file, keys) in written.where.items():
        if at_file is file and name not in used:
            if overlay is not None and file.places[keys].file == file.shown_as:
                continue  # a site can't delete an unused criterion of `cards/`
            problems.append(file.problem(keys, "is defined but never used; use it or delete it"))
    return problems + [
        file.problem(keys, message) for keys, message in placeholder_problems(card, used, written.criteria, orders)
    ]


def _check_names_of_card(
    file: YamlFile,
    card: CardFile,
    written: WrittenCriteria,
    sources: Mapping[str, SourceFile],
    orders: Mapping[str, Resource],
    overrides: Mapping[str, OverrideFile],
) -> Iterator[Problem]:
    criteria = written.known_in(file)
    for keys, names in criteria_named_in(card):
        yield from check_names(file, keys, names, criteria)
    yield from check_names(file, ("sources",), card.sources, sources)
    yield from check_names(file, ("links",), card.links, card.sources)
    for name in card.links:
        if name in sources and not sources[name].url:
            yield file.problem(("links",), f"`{name}` has no url, so it can't be a link")
    yield from check_names(file, ("overrides",), card.overrides, overrides)
    own_sources = [*card.sources, ENGINEERING]
    for position, row in enumerate(card.table):
        yield from check_names(file, ("table", position, "source"), row.source, own_sources)
    for position, passage in enumerate(card.page):
        yield from check_names(file, ("page", position, "source"), passage.source, own_sources)
    for position, change in enumerate(card.history):
        yield from check_names(file, ("history", position, "source"), change.source, [*sources, ENGINEERING])
    for position, item in enumerate(card.suggestions):
        for number, action in enumerate(item.actions):
            if action.type != "delete":
                at: Keys = ("suggestions", position, "actions", number, "resource")
                yield from check_names(file, at, [action.resource], orders)
