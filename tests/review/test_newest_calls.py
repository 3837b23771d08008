"""Which days are looked into for the newest calls: enough for the client, and never a scan of what others sent."""

from __future__ import annotations

from collections import Counter

import pytest

from cds_service.review.newest_calls import _MOST_CROSSED, CALLS, _since


@pytest.mark.parametrize(
    ("own", "of_all", "days"),
    [
        ({20261103: CALLS, 20261102: CALLS}, {20261103: 500, 20261102: 500}, (20261103, 20261103)),
        ({20261103: 1, 20261101: CALLS}, {20261103: 500, 20261102: 500, 20261101: 500}, (20261101, 20261103)),
        ({20261103: 1, 20261101: 1}, {20261103: 9, 20261102: _MOST_CROSSED, 20261101: 9}, (20261103, 20261103)),
    ],
    ids=["one day has enough", "a day without is crossed", "too many of others lie between"],
)
def test_days_are_chosen_by_counts(own: dict[int, int], of_all: dict[int, int], days: tuple[int, int]) -> None:
    assert _since(Counter(own), Counter(of_all)) == days
