"""All cards' cases, run once in a test process for all the tests that look at what came of them."""

from __future__ import annotations

from functools import cache

from cds_service.cases import Case, Run, load_cases, run_cases
from cds_service.paths import cards_dir
from tests.core import knowledge


@cache
def cases() -> tuple[Case, ...]:
    """Return the cases of the cards that the service ships, in the order of their files."""
    return tuple(load_cases(cards_dir(), knowledge()))


@cache
def case_runs() -> tuple[Run, ...]:
    """Return what came of each of `cases`, in the same order."""
    return tuple(run_cases(cases(), knowledge()))
