from __future__ import annotations

import pytest

from cds_service.outbound.circuit_breaker import FAILURES, PAUSE_SECONDS, CircuitBreaker
from cds_service.telemetry.metrics import FHIR_BREAKERS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failed(breaker: CircuitBreaker, times: int = FAILURES) -> CircuitBreaker:
    for _ in range(times):
        assert breaker.admit()
        breaker.settle(False)
    return breaker


def test_after_failures_in_a_row_a_server_is_left_alone_and_then_one_call_tries(clock: Clock) -> None:
    breaker = failed(CircuitBreaker(clock))
    assert not breaker.admit()
    clock.now += PAUSE_SECONDS - 0.1
    assert not breaker.admit()
    clock.now += 0.2
    assert [breaker.admit() for _ in range(3)] == [True, False, False]
    breaker.settle(True)
    assert [breaker.admit() for _ in range(3)] == [True, True, True]


def test_a_try_that_fails_begins_the_pause_anew(clock: Clock) -> None:
    breaker = failed(CircuitBreaker(clock))
    clock.now += PAUSE_SECONDS
    assert breaker.admit()
    breaker.settle(False)
    assert not breaker.admit()
    clock.now += PAUSE_SECONDS
    assert breaker.admit()


def test_a_try_that_nobody_waited_for_is_made_by_the_next_call(clock: Clock) -> None:
    breaker = failed(CircuitBreaker(clock))
    clock.now += PAUSE_SECONDS
    assert breaker.admit()
    breaker.settle(None)
    assert breaker.admit()


def test_an_answer_between_failures_begins_the_count_anew(clock: Clock) -> None:
    breaker = failed(CircuitBreaker(clock), FAILURES - 1)
    breaker.settle(None)
    breaker.settle(True)
    failed(breaker, FAILURES - 1)
    assert breaker.admit()


@pytest.mark.parametrize(("asked", "granted"), [(5.0, 5.0), (3600.0, PAUSE_SECONDS)])
def test_a_server_may_ask_for_a_pause_within_limits(clock: Clock, asked: float, granted: float) -> None:
    breaker = CircuitBreaker(clock)
    breaker.settle(True, asked)
    clock.now += granted - 0.1
    assert not breaker.admit()
    clock.now += 0.2
    assert breaker.admit()


def test_openings_and_closings_are_counted(clock: Clock) -> None:
    def counts() -> list[float]:
        return [float(FHIR_BREAKERS.labels(event)._value.get()) for event in ("opened", "probed", "closed")]

    before = counts()
    breaker = failed(CircuitBreaker(clock))
    for answered in (False, False, True):
        clock.now += PAUSE_SECONDS
        assert breaker.admit()
        breaker.settle(answered)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 3, 1]
