"""The counts are what the log says, however they came about."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.alert_log.instants import micros
from cds_service.rollups.counting import totals
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import card_counts, evaluation_counts
from cds_service.rollups.rollup import differences, keep_counts_before, roll_up, rollup_state
from tests.proofs import examples
from tests.rollups.compare import merged, plain, stored
from tests.rollups.conftest import Made, made_log
from tests.rollups.plain_count import count
from tests.rollups.synthetic import COLUMNS, WITH_SEQ, Rows, Shape, SyntheticLog

NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
SMALL = Shape(calls=300, days=6, cards=4, clients=2, users=5, patients=12, tenants=2, withdrawn=0.08)
LONDON = Shape(calls=500, days=6, cards=3, clients=2, users=4, patients=9, first=datetime(2026, 3, 26, tzinfo=UTC))


def now() -> datetime:
    return NOW


@pytest.mark.parametrize(("shape", "zone"), [(SMALL, "UTC"), (LONDON, "Europe/London"), (SMALL, "Asia/Kathmandu")])
def test_counts_are_those_of_plain_python(made: Made, shape: Shape, zone: str) -> None:
    log = SyntheticLog(shape)
    made.filler.start(log)
    rows = merged(log.days())
    made.filler.fill(log, rows)
    assert roll_up(made.database, SiteDays(zone), now) >= shape.days
    assert stored(made.database) == count(plain(log, rows), zone)
    assert list(differences(made.database, SiteDays(zone))) == []
    assert roll_up(made.database, SiteDays(zone), now) == 0


def late_by_one(rows: Rows, rng: random.Random, table: str, n: int) -> tuple[Rows, list[Rows]]:
    """Hold back some rows of a table: return the others, and each of those alone, a call with its orders and cards."""
    late = rng.sample(rows[table], n)
    first = {name: [row for row in more if row not in late] for name, more in rows.items()}
    if table != "call":
        return first, [{table: [row]} for row in late]
    place = {name: COLUMNS[name].split(", ").index("call_id") for name in ("ordered", "card")}
    ids = {row[0] for row in late}
    for name, index in place.items():
        first[name] = [row for row in first[name] if row[index] not in ids]
    return first, [
        {"call": [row]} | {name: [one for one in rows[name] if one[index] == row[0]] for name, index in place.items()}
        for row in late
    ]


@pytest.mark.parametrize("table", WITH_SEQ)
def test_one_late_record_changes_the_counts_that_it_concerns(made: Made, table: str) -> None:
    log = SyntheticLog(SMALL)
    made.filler.start(log)
    rows = merged(log.days())
    first, late = late_by_one(rows, random.Random(7), table, 8)
    days = SiteDays("UTC")
    made.filler.fill(log, first)
    roll_up(made.database, days, now)
    for piece in late:
        made.filler.fill(log, piece)
        assert roll_up(made.database, days, now) <= 4
    assert stored(made.database) == count(plain(log, rows), "UTC")


def test_days_are_counted_newest_first_and_months_when_they_are_over(made: Made) -> None:
    log = SyntheticLog(SMALL._replace(calls=300, days=26, first=datetime(2026, 1, 20, tzinfo=UTC)))
    made.filler.start(log)
    made.filler.fill(log, merged(log.days()))
    steps: list[tuple[int, int]] = []
    roll_up(made.database, SiteDays("UTC"), now, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(done, 26) for done in range(27)]
    assert [row["month"] for row in made.database.rows("SELECT month FROM review.rolled_month ORDER BY month")] == [202601]
    state = rollup_state(made.database)
    assert state == (micros(NOW), "UTC", 0, 20260120, 20260214)


def test_a_rollup_that_was_ended_goes_on(made: Made) -> None:
    log = SyntheticLog(SMALL)
    made.filler.start(log)
    rows = merged(log.days())
    made.filler.fill(log, rows)

    def end(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roll_up(made.database, SiteDays("UTC"), now, progress=end)
    assert rollup_state(made.database)[2:] == (SMALL.days - 3, 20251201, 20251203)
    assert roll_up(made.database, SiteDays("UTC"), now) == SMALL.days - 3
    assert stored(made.database) == count(plain(log, rows), "UTC")


def test_another_time_zone_counts_all_days_anew(made: Made) -> None:
    log = SyntheticLog(SMALL)
    made.filler.start(log)
    rows = merged(log.days())
    made.filler.fill(log, rows)
    roll_up(made.database, SiteDays("UTC"), now)
    assert roll_up(made.database, SiteDays("Pacific/Auckland"), now) >= SMALL.days
    assert stored(made.database) == count(plain(log, rows), "Pacific/Auckland")


def test_a_wrong_count_is_found_and_mended(made: Made) -> None:
    log = SyntheticLog(SMALL._replace(days=26, first=datetime(2026, 1, 20, tzinfo=UTC)))
    made.filler.start(log)
    rows = merged(log.days())
    made.filler.fill(log, rows)
    days = SiteDays("UTC")
    roll_up(made.database, days, now)
    made.database.execute("UPDATE review.daily_card SET n = n + 1 WHERE day = 20260203")
    made.database.execute("DELETE FROM review.monthly_user WHERE month = 202601")
    assert list(differences(made.database, days)) == [(20260203, "daily_card"), (202601, "monthly_user")]
    assert list(differences(made.database, days)) == [(20260203, "daily_card"), (202601, "monthly_user")]  # nothing was changed
    roll_up(made.database, days, now, everything=True)
    assert list(differences(made.database, days)) == []
    assert stored(made.database) == count(plain(log, rows), "UTC")


def test_days_whose_records_are_gone_keep_their_counts(made: Made) -> None:
    log = SyntheticLog(SMALL)
    made.filler.start(log)
    made.filler.fill(log, merged(log.days()))
    days = SiteDays("UTC")
    roll_up(made.database, days, now)
    before = stored(made.database)
    keep_counts_before(made.database, 20251201)
    made.filler.delete_before(days.bounds(20251201).start)
    roll_up(made.database, days, now, everything=True)
    after = stored(made.database)
    assert {key: n for key, n in after["card"].items() if key[0] < 20251201} == {
        key: n for key, n in before["card"].items() if key[0] < 20251201
    }
    assert list(differences(made.database, days)) == []


@pytest.mark.proof
@given(st.integers(0, 2**32), st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]), st.integers(1, 40))
@settings(max_examples=examples("CDS_ROLLUP_EXAMPLES", 10, 200))
def test_sums_hold_for_any_log(seed: int, zone: str, calls: int) -> None:
    """The outcomes of a log add up to its evaluations, each card has one call, and feedback reaches only its own tenant."""
    shape = Shape(calls=calls, days=3, cards=2, clients=2, users=2, patients=2, tenants=2, seed=seed)
    with TemporaryDirectory() as folder, made_log("sqlite", Path(folder)) as made:
        log = SyntheticLog(shape)
        made.filler.start(log)
        rows = merged(log.days())
        made.filler.fill(log, rows)
        roll_up(made.database, SiteDays(zone), now)
        of_log = plain(log, rows)
        assert stored(made.database) == count(of_log, zone)
        everything = Filter()
        evaluated = sum(len(call.evaluations) for call in of_log.calls if not call.is_repeat)
        counted = evaluation_counts(made.database, everything, by=())
        assert sum(sum(one.outcomes.values()) + one.not_applicable for one in counted) == evaluated
        by_day = totals(made.database, "card", everything, ("day",))
        assert sum(row["n"] for row in by_day) == sum(len(call.cards) for call in of_log.calls) == len(rows["card"])
        for tenant in {call.tenant for call in of_log.calls}:
            own = {item.uuid for item in of_log.feedback if item.tenant == tenant}
            shown = {card.uuid for call in of_log.calls if call.tenant == tenant for card in call.cards}
            answered = sum(one.answered for one in card_counts(made.database, Filter.of(tenant=tenant)))
            assert answered <= len(own & shown)
