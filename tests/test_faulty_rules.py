"""One of five cards raises, returns rubbish or takes its time: the others answer as if nothing was, and it is counted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cds_service.criteria.problem import ProblemCriterion
from cds_service.knowledge.knowledge import Knowledge
from cds_service.telemetry import metrics
from tests import proofs
from tests.core import a_card, answer, cards, small

CALLS = proofs.examples("CDS_FAULTED_CALLS", 60, 600)
NAMES = ["one", "two", "three", "four", "five"]
_real = ProblemCriterion.find


def raises(*_: Any) -> Any:
    raise ZeroDivisionError("SECRET")


def recurses(*given: Any) -> Any:
    return recurses(*given)


def returns_nothing(*_: Any) -> Any:
    return None


def returns_rubbish(*_: Any) -> Any:
    return object()


def takes_its_time(*given: Any) -> Any:
    time.sleep(0.002)
    return _real(*given)


def only_in(victim: object, fault: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *rest: (fault if self is victim else _real)(self, *rest)


def five() -> Knowledge:
    """Five cards with a criterion each."""
    criteria = {f"c_{name}": {"kind": "problem", "sets": ["muscle_cramp"]} for name in NAMES}
    made = [
        a_card(name, fire_when=[f"c_{name}"], rank=rank, table=[{"indicator": "warning", "summary": f"{name} speaks"}])
        for rank, name in enumerate(NAMES, 1)
    ]
    return small(criteria, *made)


@pytest.fixture(scope="module")
def known() -> Knowledge:
    return five()


def by_card(known: Knowledge) -> dict[str, bytes]:
    return {
        one["source"]["topic"]["code"]: msgspec.json.encode(one)
        for one in cards(answer("ICD10#R25.2 Cramp and spasm", known=known))
    }


@pytest.mark.proof
def test_the_other_cards_answer_every_time_and_it_is_said_and_counted(
    known: Knowledge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = by_card(known)
    assert list(whole) == NAMES
    dice = random.Random(7)
    faults = [raises, recurses, returns_nothing, returns_rubbish, takes_its_time]
    broken = 0
    for _ in range(CALLS):
        name, fault = dice.choice(NAMES), dice.choice(faults)
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(ProblemCriterion, "find", only_in(known.criteria[f"c_{name}"], fault))
            got = by_card(known)
        others = [other for other in NAMES if other != name]
        assert [got[other] for other in others] == [whole[other] for other in others]
        if fault is takes_its_time:
            assert got == whole
        else:
            broken += 1
            assert name not in got
            assert f"what {name} checks".encode() in got["not-checked"]
    assert metrics.count(metrics.EVALUATION_FAILURES) == broken
    assert sum("evaluation_failed" in record.getMessage() for record in caplog.records) == broken
    assert "SECRET" not in caplog.text
