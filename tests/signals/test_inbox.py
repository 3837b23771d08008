"""Where a signal stands, from what was seen and what was done."""

from __future__ import annotations

from cds_service.signals.inbox import Entry, Sighting, state_of

DAY = 86_400_000_000


def seen(*days: int, size: float = 2.0) -> list[Sighting]:
    return [Sighting(day, 5.0, size, {}) for day in days]


def did(day: int, what: str, value: str = "", who: str = "reviewer 1") -> Entry:
    return Entry(day * DAY, who, what, value)


def state(sightings: list[Sighting], *entries: Entry) -> tuple[str, bool]:
    return state_of(sightings, entries, lambda at: at // DAY)


def test_new_until_somebody_does_something() -> None:
    assert state(seen(1, 2)) == ("new", False)
    assert state(seen(1, 2), did(1, "axes", "{}", who="")) == ("new", False)
    assert state(seen(1, 2), did(2, "assigned", "reviewer 2")) == ("ongoing", False)


def test_archived_until_it_is_half_as_large_again() -> None:
    archived = did(2, "archived", "2")
    assert state(seen(1, 2), archived) == ("archived", False)
    assert state([*seen(1, 2), *seen(3, size=2.9)], archived) == ("archived", False)
    assert state([*seen(1, 2), *seen(3, size=3.0)], archived) == ("ongoing", True)
    assert state([*seen(1, 2, size=9.0)], archived) == ("archived", False)  # that was known when it was archived
    assert state([*seen(1, 2), *seen(3, size=3.0)], archived, did(4, "archived", "3")) == ("archived", False)
    assert state(seen(1, 2), archived, did(3, "reopened")) == ("ongoing", False)


def test_resolved_until_it_is_seen_again() -> None:
    resolved = did(5, "resolved", "backtest 1a")
    assert state(seen(1, 2), resolved) == ("resolved", False)
    assert state(seen(1, 2, 5), resolved) == ("resolved", False)
    assert state(seen(1, 2, 6), resolved) == ("regressed", False)
    assert state(seen(1, 2, 6), resolved, did(7, "comment", "again")) == ("regressed", False)
    assert state(seen(1, 2, 6), resolved, did(7, "resolved", "backtest 2b")) == ("resolved", False)
