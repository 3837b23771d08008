"""Say from when on records are old, and how many are."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from cds_service.alert_log.instants import micros
from cds_service.database import Database
from cds_service.rollups.days import SiteDays, plus
from cds_service.settings import Settings

TABLES = ("call", "card", "ordered", "delivery", "withdrawal", "feedback", "refusal", "quarantine", "sealed", "inputs")
_MOST_FROZEN = 31  # days

_OF_HELD_CALL = "SELECT count(*) AS n FROM log.{0} o JOIN held_call h ON h.received_at = o.received_at AND h.id = o.{1}"
_HELD = {
    "call": _OF_HELD_CALL.format("call", "id"),
    **{table: _OF_HELD_CALL.format(table, "call_id") for table in ("card", "ordered", "delivery", "withdrawal")},
    "feedback": "SELECT count(*) AS n FROM log.feedback o JOIN held_feedback h ON h.received_at = o.received_at AND h.id = o.id",
    "quarantine": "SELECT count(*) AS n FROM log.quarantine o JOIN held_client h ON h.client = o.client",
    **dict.fromkeys(
        ("sealed", "inputs"),
        "SELECT count(*) AS n FROM log.sealed o JOIN "
        "(SELECT id FROM held_call UNION SELECT id FROM held_feedback) h ON h.id = o.of",
    ),
}
_INPUTS = "(SELECT id FROM log.name WHERE text = 'inputs')"
OF_KIND = {"sealed": f"AND o.kind IS DISTINCT FROM {_INPUTS}", "inputs": f"AND o.kind = {_INPUTS}"}  # both in `log.sealed`


class Limits(msgspec.Struct, frozen=True):
    """What is old. Moments in microseconds since 1970."""

    evidence: int  # records of before are deleted
    sealed: int  # comments and ids for reveal, likewise
    inputs: int  # reduced inputs, likewise
    counted: int  # day (YYYYMMDD) from which on counts may still be made anew

    @property
    def newest(self) -> int:
        """Return from when on nothing is old."""
        return max(self.evidence, self.sealed, self.inputs)

    def of(self, table: str) -> int:
        """Return from when on what counts as this table is left."""
        return {"sealed": self.sealed, "inputs": self.inputs}.get(table, self.evidence)


class Due(msgspec.Struct, frozen=True):
    """How many records of a table are old, and how many of these are held."""

    table: str
    old: int
    held: int

    @property
    def deleted(self) -> int:
        return self.old - self.held


def limits(settings: Settings, days: SiteDays, now: datetime) -> Limits:
    """Return the limits at `now` (aware): the beginnings of days of the site.

    The first days that are left are not counted anew any more, because what was seen before them is gone: an order or an
    encounter would seem to begin there.
    """
    evidence = days.day_of(micros(now - timedelta(days=settings.keep_days)))
    sealed = days.day_of(micros(now - timedelta(days=min(settings.keep_sealed_days, settings.keep_days))))
    inputs = days.day_of(micros(now - timedelta(days=min(settings.keep_inputs_days, settings.keep_days))))
    frozen = min(_MOST_FROZEN, settings.keep_days // 4)
    return Limits(days.bounds(evidence).start, days.bounds(sealed).start, days.bounds(inputs).start, plus(evidence, frozen))


def due(database: Database, until: Limits) -> list[Due]:
    """Count what is old, after `holds.mark_held`."""
    found = []
    for table in TABLES:
        before = until.of(table)
        is_old = f"WHERE o.received_at < :before {OF_KIND.get(table, '')}"
        old = _count(database, f"SELECT count(*) AS n FROM log.{'sealed' if table in OF_KIND else table} o {is_old}", before)
        held = _count(database, f"{_HELD[table]} {is_old}", before) if table in _HELD and old else 0
        found.append(Due(table, old, held))
    return found


def _count(database: Database, statement: str, before: int) -> int:
    row = database.one(statement, before=before)
    return int(row["n"]) if row else 0
