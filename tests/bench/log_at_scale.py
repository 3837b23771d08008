"""Fill a log of millions of calls and time what the review pages ask of it.

    python -m tests.bench.log_at_scale --calls 1000000 --database sqlite
    python -m tests.bench.log_at_scale --calls 10000000 --database postgres --url postgresql://postgres@127.0.0.1/scale

A year, 18 cards, 5 clients, 3 hooks, 3,000 users of each; the rows are those of `tests.rollups.synthetic`. The log is kept in
--folder (or the database) and used again. Each query runs on a new connection: `first` is its first run (with --cold, after the
files have left the cache of the operating system), then come the median, the 95th percentile and the maximum of --rounds. `cpu`
is the median of the CPU time of this process, which a busy machine lengthens less; SQLite works in it, PostgreSQL does not.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg

from cds_service.clock import utc_now
from cds_service.database import Database, open_database
from cds_service.rollups import queries
from cds_service.rollups.days import SiteDays, plus
from cds_service.rollups.filter import Filter
from cds_service.rollups.log_rows import days_with_matches, newest
from cds_service.rollups.rollup import count_one_day, roll_up
from tests.log_tables import make_postgres_log, make_sqlite_log
from tests.rollups.fill import Filler, PostgresFiller, SqliteFiller
from tests.rollups.synthetic import Shape, SyntheticLog, last_day

Query = Callable[[Database], object]
DAYS = SiteDays("UTC")


class Place(NamedTuple):
    """Where the log is: two files, or a database."""

    log: Path
    review: Path
    url: str

    def open(self, limit_ms: int | None, *, writes_review: bool = False) -> Database:
        return open_database(self.log, self.review, self.url, limit_ms=limit_ms, writes_review=writes_review)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--limit-ms", type=int, default=60_000, help="longest a statement may take here; pages have 2000")
    parser.add_argument("--cold", action="store_true", help="take the files out of the cache before each first run (SQLite)")
    options = parser.parse_args()
    place, shape = made_log(options)
    _time_queries(place, shape, options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which log."""
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--folder", type=Path, default=Path("var/scale"), help="where the files are, or will be")
    parser.add_argument(
        "--url", default="postgresql://postgres@127.0.0.1/scale", help="an existing database, empty or filled before"
    )
    parser.add_argument("--rounds", type=int, default=20)


def made_log(options: argparse.Namespace) -> tuple[Place, Shape]:
    """Return where the log of the options is, filled and counted; made where it is missing."""
    shape = Shape(calls=options.calls, days=365)
    options.folder.mkdir(parents=True, exist_ok=True)
    stem = options.folder / f"{options.calls}"
    place = Place(
        stem.with_suffix(".alerts.sqlite3"),
        stem.with_suffix(".review.sqlite3"),
        options.url if options.database == "postgres" else "",
    )
    _fill(place, shape)
    _roll_up(place, shape)
    return place, shape


def _fill(place: Place, shape: Shape) -> None:
    if place.url:
        with psycopg.connect(place.url, autocommit=True) as connection:
            if connection.execute("SELECT to_regclass('log.call')").fetchone() != (None,):
                return
        make_postgres_log(place.url)
        _write(PostgresFiller(place.url), shape)
        with psycopg.connect(place.url, autocommit=True) as connection:
            _timed("VACUUM ANALYZE", lambda: connection.execute("VACUUM ANALYZE"))
        return
    if place.log.exists():
        return
    made = place.log.with_suffix(".part")
    made.unlink(missing_ok=True)
    make_sqlite_log(made)
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
    _write(SqliteFiller(made), shape)
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        for _, sql in indexes:
            _timed(sql, lambda sql=sql: connection.execute(sql))  # type: ignore[misc]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.rename(place.log)


def _write(filler: Filler, shape: Shape) -> None:
    log = SyntheticLog(shape)
    started, calls, cards = time.monotonic(), 0, 0
    with closing(filler):
        filler.start(log)
        for number, rows in enumerate(log.days(), 1):
            filler.fill(log, rows)
            calls, cards = calls + len(rows["call"]), cards + len(rows["card"])
            _progress(f"day {number} of {shape.days}: {calls:,} calls, {cards:,} cards")
    print(f"\nwritten in {time.monotonic() - started:.0f} s")


def _roll_up(place: Place, shape: Shape) -> None:
    with closing(place.open(None, writes_review=True)) as database:
        started = time.monotonic()
        days = roll_up(database, DAYS, utc_now, progress=lambda done, of: _progress(f"counted {done} of {of} days"))
        print(f"\n{days} days counted in {time.monotonic() - started:.1f} s")
        took, cpu = _runs(lambda: count_one_day(database, DAYS, plus(last_day(shape), -3), utc_now), 7)
        print(f"one day counted anew: {statistics.median(took):.0f} ms, {cpu:.0f} ms of it CPU here (median of 7)")
        if not place.url:
            return
        database.execute("ANALYZE")


def with_values(values: Mapping[str, str]) -> Filter:
    """Return a filter of these values."""
    chosen = Filter()
    for name, value in values.items():
        chosen = chosen.with_values(name, value)
    return chosen


def page_queries(last: int) -> dict[str, Query]:
    """Return what the pages ask, each with its worst filter. `last`: the newest day."""

    def of(days: int, card: str = "", **more: str) -> Filter:
        values = more | ({"card": card} if card else {})
        return with_values(values).last(days, last)

    rare = {"card": "card-17", "client": "client-4", "response": "accepted", "mode": "live", "indicator": "critical"}
    page = {"client": "client-4", "hook": "order-select", "indicator": "critical", "response": "accepted"}
    return {
        "overview: cards by week, 84 d": lambda db: queries.card_counts(db, of(84), ("card", "week")),
        "overview: cards by week, a year": lambda db: queries.card_counts(db, of(365), ("card", "week")),
        "overview: denominators, 84 d": lambda db: queries.denominators(db, of(84)),
        "overview: evaluations by card, 84 d": lambda db: queries.evaluation_counts(db, of(84)),
        "overview: latency, 84 d": lambda db: queries.latency(db, of(84)),
        "overview: first day of versions, all": lambda db: queries.first_seen(db, "version"),
        "cards: all figures, 28 d": lambda db: queries.card_counts(db, of(28)),
        "cards: all figures, everything": lambda db: queries.card_counts(db, Filter()),
        "card: evaluations by day and version, a year": lambda db: queries.evaluation_counts(
            db, of(365, card="card-3"), ("day", "version")
        ),
        "card: by day and version, a year": lambda db: queries.card_counts(db, of(365, card="card-3"), ("day", "version")),
        "card: by hook, client, indicator, a year": lambda db: queries.card_counts(
            db, of(365, card="card-3"), ("hook", "client", "indicator")
        ),
        "card: top users, 28 d": lambda db: queries.top_users(db, of(28, card="card-3")),
        "card: top users, a year": lambda db: queries.top_users(db, of(365, card="card-3")),
        "top users of all cards, a year": lambda db: queries.top_users(db, of(365)),
        "facets, 30 d": lambda db: queries.facets(db, of(30)),
        "facets, one card, a year": lambda db: queries.facets(db, of(365, card="card-3")),
        "facets, no filter, a year": lambda db: queries.facets(db, of(365)),
        "facets, no filter, 350 d (days at both ends)": lambda db: queries.facets(db, Filter().last(350, plus(last, -7))),
        "reasons, a year": lambda db: queries.reason_counts(db, of(365)),
        "data: missing by client, a year": lambda db: queries.missing_counts(db, of(365), ("client", "criterion", "cause")),
        "clients: calls, a year": lambda db: queries.call_counts(db, of(365)),
        "clients: latency by day, a year": lambda db: queries.latency(db, of(365), ("client", "day")),
        "clients: refusals, a year": lambda db: queries.refusal_counts(db, of(365)),
        "log: newest 50": lambda db: newest(db, DAYS, Filter()),
        "log: page in the middle of the year": lambda db: newest(db, DAYS, Filter(until=plus(last, -180))),
        "log: one card, a reason, 30 d": lambda db: newest(db, DAYS, of(30, card="card-3", reason="informed")),
        "log: rare (card, client, accepted, critical)": lambda db: newest(db, DAYS, with_values(rare)),
        "log: client, hook, critical, accepted": lambda db: newest(db, DAYS, with_values(page)),
        "log: an impossible combination": lambda db: newest(
            db, DAYS, Filter.of(card="card-3", state="withdrawn", response="accepted")
        ),
        "log: a card that never was": lambda db: newest(db, DAYS, Filter.of(card="card-99")),
        "log: a user": lambda db: newest(db, DAYS, Filter.of(user=_some(db, "user_key"))),
        "log: a patient": lambda db: newest(db, DAYS, Filter.of(patient=_some(db, "patient"))),
        "log: an encounter": lambda db: newest(db, DAYS, Filter.of(encounter=_some(db, "encounter"))),
        "log: repeated within 24 h": lambda db: newest(db, DAYS, Filter.of(repeated="yes")),
        "log: slower than 400 ms": lambda db: newest(db, DAYS, Filter.of(ms_from="400")),
        "log: withdrawn": lambda db: newest(db, DAYS, Filter.of(state="withdrawn")),
        "log: days with matches, one card": lambda db: days_with_matches(db, Filter.of(card="card-3")),
    }


def _some(database: Database, column: str) -> str:
    row = database.one(f"SELECT {column} AS key FROM log.call WHERE {column} IS NOT NULL ORDER BY received_at DESC LIMIT 1")  # noqa: S608
    assert row is not None
    return str(row["key"].hex())


def _time_queries(place: Place, shape: Shape, options: argparse.Namespace) -> None:
    print(f"\n{shape.calls:,} calls, {options.database}, ms\n")
    print(f"| {'query':48} | first | median |   p95 |   max |   cpu |\n|{'-' * 50}|------:|-------:|------:|------:|------:|")
    firsts = []
    for name, query in page_queries(last_day(shape)).items():
        if options.cold and not place.url:
            _forget(place.log, place.review)
        with closing(place.open(options.limit_ms)) as database:
            took, cpu = _runs(lambda query=query, database=database: query(database), options.rounds + 1)  # type: ignore[misc]
        rest = sorted(took[1:])
        firsts.append(took[0])
        p95 = rest[min(len(rest) - 1, int(0.95 * len(rest)))]
        print(
            f"| {name:48} | {took[0]:5.0f} | {statistics.median(rest):6.1f} | {p95:5.0f} | {rest[-1]:5.0f} | {cpu:5.0f} |",
            flush=True,
        )
    firsts.sort()
    print(
        f"\nfirst loads: p50 {statistics.median(firsts):.0f}, p95 {firsts[int(0.95 * len(firsts))]:.0f}, max {firsts[-1]:.0f} ms"
    )


def _forget(*paths: Path) -> None:
    """Take the files out of the cache of the operating system."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _runs(run: Callable[[], object], times: int) -> tuple[list[float], float]:
    """Return how many ms each run took, and the median of their CPU time."""
    took: list[float] = []
    cpu: list[float] = []
    for _ in range(times):
        started, used = time.perf_counter(), time.process_time()
        run()
        took.append((time.perf_counter() - started) * 1_000)
        cpu.append((time.process_time() - used) * 1_000)
        if sum(took) > 20_000:  # enough of a slow one
            break
    return (took if len(took) > 1 else took * 2), statistics.median(cpu)


def _timed(what: str, run: Callable[[], object]) -> None:
    started = time.monotonic()
    run()
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def _progress(text: str) -> None:
    end = "\r" if sys.stdout.isatty() else ""
    if end:
        print(f"{text:70}", end=end, flush=True)


if __name__ == "__main__":
    main()
