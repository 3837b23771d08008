"""No small count is shown, and none can be worked out from what is shown."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.rollups.suppression import suppress, suppress_list
from tests.proofs import examples


def with_sums(counts: list[list[int]]) -> list[list[int]]:
    rows = [[*row, sum(row)] for row in counts]
    return [*rows, [sum(column) for column in zip(*rows, strict=True)]]


def possible(shown: list[list[int | None]], most: int) -> list[set[int]]:
    """Return, for each hidden cell inside the table, the counts that an onlooker who tries all tables finds possible."""
    width = len(shown[0]) - 1
    rows: list[list[tuple[int, ...]]] = []
    for row in shown[:-1]:
        choices = product(*([*range(most + 1)] if one is None else [one] for one in row[:-1]))
        rows.append([one for one in choices if row[-1] in (None, sum(one))])
    found: dict[tuple[int, int], set[int]] = {}
    for table in product(*rows):
        sums = [sum(row[j] for row in table) for j in range(width)]
        if all(one in (None, of) for one, of in zip(shown[-1], [*sums, sum(sums)], strict=True)):
            for i, counts in enumerate(table):
                for j in range(width):
                    found.setdefault((i, j), set()).add(counts[j])
    return [found[i, j] for i in range(len(rows)) for j in range(width) if shown[i][j] is None]


def test_large_counts_and_zeros_are_shown() -> None:
    table = with_sums([[20, 0], [11, 400]])

    assert suppress(table) == table


def test_one_small_count_takes_others_with_it() -> None:
    shown = suppress(with_sums([[5, 100], [200, 300]]))

    assert shown == [[None, None, 105], [None, None, 500], [205, 400, 605]]


def test_a_list_with_its_sum() -> None:
    assert suppress_list([4, 60, 30]) == ([None, 60, None], 94)
    assert suppress_list([4, 0]) == ([None, 0], None)  # a zero says nothing, so the sum goes
    assert suppress_list([1, 1, 50]) == ([None, None, None], 52)  # two that add up to 2 are 1 each
    assert suppress_list([40, 60]) == ([40, 60], 100)
    assert suppress_list([]) == ([], 0)


def test_sums_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="row"):
        suppress([[1, 2, 4]], column_sums=False)
    with pytest.raises(ValueError, match="last row"):
        suppress([[1, 1], [2, 2]])


def test_two_blocks_of_hidden_cells_do_not_give_away_the_one_between_them() -> None:
    big = 100
    counts = [
        [5, 5, 5, big],
        [5, 5, big, big],
        [big, big, 5, 5],
        [big, big, 5, 5],
    ]

    shown = suppress(with_sums(counts))

    # Without more cells the one of row 0 in column 2 would be the difference of known sums.
    hidden = {(i, j) for i, row in enumerate(shown) for j, one in enumerate(row) if one is None}
    small = {(i, j) for i, row in enumerate(counts) for j, one in enumerate(row) if one < 11}
    assert small < hidden


@pytest.mark.proof
@settings(max_examples=examples("CDS_SUPPRESSION_TABLES", 40, 300), deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), min_size=2, max_size=3))
def test_whoever_tries_all_tables_finds_no_hidden_count(counts: list[list[int]]) -> None:
    shown = suppress(with_sums(counts), least=3)

    assert all(one is None or one == 0 or one >= 3 for row in shown for one in row)
    small = [counts[i][j] in (1, 2) for i in range(len(counts)) for j in range(2) if shown[i][j] is None]
    for values, is_small in zip(possible(shown, 5), small, strict=True):
        assert not is_small or len(values) > 1
