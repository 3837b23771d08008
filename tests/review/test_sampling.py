"""Plans: what is drawn from which stratum, and that the same log, seed and moment give the same sample."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.database import Database, open_database
from cds_service.review.sampling import PER_STRATUM, STRATA, Span, draw, picked, shuffled
from tests.log_tables import BLANK, make_postgres_log, make_sqlite_log, postgres_database

DAY = 24 * 3600 * 1_000_000
SPAN = Span(20_000 * DAY, 20_030 * DAY)
_NAMES = (
    "", "quinine-avoid", "live", "shadow", "shown", "repeated", "warning", "critical", "accepted", "overridden", "not_fired",
    "could_not_check", "failed", "fired", "site-a", "site-b", "malaria",
)  # fmt: skip
ID = {name: number for number, name in enumerate(_NAMES)}
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)]
# Each stratum's evaluations, by set: not fired twice in one call, could not check, not applicable, fired.
SETS = {1: ("not_fired", 1, 2), 2: ("could_not_check", 1, 1), 3: ("not_fired", 0, 1), 4: ("fired", 1, 1), 5: ("failed", 1, 1)}


class Log:
    """Rows of a log: a call every hour, its outcomes in turn, cards with the responses that a test wants."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, object]]] = {
            "name": [{"id": number, "text": name} for name, number in ID.items() if name],
            "outcome_of_set": [
                {"set_id": one, "card": ID["quinine-avoid"], "version": 0, "content_hash": 0, "outcome": ID[outcome],
                 "table_row": -1, "applies": applies, "n": n}
                for one, (outcome, applies, n) in SETS.items()
            ],
            "call": [], "card": [], "feedback": [], "withdrawal": [],
        }  # fmt: skip

    def call(self, at: int, outcomes: int, **changes: object) -> bytes:
        call = hashlib.blake2b(str(len(self.tables["call"])).encode(), digest_size=16).digest()
        seq = len(self.tables["call"])
        row = {"seq": seq, "id": call, "received_at": at, "outcome_set": outcomes, "repeat_of": None}
        self.tables["call"].append(row | changes)
        return call

    def card(self, at: int, *answers: tuple[str, int, str], indicator: str = "warning", **changes: object) -> bytes:
        """A call with one card; `answers`: outcome, µs after the call, reason."""
        call = self.call(at, 4)
        uuid = call[::-1]
        row = {"received_at": at, "call_id": call, "position": 0, "uuid": uuid, "tenant": 0, "client": ID["site-a"],
               "card": ID["quinine-avoid"], "indicator": ID[indicator], "mode": ID["live"], "state": ID["shown"]}  # fmt: skip
        self.tables["card"].append(row | changes)
        for outcome, after, reason in answers:
            seq = len(self.tables["feedback"])
            item = {"seq": seq, "id": seq.to_bytes(16, "big"), "received_at": at + after, "outcome_at": at + after, "tenant": 0,
                    "client": ID["site-a"], "card_uuid": uuid, "outcome": ID[outcome], "reason_code": ID[reason]}  # fmt: skip
            self.tables["feedback"].append(item)
        return call

    def withdraw(self, at: int, call: bytes) -> None:
        seq = len(self.tables["withdrawal"])
        self.tables["withdrawal"].append({"seq": seq, "received_at": at, "call_id": call, "at": at + 1})

    def open(self, dialect: str, folder: Path, url: str = "") -> Database:
        for table, rows in self.tables.items():
            for partial in rows:
                row = BLANK.get(table, {}) | partial
                marks = ", ".join(["%s" if dialect == "postgres" else "?"] * len(row))
                sql, values = f"({', '.join(row)}) VALUES ({marks})", tuple(row.values())
                if dialect == "postgres":
                    with psycopg.connect(url, autocommit=True) as connection:
                        connection.execute(f"INSERT INTO log.{table} {sql}".encode(), values)
                else:
                    with closing(sqlite3.connect(folder / "alerts.sqlite3", isolation_level=None)) as file:
                        file.execute(f"INSERT INTO {table} {sql}", values)
        return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", url, writes_review=True)


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, str]]:
    if request.param == "sqlite":
        make_sqlite_log(tmp_path / "alerts.sqlite3")
        yield "sqlite", tmp_path, ""
    else:
        with postgres_database() as url:
            make_postgres_log(url)
            yield "postgres", tmp_path, url


def hours(n: int, first: int = 0) -> Sequence[int]:
    return [SPAN.start + (first + hour) * DAY // 24 for hour in range(n)]


def test_each_case_is_in_its_stratum(place: tuple[str, Path, str]) -> None:
    log = Log()
    at = hours(100)
    expected = {
        "accepted": [log.card(at[0], ("accepted", 5, "")), log.card(at[1], ("overridden", 5, ""), ("accepted", 9, ""))],
        "overridden_reason": [log.card(at[2], ("overridden", 5, "malaria"))],
        "overridden_bare": [log.card(at[3], ("accepted", 5, ""), ("overridden", 9, ""))],
        "no_feedback": [log.card(at[4]), log.card(SPAN.end - 10, ("accepted", 20, ""))],  # the answer came after the span
        "overridden_critical": [log.card(at[5], ("overridden", 5, "malaria"), indicator="critical")],
        "could_not_check": [log.call(at[6], 2), log.call(at[7], 5)],
        "not_fired": [log.call(at[8], 1)],
    }
    log.card(at[10], mode=ID["shadow"])
    log.card(at[11], state=ID["repeated"])
    log.withdraw(at[12], log.card(at[12]))
    log.withdraw(at[13], log.call(at[13], 1))
    log.call(at[14], 3)  # not applicable
    log.call(at[15], 1, repeat_of=bytes(16))
    log.call(SPAN.start - 1, 1)
    log.call(SPAN.end, 1)
    log.card(at[16], client=ID["site-b"])
    log.tables["feedback"].append(
        {
            "seq": 99,
            "id": bytes(16),
            "received_at": at[16],
            "outcome_at": at[16],
            "tenant": 0,
            "client": ID["site-a"],
            "card_uuid": log.tables["card"][-1]["uuid"],
            "outcome": ID["accepted"],
            "reason_code": 0,
        }
    )  # fmt: skip (from another client: no answer to this card)
    expected["no_feedback"].append(bytes(log.tables["card"][-1]["call_id"]))  # type: ignore[call-overload]
    with closing(log.open(*place)) as database:
        drawn = {one.stratum: one for one in draw(database, "quinine-avoid", SPAN, 1)}
        assert draw(database, "baclofen-safety", SPAN, 1) == []
    assert list(drawn) == list(STRATA)
    assert {name: sorted({case.call_id for case in one.cases}) for name, one in drawn.items()} == {
        name: sorted(calls) for name, calls in expected.items()
    }
    assert {name: one.size for name, one in drawn.items()} == {
        name: len(calls) * (2 if name == "not_fired" else 1) for name, calls in expected.items()
    }
    assert [case.which for case in drawn["not_fired"].cases] == [0, 1]  # two orders in one call are two cases


def test_ten_are_drawn_of_each_stratum_and_every_critical_override(place: tuple[str, Path, str]) -> None:
    log = Log()
    for at in hours(60):
        log.call(at, 1)
        log.card(at)
    for at in hours(25, first=100):
        log.card(at, ("overridden", 5, ""), indicator="critical")
    with closing(log.open(*place)) as database:
        first, again, other = (draw(database, "quinine-avoid", SPAN, seed) for seed in (7, 7, 8))
    assert {one.stratum: (one.size, len(one.cases)) for one in first} == {
        "overridden_critical": (25, 25),
        "no_feedback": (60, PER_STRATUM),
        "not_fired": (120, PER_STRATUM),
    }
    assert first == again
    assert first != other
    for one in first:
        assert len(set(one.cases)) == len(one.cases)


@given(st.integers(0, 400), st.integers(0, 10**9))
def test_picked_numbers_are_different_and_in_range(size: int, seed: int) -> None:
    found = picked(size, 10, "not_fired", seed)
    assert len(found) == min(size, 10) == len(set(found))
    assert all(0 <= one < size for one in found)
    assert sorted(shuffled(size, seed)) == list(range(size))


def test_every_case_is_drawn_as_often_as_any_other() -> None:
    counts = Counter(one for seed in range(4000) for one in picked(40, 10, "accepted", seed))
    # 1,000 expected of each; five standard deviations of a binomial with p = 1/4 are 137
    assert all(abs(counts[one] - 1000) < 137 for one in range(40))


def test_a_sample_never_changes_with_the_version_of_python() -> None:
    """The numbers of seed 20 for a stratum of 5,000, as first drawn: a plan made once must be explainable for ever."""
    assert picked(5000, 10, "not_fired", 20) == [15, 645, 780, 1574, 2495, 2802, 3018, 4484, 4545, 4923]
