"""Segmented regression: certified values, and changes that are known because they were made."""

from __future__ import annotations

import pytest

from cds_service.review.segmented_regression import least_squares, segmented

# Longley's data (Journal of the American Statistical Association 1967), with the values that NIST certifies for them (Statistical
# Reference Datasets): six nearly dependent columns, on which careless arithmetic fails.
LONGLEY = """60323 83.0 234289 2356 1590 107608 1947
61122 88.5 259426 2325 1456 108632 1948
60171 88.2 258054 3682 1616 109773 1949
61187 89.5 284599 3351 1650 110929 1950
63221 96.2 328975 2099 3099 112075 1951
63639 98.1 346999 1932 3594 113270 1952
64989 99.0 365385 1870 3547 115094 1953
63761 100.0 363112 3578 3350 116219 1954
66019 101.2 397469 2904 3048 117388 1955
67857 104.6 419180 2822 2857 118734 1956
68169 108.4 442769 2936 2798 120445 1957
66513 110.8 444546 4681 2637 121950 1958
68655 112.6 482704 3813 2552 123366 1959
69564 114.2 502601 3931 2514 125368 1960
69331 115.7 518173 4806 2572 127852 1961
70551 116.9 554894 4007 2827 130081 1962"""
CERTIFIED = (
    (-3482258.63459582, 890420.383607373),
    (15.0618722713733, 84.9149257747669),
    (-0.0358191792925910, 0.0334910077722432),
    (-2.02022980381683, 0.488399681651699),
    (-1.03322686717359, 0.214274163161675),
    (-0.0511041056535807, 0.226073200069370),
    (1829.15146461355, 455.478499142212),
)


def test_the_certified_values() -> None:
    rows = [[float(one) for one in line.split()] for line in LONGLEY.splitlines()]
    found = least_squares([[1.0, *row[1:]] for row in rows], [row[0] for row in rows])
    for one, (value, error) in zip(found, CERTIFIED, strict=True):
        assert one.value == pytest.approx(value, rel=1e-9)
        assert one.error == pytest.approx(error, rel=1e-9)
        assert one.interval.high - one.value == pytest.approx(2.262157 * error, rel=1e-4)  # Student's t, 9 degrees of freedom


def test_a_step_and_a_bend_are_found_where_they_were_made() -> None:
    noise = (0.001, -0.001, 0.0)
    before = [(day, 0.06 + noise[day % 3]) for day in range(-28, 0) if day % 7]  # days may be missing
    after = [(day, 0.02 - 0.0005 * day + noise[day % 3]) for day in range(1, 22)]
    found = segmented(before, after)
    assert found is not None
    assert (found.days_before, found.days_after) == (24, 21)
    assert found.level.interval.low < -0.04 < found.level.interval.high < 0
    assert found.slope.interval.low < -0.0005 < found.slope.interval.high < 0


def test_too_few_days_give_no_line() -> None:
    many = [(day, 0.1) for day in range(-9, 0)]
    assert segmented(many, [(1, 0.1), (2, 0.2)]) is None
    assert segmented(many[:2], many) is None


def test_columns_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="depend"):
        least_squares([(1.0, 2.0)] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(ValueError, match="more observations"):
        least_squares([(1.0, 2.0)] * 2, [1.0, 2.0])
