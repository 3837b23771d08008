"""Statistics: golden values from published examples, properties, and a simulation of the interval for stratified samples."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.review.statistics import (
    Agreement,
    Interval,
    Stratum,
    cohen_kappa,
    laney_limits,
    mcnemar_exact,
    newcombe,
    newcombe_paired,
    poisson,
    stratified,
    wilson,
)
from tests.proofs import examples


def rounded(interval: Interval) -> tuple[float, float]:
    return round(interval.low, 4), round(interval.high, 4)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_limits_of_newcombe_1998_one_sample_table_i(k: int, n: int, low: float, high: float) -> None:
    assert rounded(wilson(k, n)) == (low, high)


@pytest.mark.parametrize(
    ("sample", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_the_limits_of_newcombe_1998_two_samples_table_ii(
    sample: tuple[int, int, int, int], low: float, high: float
) -> None:
    assert rounded(newcombe(*sample)) == (low, high)


def test_kappa_of_cohen_1960_table_1_is_the_published_one() -> None:
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]  # 200 patients, three diagnoses, two psychologists
    pairs = [(first, second) for first, row in enumerate(table) for second, n in enumerate(row) for _ in range(n)]
    result = cohen_kappa(pairs)
    assert (round(result.kappa or 0, 3), result.agreed, result.n) == (0.492, 140, 200)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], (None, 0, 0)),
        ([("a", "a")] * 7, (None, 7, 7)),  # chance explains all of it: undefined, not perfect
        ([("a", "b"), ("b", "a")], (-1.0, 0, 2)),
        ([("a", "a"), ("b", "b")], (1.0, 2, 2)),
        ([("a", "b")] * 3, (0.0, 0, 3)),
    ],
)
def test_kappa_is_undefined_where_chance_explains_everything(
    pairs: list[tuple[str, str]], expected: tuple[float | None, int, int]
) -> None:
    assert cohen_kappa(pairs) == Agreement(*expected)


def test_laney_limits_follow_the_formulas_of_laney_2002() -> None:
    # Two groups of 100 with 10 and 30 cases. Centre 0.2, sigma 0.04, z -2.5 and 2.5, mean range 5, sigma of z 5 / 1.128 = 4.4326:
    # 0.2 + 3 * 0.04 * 4.4326 = 0.7319.
    first, second = laney_limits([10, 30], [100, 100])
    assert first is not None
    assert second is not None
    assert (first.rate, second.rate, first.centre, first.low, round(first.high, 4)) == (0.1, 0.3, 0.2, 0.0, 0.7319)
    assert not first.outside


def test_laney_limits_leave_out_days_without_cases_and_widen_for_small_ones() -> None:
    limits = laney_limits([5, 0, 6, 4, 1], [100, 0, 100, 100, 10])
    assert limits[1] is None
    widths = [one.high - one.centre for one in limits if one is not None]
    assert widths[3] > widths[0] == widths[1] == widths[2]
    assert laney_limits([0, 0], [0, 0]) == [None, None]
    assert [one and (one.low, one.high) for one in laney_limits([0, 0], [9, 9])] == [(0, 0), (0, 0)]


def test_a_sudden_rise_lies_outside_the_limits() -> None:
    limits = laney_limits([20, 22, 19, 21, 20, 18, 22, 60], [200] * 8)
    assert [one is not None and one.outside for one in limits] == [False] * 7 + [True]


def test_stratified_weighs_by_size_and_says_what_is_not_covered() -> None:
    result = stratified([Stratum(900, 10, 9), Stratum(100, 10, 1), Stratum(1000, 0, 0)])
    assert result is not None
    assert (round(result.value, 4), result.judged, result.covered) == (0.82, 20, 0.5)
    assert result.interval.low < result.value < result.interval.high
    assert result.effective is not None
    assert result.effective < 20  # the large stratum has only ten


def test_stratified_is_exact_where_every_case_was_judged() -> None:
    result = stratified([Stratum(4, 4, 3), Stratum(6, 6, 0)])
    assert result is not None
    assert (result.value, result.interval, result.effective) == (0.3, Interval(0.3, 0.3), None)


def test_stratified_of_nothing_is_nothing() -> None:
    assert stratified([Stratum(5, 0, 0), Stratum(0, 0, 0)]) is None
    with pytest.raises(ValueError, match="no sample"):
        stratified([Stratum(5, 6, 1)])


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6))
def test_stratified_stays_within_its_interval_and_the_interval_within_0_and_1(rows: list[tuple[int, int, int]]) -> None:
    strata = [Stratum(size, n := min(judged, size), min(positive, n)) for size, judged, positive in rows]
    result = stratified(strata)
    if result is not None:
        assert 0 <= result.interval.low <= result.value + 1e-12
        assert result.value - 1e-12 <= result.interval.high <= 1


@pytest.mark.proof
@pytest.mark.parametrize("sizes", [(5000, 300, 60, 40), (300, 300, 300, 300), (1000, 50, 20, 12), (2000, 1500, 100, 30)])
@pytest.mark.parametrize("of_largest", [0.2, 0.5, 0.8, 0.95])
def test_the_stratified_interval_covers_at_least_93_percent(sizes: tuple[int, ...], of_largest: float) -> None:
    """Ten cases of each stratum; the largest decides, so each of its shares is tried on its own."""
    rng = random.Random(f"{sizes} {of_largest}")
    runs = examples("CDS_COVERAGE_RUNS", 1000, 4000)
    positives = [round(size * p) for size, p in zip(sizes, (of_largest, 0.6, 0.1, 0.9), strict=True)]
    truth = sum(positives) / sum(sizes)
    hits = 0
    for _ in range(runs):
        drawn = [sum(one < k for one in rng.sample(range(size), 10)) for size, k in zip(sizes, positives, strict=True)]
        result = stratified([Stratum(size, 10, k) for size, k in zip(sizes, drawn, strict=True)])
        assert result is not None
        hits += result.interval.low <= truth <= result.interval.high
    assert hits / runs >= 0.93


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [(0, 0, 3.689), (5, 1.623, 11.668), (10, 4.795, 18.390), (20, 12.217, 30.888), (100, 81.364, 121.627)],
)
def test_poisson_is_close_to_the_exact_limits_of_garwood_1936(events: int, low: float, high: float) -> None:
    """Exact limits as in the tables of Garwood, Biometrika 28, 437; Byar's approximation is made for five events and more."""
    interval = poisson(events)
    assert interval.low == pytest.approx(low, abs=0.02)
    assert interval.high == pytest.approx(high, abs=0.03 if events else 0.2)
    with pytest.raises(ValueError, match="no count"):
        poisson(-1)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (5, 0, 2 / 32), (1, 7, 18 / 256), (10, 2, 158 / 4096)],  # twice the tail of the binomial, by hand
)
def test_mcnemar_is_twice_the_smaller_tail(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar_exact(only_first, only_second) == pytest.approx(p, abs=1e-12)
    assert mcnemar_exact(only_second, only_first) == mcnemar_exact(only_first, only_second)


def test_mcnemar_takes_many_cases() -> None:
    assert mcnemar_exact(20_000, 20_000) == 1.0
    assert 0 <= mcnemar_exact(0, 20_000) < 1e-300
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


def test_paired_difference_of_the_published_example() -> None:
    # Altman and others, Statistics with confidence, 2nd edition, table 6.2: 0.122, from 0.011 to 0.226
    found = newcombe_paired(14, 5, 0, 22)
    assert (round(found.low, 3), round(found.high, 3)) == (0.011, 0.226)


@given(st.tuples(*[st.integers(0, 300)] * 4).filter(any))
def test_paired_difference_lies_in_its_interval_and_turns_with_its_sides(table: tuple[int, int, int, int]) -> None:
    both, first, second, neither = table
    found, turned = newcombe_paired(*table), newcombe_paired(both, second, first, neither)
    difference = (first - second) / sum(table)
    assert -1 - 1e-9 <= found.low <= difference + 1e-12
    assert difference - 1e-12 <= found.high <= 1 + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_paired_difference_needs_cases() -> None:
    with pytest.raises(ValueError, match="needs cases"):
        newcombe_paired(0, 0, 0, 0)
