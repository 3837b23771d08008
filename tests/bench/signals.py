"""Simulate how often the daily detectors alarm without a reason, and how soon they find one.

    python -m tests.bench.signals [--runs 200] [--seed 1]

Cards fire in a tenth of evaluations (and, of the last table, in a hundredth), with 12 % of change from day to day in both
evaluations and rate, and a quarter of the evaluations at weekends. False alarms: days with an alarm in a year in which nothing
changes; steps: of 100 changes of a version that change nothing, how many are told. Found: days from the change, which comes after
ten weeks, to the first alarm; missed: none within 28 days.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from math import exp, sqrt
from statistics import median

from cds_service.signals.baseline import WINDOW, DayCount
from cds_service.signals.fire_rate import fire_rate_alarms
from cds_service.signals.release_step import release_steps

LOADS = (40, 10, 3)  # alerts a weekday
FACTORS = {"stops": 0.0, "halves": 0.5, "doubles": 2.0, "x 1.25": 1.25}
_VARIES = 0.12
_WEEKEND = 0.25
_BEFORE = 70  # days before a change
_AFTER = 28


def made_days(
    rng: random.Random, load: float, days: int, *, share: float = 0.1, change: int | None = None, factor: float = 1.0
) -> list[DayCount]:
    """Return days of a card with `load` alerts a weekday; from day `change` on it fires `factor` times as often."""
    made = []
    for day in range(days):
        mean = load / share * (_WEEKEND if day % 7 >= 5 else 1)
        checked = max(1, int(mean * rng.gauss(1, _VARIES)))
        rate = share * max(0.05, rng.gauss(1, _VARIES))
        if change is not None and day >= change:
            rate *= factor
        made.append(DayCount(day, _binomial(rng, checked, min(rate, 1.0)), checked))
    return made


def _binomial(rng: random.Random, n: int, p: float) -> int:
    if n <= 100:
        return sum(rng.random() < p for _ in range(n))
    if n * p > 30:
        return max(0, min(n, round(rng.gauss(n * p, sqrt(n * p * (1 - p))))))
    product, k = rng.random(), 0  # Poisson
    while product > exp(-n * p):
        product, k = product * rng.random(), k + 1
    return min(k, n)


def false_alarms(rng: random.Random, load: float, share: float = 0.1) -> int:
    """Return the days with an alarm in a year in which nothing changes."""
    days = made_days(rng, load, WINDOW + 365, share=share)
    return sum(one.day.day >= WINDOW for one in fire_rate_alarms(days))


def false_step(rng: random.Random, load: float, share: float = 0.1) -> bool:
    """Return whether a change of a version that changes nothing is told within four weeks."""
    days = made_days(rng, load, _BEFORE + _AFTER, share=share)
    return any(release_steps(days[:_BEFORE], days[_BEFORE:]))


def days_to_find(rng: random.Random, load: float, factor: float) -> int | None:
    """Return after how many days a change is found; None where it is not within four weeks."""
    days = made_days(rng, load, _BEFORE + _AFTER, change=_BEFORE, factor=factor)
    return next((one.day.day - _BEFORE + 1 for one in fire_rate_alarms(days) if one.day.day >= _BEFORE), None)


def found(values: Sequence[int | None]) -> str:
    """Say the median and the 95th percentile, and how many were missed."""
    known = sorted(99 if one is None else one for one in values)
    middle, late = median(known), known[int(0.95 * len(known))]
    missed = sum(one is None for one in values)
    return f"{_days(middle)} / {_days(late)}" + (f" ({missed} of {len(values)} missed)" if missed else "")


def _days(value: float) -> str:
    return "> 28" if value >= 99 else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, runs = random.Random(options.seed), range(options.runs)
    print("alerts a weekday | false alarms a card-year | false steps of 100 | " + " | ".join(FACTORS) + "   (days: median / p95)")
    for load in LOADS:
        false = sum(false_alarms(rng, load) for _ in runs) / len(runs)
        steps = 100 * sum(false_step(rng, load) for _ in runs) / len(runs)
        told = [found([days_to_find(rng, load, factor) for _ in runs]) for factor in FACTORS.values()]
        print(f"{load:3} | {false:.2f} | {steps:.1f} | " + " | ".join(told), flush=True)
    for load in (10, 1):
        false = sum(false_alarms(rng, load, 0.01) for _ in runs) / len(runs)
        print(f"{load:3} of a card that fires in 1 % | {false:.2f}", flush=True)


if __name__ == "__main__":
    main()
