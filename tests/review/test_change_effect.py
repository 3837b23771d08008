"""Before and after a change: a made-up log in which quinine-avoid fires twice as often at one client since its new version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cds_service.alert_log.instants import micros
from cds_service.changes.change import Change, Step
from cds_service.database import Database, open_database
from cds_service.review.change_effect import effect, shadow_days
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from tests.review.sample_log import NOW, write_sample_log


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder: Path = tmp_path_factory.mktemp("log")
    write_sample_log(folder / "alerts.sqlite3", days=28)
    with closing(open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", writes_review=True)) as opened:
        roll_up(opened, SiteDays("UTC"), lambda: NOW)
        yield opened


def approved(version: str, days_ago: int) -> Change:
    at = micros(NOW - timedelta(days=days_ago))
    steps = [Step(at, "os:root", False, "approved")]
    hash_ = f"quinine-avoid@{version}"
    return Change(1, at, "Ann", "quinine-avoid", hash_, "c", "", "b", None, "why", steps=steps)


def test_the_rates_of_the_days_before_and_after_are_compared(database: Database) -> None:
    found = effect(database, approved("1.1.0", 10), "UTC")
    assert found is not None
    assert found.first_day == 20261118  # nine days before NOW
    assert found.after.numerator / found.after.denominator > found.before.numerator / found.before.denominator
    assert found.low < found.difference < found.high
    assert found.level is not None
    assert found.slope is not None
    assert found.level.interval.low < found.level.value < found.level.interval.high
    assert found.first_day not in [one["day"] for one in found.days]  # it is mixed
    assert sum(one["fired"] for one in found.days) == found.before.numerator + found.after.numerator
    assert "Not randomised" in found.note


def test_before_the_approval_and_before_the_restart_there_is_nothing_to_compare(database: Database) -> None:
    open_ = Change(1, 0, "Ann", "quinine-avoid", "quinine-avoid@1.1.0", "c", "", "b", None, "why")
    assert effect(database, open_, "UTC") is None
    assert effect(database, approved("9.9.9", 10), "UTC") is None


def test_days_on_which_it_was_shown_are_no_days_in_shadow(database: Database) -> None:
    change = approved("1.1.0", 0)
    names = {name: database.names.id(text) for name, text in (("hash", change.card_hash), ("live", "live"))}
    sql = "SELECT DISTINCT received_at / 86400000000 AS day FROM log.card c WHERE c.content_hash = :hash AND c.mode = :live"
    shown = {row["day"] for row in database.rows(sql, **names)}
    ran = database.rows("SELECT DISTINCT day FROM review.daily_release r WHERE r.content_hash = :hash", hash=names["hash"])
    today = micros(NOW) // 86_400_000_000
    assert shadow_days(database, change, "UTC") == len(ran) - 1 - len(shown - {today})  # the day of the approval is none
