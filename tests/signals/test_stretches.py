"""Where the days of a card are cut."""

from __future__ import annotations

from cds_service.signals.baseline import DayCount
from cds_service.signals.stretches import Release, stretches

OLD = Release("0.1.0", "epic", "1.0.0", "aaaaaaaaaaaa")
DAYS = [DayCount(day, 1, 10) for day in range(1, 9)]


def changes(releases: dict[int, set[Release]]) -> list[tuple[str, int]]:
    cut = stretches(DAYS, {day: frozenset(found) for day, found in releases.items()})
    assert [day for one in cut for day in one.days] == DAYS
    return [(one.change, one.days[0].day) for one in cut]


def test_each_kind_of_change_begins_a_stretch() -> None:
    steps = {
        "version 1.1.0": OLD._replace(version="1.1.0", content="bbbbbbbbbbbb"),
        "content bbbbbbbb": OLD._replace(content="bbbbbbbbbbbb"),
        "dialect oracle": OLD._replace(dialect="oracle"),
        "program 0.2.0": OLD._replace(service_version="0.2.0"),
    }
    for change, new in steps.items():
        assert changes({day: {OLD} if day < 5 else {new} for day in range(1, 9)}) == [("", 1), (change, 5)]


def test_a_day_with_both_releases_belongs_to_the_new_one_and_going_back_is_a_change() -> None:
    new = OLD._replace(version="1.1.0")
    releases = {1: {OLD}, 2: {OLD}, 3: {OLD, new}, 4: {new}, 5: {new}, 6: {OLD}, 7: {OLD}, 8: {OLD}}
    assert changes(releases) == [("", 1), ("version 1.1.0", 3), ("version 1.0.0", 6)]


def test_days_without_a_call_cut_nothing() -> None:
    assert changes({1: {OLD}, 2: set(), 8: {OLD}}) == [("", 1)]
