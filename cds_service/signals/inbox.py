"""Tell where each signal stands: what detectors saw and what people did, put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from cds_service.database import Database
from cds_service.rollups.days import SiteDays, plus
from cds_service.signals.axes import Axes
from cds_service.signals.finding import KINDS, Kind, Place

State: TypeAlias = Literal["new", "regressed", "ongoing", "archived", "resolved"]
STATES: Mapping[State, str] = {
    "new": "New",
    "regressed": "Regressed",
    "ongoing": "Ongoing",
    "archived": "Archived",
    "resolved": "Resolved",
}
OPEN: tuple[State, ...] = ("new", "regressed", "ongoing")
ESCALATED = 1.5  # times the size that it was archived with
ACTIVE_DAYS = 7  # for which a signal that was seen comes before older ones
_SIGHTINGS = "SELECT * FROM review.signal_sighting WHERE signal = coalesce(:only, signal) ORDER BY day"
_ENTRIES = "SELECT * FROM review.signal_entry WHERE signal = coalesce(:only, signal) ORDER BY seq"
_SIGNALS = "SELECT * FROM review.signal WHERE id = coalesce(:only, id)"
_MOVES = ("archived", "reopened", "resolved")  # entries that say where a signal stands


class Sighting(msgspec.Struct, frozen=True):
    """A day on which a detector saw the signal; see `Finding`."""

    day: int
    score: float
    size: float
    detail: Mapping[str, Any]


class Entry(msgspec.Struct, frozen=True):
    """What somebody did about a signal, or the service by itself (`who` is ""). `at`: microseconds since 1970."""

    at: int
    who: str
    what: str
    value: str


class Signal(msgspec.Struct, frozen=True):
    """Something wrong in one place. `sightings` and `entries` in the order of time."""

    id: int
    kind: Kind
    place: Place
    subject: str
    opened_at: int
    sightings: Sequence[Sighting]
    entries: Sequence[Entry]
    state: State
    escalated: bool  # it was archived and has grown since
    assignee: str
    due: int | None  # YYYYMMDD
    axes: Axes

    @property
    def last(self) -> Sighting | None:
        """Return the newest sighting; None where records that came late took all of them away."""
        return self.sightings[-1] if self.sightings else None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def overdue(self, today: int) -> bool:
        """Return whether it is open past its due date."""
        return self.is_open and self.due is not None and self.due < today


def signals(database: Database, days: SiteDays, today: int, only: int | None = None) -> list[Signal]:
    """Return the signals in the order of the inbox, or the one with the id `only`."""
    given = {"only": only}  # NULL for all
    sightings, entries = defaultdict(list), defaultdict(list)
    for row in database.rows(_SIGHTINGS, **given):
        detail = msgspec.json.decode(row["detail"])
        sightings[row["signal"]].append(Sighting(row["day"], row["score"] / 100, detail.pop("size"), detail))
    for row in database.rows(_ENTRIES, **given):
        entries[row["signal"]].append(Entry(row["at"], row["who"], row["what"], row["value"]))
    found = [_signal(row, sightings[row["id"]], entries[row["id"]], days.day_of) for row in database.rows(_SIGNALS, **given)]
    return sorted(found, key=lambda one: _rank(one, today))


def open_since(one: Signal, days: SiteDays, first: int, last: int) -> bool:
    """Return whether the signal was opened, or first seen, on a day from `first` to `last`."""
    day = one.sightings[0].day if one.sightings else days.day_of(one.opened_at)
    return first <= day <= last


def open_signals(database: Database, days: SiteDays, today: int) -> int:
    """Return how many signals are open."""
    return sum(one.is_open for one in signals(database, days, today))


def _rank(one: Signal, today: int) -> tuple[Any, ...]:
    """Put what needs a look first, then what is seen now, then the kinds in their order, then the farthest from usual."""
    look = 0 if one.state in ("new", "regressed") or one.escalated else 1 + list(STATES).index(one.state)
    active = one.last is not None and one.last.day >= plus(today, -ACTIVE_DAYS)
    return look, not active, list(KINDS).index(one.kind), -(one.last.score if one.last else 0), one.id


def _signal(
    row: Mapping[str, Any], sightings: Sequence[Sighting], entries: Sequence[Entry], day_of: Callable[[int], int]
) -> Signal:
    state, escalated = state_of(sightings, entries, day_of)
    due = _newest(entries, "due")
    axes = _newest(entries, "axes")
    return Signal(
        id=row["id"],
        kind=row["kind"],
        place=Place(row["tenant"], row["client"], row["card"]),
        subject=row["subject"],
        opened_at=row["opened_at"],
        sightings=sightings,
        entries=entries,
        state=state,
        escalated=escalated,
        assignee=_newest(entries, "assigned"),
        due=int(due) if due else None,
        axes=msgspec.json.decode(axes, type=Axes) if axes else Axes(),
    )


def state_of(sightings: Sequence[Sighting], entries: Sequence[Entry], day_of: Callable[[int], int]) -> tuple[State, bool]:
    """Return the state, and whether the signal escalated after it was archived. `day_of`: the day of a moment."""
    moved = next((one for one in reversed(entries) if one.what in _MOVES), None)
    if moved is None or moved.what == "reopened":
        return ("ongoing" if any(one.who for one in entries) else "new"), False
    later = [one for one in sightings if one.day > day_of(moved.at)]
    if moved.what == "resolved":
        return ("regressed" if later else "resolved"), False
    grown = any(one.size >= ESCALATED * float(moved.value) for one in later)
    return ("ongoing" if grown else "archived"), grown


def _newest(entries: Iterable[Entry], what: str) -> str:
    found = ""
    for one in entries:
        if one.what == what:
            found = one.value
    return found
