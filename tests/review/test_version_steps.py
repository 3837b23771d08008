"""The step of a card's fire rate from one version to the next, which the limits of the chart do not show."""

from __future__ import annotations

import pytest

from cds_service.review.statistics import Interval, newcombe
from cds_service.review.version_steps import said, steps
from cds_service.rollups.queries import Evaluations


def evaluations(fired: int, not_fired: int, could_not_check: int = 0) -> Evaluations:
    return Evaluations({}, {"fired": fired, "not_fired": not_fired, "could_not_check": could_not_check}, 7)


def test_a_version_is_compared_with_the_one_before_it_over_all_its_days() -> None:
    (step,) = steps(
        {
            20261103: {"1.1.0": evaluations(7, 3)},
            20261101: {"1.0.0": evaluations(2, 8, 5)},
            20261102: {"1.0.0": evaluations(2, 8), "1.1.0": evaluations(8, 2)},
        }
    )
    assert (step.before, step.version) == ("1.0.0", "1.1.0")
    assert (step.rate_before.numerator, step.rate_before.denominator) == (4, 20)
    assert (step.rate.numerator, step.rate.denominator) == (15, 20)
    assert step.difference == pytest.approx(0.55)
    assert Interval(step.low, step.high) == newcombe(15, 20, 4, 20)


@pytest.mark.parametrize(
    ("before", "after", "end"),
    [
        ((4, 16), (15, 5), "+55.0 percentage points (+24.3 to +73.3), more than chance explains."),
        ((15, 5), (4, 16), "-55.0 percentage points (-73.3 to -24.3), more than chance explains."),
        ((4, 16), (5, 15), "+5.0 percentage points (-20.6 to +29.9), which chance can explain."),
    ],
)
def test_the_sentence_gives_both_rates_with_their_numbers_and_the_interval(
    before: tuple[int, int], after: tuple[int, int], end: str
) -> None:
    (step,) = steps({20261101: {"1.0.0": evaluations(*before)}, 20261102: {"1.1.0": evaluations(*after)}})
    assert said(step) == (
        f"1.1.0 fires in {after[0]} of 20 ({5 * after[0]}.0 %), 1.0.0 did in {before[0]} of 20 ({5 * before[0]}.0 %): {end}"
    )


def test_one_version_is_no_step_and_one_without_a_rate_is_passed_over() -> None:
    assert steps({}) == []
    assert steps({20261101: {"1.0.0": evaluations(2, 8)}}) == []
    days = {
        20261101: {"1.0.0": evaluations(2, 8)},
        20261102: {"1.1.0": evaluations(0, 0, 9)},
        20261103: {"1.2.0": evaluations(1, 9)},
    }
    assert [(one.before, one.version) for one in steps(days)] == [("1.0.0", "1.2.0")]
