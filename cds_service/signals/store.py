"""Keep signals and the days on which detectors saw them, so that the same findings again change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cds_service.database import Database
from cds_service.signals.axes import prefilled
from cds_service.signals.finding import Finding, Kind, Place, Watch

_LOCK = 0x63726D74  # of PostgreSQL, so that one process at a time keeps findings
_Identity = tuple[Kind, str, str, str, str]


class Renewed(NamedTuple):
    """Kinds whose sightings from a day on are those of the findings and no others."""

    kinds: Sequence[Kind]
    since: int  # YYYYMMDD


def keep(database: Database, findings: Iterable[Finding], renewed: Sequence[Renewed], at: int) -> list[int]:
    """Keep the findings in one transaction; return the ids of signals that are new. `at`: microseconds since 1970.

    Of the renewed kinds and days, sightings that are not found any more are deleted: records that came late can say otherwise.
    A signal that nothing shows any more is deleted with them, unless somebody has done something about it.
    """
    with database.exclusive(_LOCK), database.transaction():
        known = {_identity_of(row): int(row["id"]) for row in database.rows("SELECT * FROM review.signal")}
        new, wanted = [], {}
        for one in findings:
            identity = (one.kind, *one.place, one.subject)
            if identity not in known:
                known[identity] = _add(database, one, at)
                new.append(known[identity])
            wanted[known[identity], one.day] = one
        _renew(database, {number: identity[0] for identity, number in known.items()}, wanted, renewed)
        _delete_unseen(database)
        return [number for number in new if database.one("SELECT id FROM review.signal WHERE id = :id", id=number)]


def keep_watches(database: Database, watches: Iterable[Watch], at: int) -> None:
    """Replace what the detectors could say by what they say now."""
    with database.exclusive(_LOCK), database.transaction():
        database.execute("DELETE FROM review.signal_watch")
        rows = {(one.kind, one.place): one for one in watches}
        database.execute_many(
            "INSERT INTO review.signal_watch (kind, tenant, client, card, state, why) "
            "VALUES (:kind, :tenant, :client, :card, :state, :why)",
            [{"kind": one.kind, **one.place._asdict(), "state": one.state, "why": one.why} for one in rows.values()],
        )
        database.execute("DELETE FROM review.signal_run")
        database.execute("INSERT INTO review.signal_run (id, ran_at) VALUES (1, :at)", at=at)


def watches(database: Database) -> list[Watch]:
    """Return what the detectors could say when they last ran."""
    rows = database.rows("SELECT * FROM review.signal_watch ORDER BY kind, tenant, client, card")
    return [Watch(row["kind"], Place(row["tenant"], row["client"], row["card"]), row["state"], row["why"]) for row in rows]


def ran_at(database: Database) -> int | None:
    """Return when the detectors last ran, microseconds since 1970; None for never."""
    row = database.one("SELECT max(ran_at) AS at FROM review.signal_run")
    return row["at"] if row else None


def _identity_of(row: Mapping[str, Any]) -> _Identity:
    return (row["kind"], row["tenant"], row["client"], row["card"], row["subject"])


def _add(database: Database, one: Finding, at: int) -> int:
    identity = {"kind": one.kind, **one.place._asdict(), "subject": one.subject}
    row = database.one(
        "INSERT INTO review.signal (kind, tenant, client, card, subject, opened_at) "
        "VALUES (:kind, :tenant, :client, :card, :subject, :at) RETURNING id",
        **identity,
        at=at,
    )
    assert row is not None  # noqa: S101 - RETURNING
    number = int(row["id"])
    add_entry(database, number, at, "", "axes", msgspec.json.encode(prefilled(one)).decode())
    return number


def add_entry(database: Database, signal: int, at: int, who: str, what: str, value: str) -> None:
    """Append what somebody did; `who` is "" for what the service filled in by itself."""
    database.execute(
        "INSERT INTO review.signal_entry (signal, at, who, what, value) VALUES (:signal, :at, :who, :what, :value)",
        signal=signal,
        at=at,
        who=who,
        what=what,
        value=value,
    )


def _renew(
    database: Database, kinds: Mapping[int, Kind], wanted: Mapping[tuple[int, int], Finding], renewed: Sequence[Renewed]
) -> None:
    since = {kind: one.since for one in renewed for kind in one.kinds}
    rows = database.rows("SELECT signal, day, score, detail FROM review.signal_sighting")
    stored = {(row["signal"], row["day"]): (row["score"], row["detail"]) for row in rows}
    own = [key for key in stored if key[0] in kinds]  # a reader of some clients' records sees some signals only
    gone = [key for key in own if key not in wanted and key[1] >= since.get(kinds[key[0]], 99991231)]
    database.execute_many(
        "DELETE FROM review.signal_sighting WHERE signal = :signal AND day = :day",
        [{"signal": signal, "day": day} for signal, day in gone],
    )
    changed = []
    for (signal, day), one in wanted.items():
        detail = msgspec.json.encode({**one.detail, "size": round(one.size, 4)}, order="deterministic").decode()
        if stored.get((signal, day)) != (round(100 * one.score), detail):
            changed.append({"signal": signal, "day": day, "score": round(100 * one.score), "detail": detail})
    database.execute_many(
        "INSERT INTO review.signal_sighting (signal, day, score, detail) VALUES (:signal, :day, :score, :detail) "
        "ON CONFLICT (signal, day) DO UPDATE SET score = excluded.score, detail = excluded.detail",
        changed,
    )


def _delete_unseen(database: Database) -> None:
    rows = database.rows(
        "SELECT id FROM review.signal s WHERE NOT EXISTS (SELECT 1 FROM review.signal_sighting d WHERE d.signal = s.id) "
        "AND NOT EXISTS (SELECT 1 FROM review.signal_entry e WHERE e.signal = s.id AND e.who <> '')"
    )
    for row in rows:
        database.execute("DELETE FROM review.signal_entry WHERE signal = :id", id=row["id"])
        database.execute("DELETE FROM review.signal WHERE id = :id", id=row["id"])
