"""Findings and decisions that were prepared are those of the plain evaluation, whatever the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest

from cds_service.criteria.fact_index import FactIndex
from cds_service.criteria.facts import SOURCES, Allergy, Drug, Facts, LabSeries, Order, Patient, Problem, Source
from cds_service.criteria.problem import ProblemCriterion
from cds_service.decide.decision import Decision, Outcome
from cds_service.decide.empty_chart import EmptyChart, empty_chart
from cds_service.decide.judge import judge
from tests import proofs
from tests.case_runs import case_runs
from tests.core import NOW, a_card, answer, facts, knowledge, small, unexpected

MIXTURES = proofs.examples("CDS_MIXTURES", 400, 12_000)  # 60,000 in the long form, in two minutes
HOOKS = ("patient-view", "order-select", "order-sign")
T = TypeVar("T")


class Unprepared:
    """An empty chart of which nothing was prepared, so that everything is evaluated."""

    prepared: dict[str, Any] = {}
    silent: dict[str, Any] = {}

    def __init__(self, *_: object) -> None: ...

    def bits(self, _: object) -> int:
        return 0


class Pool(NamedTuple):
    """All that the cases of the cards have."""

    labs: Sequence[tuple[str, LabSeries]]
    drugs: Sequence[Drug]
    problems: Sequence[Problem]
    allergies: Sequence[Allergy]
    orders: Sequence[Order]
    patients: Sequence[Patient]
    incomplete: Sequence[tuple[str, Source]]


@cache
def pool() -> Pool:
    read = [run.evaluation.facts for run in case_runs() if run.evaluation is not None]
    return Pool(
        [(analyte, series) for one in read for analyte, series in one.labs.items()],
        [drug for one in read for drug in one.drugs],
        [problem for one in read for problem in one.problems],
        [allergy for one in read for allergy in one.allergies],
        [order for one in read for order in one.orders],
        [one.patient for one in read],
        [(name, source) for one in read for name, source in one.sources.items() if not source.complete],
    )


def mixture(seed: int) -> Facts:
    """Facts of several cases together, some of them changed, in a chart that may be incomplete."""
    chance = Random(seed)
    complete = answer().facts.sources["labs"]

    def some(of: Sequence[T], most: int) -> tuple[T, ...]:
        return tuple(chance.choice(of) for _ in range(chance.randint(0, most)))

    sources = dict.fromkeys((*SOURCES, "orders"), complete)
    if chance.random() < 0.25:
        sources.update(some(pool().incomplete, 2))
    if chance.random() < 0.05:
        del sources[chance.choice([name for name in sources if name != "patient"])]
    return Facts(
        NOW,
        chance.choice(HOOKS),
        chance.choice(("US", "GB")),
        chance.choice(pool().patients),
        sources,
        labs=dict(some(pool().labs, 5)),
        drugs=tuple(_changed_drug(one, chance) for one in some(pool().drugs, 4)),
        problems=tuple(_changed(one, chance, unclear="a problem that is not clear") for one in some(pool().problems, 4)),
        allergies=tuple(_changed(one, chance, unclear="an allergy that is not clear") for one in some(pool().allergies, 2)),
        orders=tuple(_changed_order(one, chance) for one in some(pool().orders, 3)),
    )


def _changed(one: T, chance: Random, **to: Any) -> T:
    """The same, or with one in ten changes."""
    return msgspec.structs.replace(one, **{name: value for name, value in to.items() if chance.random() < 0.1})  # type: ignore[type-var]


def _changed_drug(drug: Drug, chance: Random) -> Drug:
    named = _changed(drug, chance, reason_unread=True, reason_stated=True, daily_dose_mg=None, started=None, confirmed=False)
    return msgspec.structs.replace(named, identified=False, classes=frozenset()) if chance.random() < 0.05 else named


def _changed_order(order: Order, chance: Random) -> Order:
    drug = None if order.drug is None or chance.random() < 0.1 else _changed_drug(order.drug, chance)
    key = f"MedicationRequest/{chance.randint(1, 1000)}"
    replaces = chance.choice(["", "", f"MedicationRequest/{chance.choice(pool().drugs).reference.rpartition('/')[2]}"])
    ordered = msgspec.structs.replace(order, drug=drug, key=key, reference=key, replaces=replaces)
    return _changed(ordered, chance, action="stop", selected=False)


def told(decisions: list[Decision]) -> Iterator[object]:
    """All that a decision says, and every finding behind it."""
    for one in decisions:
        yield [getattr(one, name) for name in one.__struct_fields__ if name not in ("card", "findings")], one.card.id
    for findings in {id(each): each for one in decisions for each in (one.findings.for_patient, one.findings)}.values():
        yield dict(findings.own())


@pytest.mark.proof
def test_what_was_prepared_is_what_the_plain_evaluation_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    known, prepared, different = knowledge(), 0, []
    for seed in range(MIXTURES):
        mixed = mixture(seed)
        found = list(told(judge(mixed, known, unexpected)))
        with monkeypatch.context() as patch:
            patch.setattr("cds_service.decide.judge.empty_chart", Unprepared)
            plain = judge(mixed, known, unexpected)
        if found != list(told(plain)):
            different.append(seed)
        prepared += sum(one.outcome is Outcome.NOT_FIRED for one in plain)
    assert different == []
    assert prepared > MIXTURES


def test_most_criteria_and_cards_of_an_ordinary_call_were_prepared() -> None:
    read = facts("LOINC#2823-3 Potassium 4.2 mmol/L", "problem: gout", "takes: metformin 500 mg", "order: amoxicillin 500 mg")
    chart = empty_chart(knowledge(), "order-sign", "US")
    traits = chart.bits(FactIndex(read).traits())
    prepared = [name for name, one in chart.prepared.items() if not one.looks_for & traits]
    silent = [card for card, one in chart.silent.items() if not one.looks_for & traits]
    assert len(prepared) > len(knowledge().criteria) / 2
    assert len(silent) > len(chart.silent) / 2


def test_a_criterion_or_card_that_raises_is_counted_in_each_call_and_not_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ProblemCriterion, "find", broken)
    known = small({"cramp": {"kind": "problem", "sets": ["muscle_cramp"]}}, a_card(fire_when=["cramp"]))
    told_of: list[str] = []
    for _ in range(3):
        judge(facts(), known, lambda name, _: told_of.append(name))
    assert told_of == ["cramp"] * 3
    monkeypatch.setattr("cds_service.decide.one_card.judge_card", broken)
    assert EmptyChart(known, "order-sign", "US").silent == {}


def test_a_kind_that_does_not_say_what_it_looks_for_is_always_evaluated() -> None:
    known = small({"old": {"kind": "age", "at_least": 65}}, a_card(fire_when=["old"]))
    chart = EmptyChart(known, "order-sign", "US")
    assert chart.prepared["old"].looks_for & chart.bits(())
    assert all(silent.looks_for & chart.bits(()) for silent in chart.silent.values())
