"""All cards' cases, run once in a test process for all the tests that look at what came of them.

The requests are those of `tests.core.all_requests`: of the patients of the tests, then of the cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import msgspec

from cds_service.authoring.cases import Case, Run, load_cases, run_cases
from cds_service.files.paths import cards_dir
from tests import proofs
from tests.core import PATIENTS, Json, all_requests, answer_to, knowledge


@cache
def cases() -> tuple[Case, ...]:
    """Return the cases of the cards that the service ships, in the order of their files."""
    return tuple(load_cases(cards_dir(), knowledge()))


@cache
def case_runs() -> tuple[Run, ...]:
    """Return what came of each of `cases`, in the same order."""
    return tuple(run_cases(cases(), knowledge()))


@cache
def _responses() -> tuple[tuple[str, bytes, bytes], ...]:
    return tuple((name, msgspec.json.encode(request), answer_to(request).body) for name, request in all_requests())


def responses() -> Iterator[tuple[str, Json, Json]]:
    """Yield (name, request, response) of all requests, each new."""
    for name, request, response in _responses():
        yield name, msgspec.json.decode(request), msgspec.json.decode(response)


def some_requests() -> Iterator[tuple[str, Json]]:
    """Yield (name, request) of all requests for a proof, else of the patients and of each fourth case."""
    for number, (name, request) in enumerate(all_requests()):
        if proofs.FULL or number < len(PATIENTS) or number % 4 == 0:
            yield name, request
