"""Figures of the pages, against the same figures counted in plain Python; and over months as over days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cds_service.database import Database
from cds_service.rollups import queries
from cds_service.rollups.counting import ignored, totals
from cds_service.rollups.days import SiteDays, week_of
from cds_service.rollups.filter import Filter
from cds_service.rollups.rollup import roll_up
from tests.rollups.compare import merged, plain
from tests.rollups.conftest import made_log
from tests.rollups.plain_count import Key, count
from tests.rollups.synthetic import Shape, SyntheticLog

SHAPE = Shape(
    calls=700, days=70, cards=4, clients=2, users=6, patients=15, withdrawn=0.03, first=datetime(2026, 1, 20, tzinfo=UTC)
)
Counted = dict[str, dict[Key, Key]]
PERIODS = [
    Filter(),
    Filter(until=20260310),
    Filter(20260101, 20260228),
    Filter(20260201, 20260331),
    Filter(20260215, 20260215),
    Filter(20260130, 20260302),
    Filter(20250101, 20250301),
]


class Read:
    """The counted log, and what plain Python counted of it."""

    def __init__(self, database: Database, counted: Counted) -> None:
        self.database = database
        self.counted = counted

    def rows(self, table: str, chosen: Filter) -> Iterator[tuple[Key, Key]]:
        for key, values in self.counted[table].items():
            if (chosen.since or 0) <= key[0] <= (chosen.until or 99999999):
                yield key, values


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    folder: Path = tmp_path_factory.mktemp("log")
    with made_log(request.param, folder) as made:
        log = SyntheticLog(SHAPE)
        made.filler.start(log)
        rows = merged(log.days())
        made.filler.fill(log, rows)
        roll_up(made.database, SiteDays("UTC"), lambda: datetime(2026, 4, 1, tzinfo=UTC))
        assert [row["month"] for row in made.database.rows("SELECT month FROM review.rolled_month")] == [202601, 202602]
        yield Read(made.database, count(plain(log, rows), "UTC"))


@pytest.mark.parametrize("chosen", PERIODS)
def test_months_and_days_add_up_alike(read: Read, chosen: Filter) -> None:
    expected = sum(values[0] for _, values in read.rows("card", chosen))
    assert sum(row["n"] for row in totals(read.database, "card", chosen)) == expected
    assert sum(row["n"] for row in totals(read.database, "card", chosen, ("day", "card"))) == expected
    for table in read.counted:
        whole = totals(read.database, table, chosen)
        by_day = totals(read.database, table, chosen, ("day",))
        if table != "user":  # of a month, the worst day
            assert {name: sum(row[name] for row in by_day) for name in (whole[0] if whole else {})} == (whole[0] if whole else {})


@pytest.mark.parametrize("chosen", PERIODS)
def test_cards(read: Read, chosen: Filter) -> None:
    figures: dict[str, Counter[str]] = {}
    for key, (n,) in read.rows("card", chosen):
        _, _, _, _, card, _, mode, state, indicator, response, repeated, about_order = key
        live = mode == "live" and state == "shown"
        found = figures.setdefault(card, Counter())
        found["shown"] += n * live
        found["accepted"] += n * (live and response == "accepted")
        found["overridden"] += n * (live and response == "overridden")
        found["repeated"] += n * (live and repeated)
        found["about_orders"] += n * (live and about_order)
        found["critical"] += n * (live and indicator == "critical")
        found["shadow"] += n * (mode == "shadow" and state != "withdrawn")
        found["held_back"] += n * (mode == "live" and state in ("repeated", "gave_way", "capped"))
        found["withdrawn"] += n * (state == "withdrawn")
    got = {
        str(one.of["card"]): {name: getattr(one, name) for name in figures[str(one.of["card"])]}
        for one in queries.card_counts(read.database, chosen)
    }
    assert got == {card: dict(found) for card, found in figures.items()}


def test_weeks_begin_on_monday_and_add_up(read: Read) -> None:
    weeks = queries.card_counts(read.database, Filter(), by=("card", "week"))
    assert {datetime.strptime(str(one.of["week"]), "%Y%m%d").replace(tzinfo=UTC).weekday() for one in weeks} == {0}
    expected: Counter[Any] = Counter()
    for key, (n,) in read.rows("card", Filter()):
        if key[6:8] == ("live", "shown"):
            expected[key[4], week_of(key[0])] += n
    assert {(one.of["card"], one.of["week"]): one.shown for one in weeks if one.shown} == expected
    assert all(one.shown == one.answered + one.unanswered for one in weeks)


def test_filters_restrict_by_any_value(read: Read) -> None:
    chosen = Filter.of(card=("card-1", "card-2"), hook="order-sign", response=("none", "accepted"), repeated="no", since=20260205)
    expected = sum(
        n
        for key, (n,) in read.rows("card", chosen)
        if key[4] in ("card-1", "card-2") and key[3] == "order-sign" and key[9] in ("", "accepted") and key[10] == 0
    )
    assert expected > 0
    assert totals(read.database, "card", chosen) == [{"n": expected}]
    assert totals(read.database, "card", Filter.of(card="never-heard-of"), ("card",)) == []
    assert ignored("call", chosen) == {"card", "response", "repeated"}
    with pytest.raises(ValueError, match="call is not counted by card"):
        totals(read.database, "call", Filter(), ("card",))


def test_evaluations(read: Read) -> None:
    expected: dict[str, Counter[str]] = {}
    for key, (n,) in read.rows("evaluation", Filter()):
        expected.setdefault(key[4], Counter())[key[6] if key[8] else "not_applicable"] += n
    got = {}
    for one in queries.evaluation_counts(read.database, Filter()):
        got[one.of["card"]] = dict(one.outcomes) | ({"not_applicable": one.not_applicable} if one.not_applicable else {})
        assert one.checked == one.fired + one.not_fired
        assert sum(one.outcomes.values()) == one.checked + one.could_not_check + one.failed
    assert got == expected


def test_latency(read: Read) -> None:
    buckets: Counter[int] = Counter()
    for key, (_, n) in read.rows("call", Filter()):
        buckets[key[6]] += n
    [one] = queries.latency(read.database, Filter())
    assert dict(one.buckets) == buckets
    each = sorted(buckets.elements())
    for share in (0.01, 0.5, 0.95, 1.0):
        assert one.percentile(share) == each[max(0, -(-int(share * 100) * len(each) // 100) - 1)]
    assert one.over(100) == sum(ms > 100 for ms in each)
    assert queries.latency(read.database, Filter.of(client="nobody")) == []


def test_users_reasons_missing_refusals_and_denominators(read: Read) -> None:
    shown: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for key, (n, _, _, worst) in read.rows("user", Filter()):
        shown[key[3]] += n
        most[key[3]] = max(most[key[3]], worst)
    top = queries.top_users(read.database, Filter(), 3)
    assert [(row["user"], row["shown"]) for row in top] == sorted(shown.items(), key=lambda one: (-one[1], one[0]))[:3]
    assert {row["user"]: row["most_for_one_patient"] for row in queries.top_users(read.database, Filter(), 10_000)} == dict(most)
    reasons: Counter[Any] = Counter()
    for key, (_, n) in read.rows("reason", Filter()):
        reasons[key[4], key[6]] += n
    assert {(row["card"], row["reason"]): row["n"] for row in queries.reason_counts(read.database, Filter())} == reasons
    missing: Counter[Any] = Counter()
    for key, (n,) in read.rows("missing", Filter()):
        missing[key[4:]] += n
    assert {
        (row["card"], row["criterion"], row["cause"]): row["n"] for row in queries.missing_counts(read.database, Filter())
    } == missing
    refused: Counter[Any] = Counter()
    for key, (n,) in read.rows("refusal", Filter()):
        refused[key[2], key[4], key[5]] += n
    assert {
        (row["client"], row["status"], row["reason"]): row["n"] for row in queries.refusal_counts(read.database, Filter())
    } == refused
    [seen] = queries.denominators(read.database, Filter())
    assert (seen.encounters, seen.orders, seen.users, seen.patients) == tuple(
        sum(values[place] for _, values in read.rows("denominator", Filter())) for place in range(4)
    )


def test_facets_count_each_field_without_its_own_restriction(read: Read) -> None:
    chosen = Filter.of(hook="order-sign", mode="live")
    found = queries.facets(read.database, chosen)
    hooks: Counter[str] = Counter()
    cards: Counter[str] = Counter()
    for key, (n,) in read.rows("card", chosen):
        if key[6] == "live":
            hooks[key[3]] += n
            cards[key[4]] += n * (key[3] == "order-sign")
    assert dict(found["hook"]) == hooks
    assert dict(found["card"]) == {card: n for card, n in cards.items() if n}
    assert [n for _, n in found["card"]] == sorted((n for _, n in found["card"]), reverse=True)
    assert dict(found["response"]).keys() == {"none", "accepted", "overridden"}


def test_first_and_last_day_of_versions(read: Read) -> None:
    days: dict[Any, list[int]] = {}
    for key, _ in read.rows("evaluation", Filter()):
        days.setdefault((key[4], key[5]), []).append(key[0])
    got = {(row["card"], row["version"]): (row["first"], row["last"]) for row in queries.first_seen(read.database, "version")}
    assert got == {key: (min(found), max(found)) for key, found in days.items()}


def test_nothing_counted_is_nothing_and_no_error(tmp_path: Path) -> None:
    with made_log("sqlite", tmp_path) as made:
        assert queries.card_counts(made.database, Filter()) == []
        assert queries.latency(made.database, Filter()) == []
        assert queries.facets(made.database, Filter())["card"] == []
