"""A made-up log, as those who read logs see it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from cds_service.app import create_app
from cds_service.database import open_database
from cds_service.demo.changes import changes
from cds_service.demo.clients import CLIENTS, Client
from cds_service.demo.run import Made, make_log
from cds_service.demo.schedule import Period
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.runtime import Runtime
from cds_service.settings import Settings
from cds_service.signals.finding import Place
from cds_service.signals.inbox import Signal, signals
from cds_service.signals.update import update_signals
from tests import proofs
from tests.core import knowledge
from tests.exported_log import call_rows, card_rows

pytestmark = pytest.mark.slow

END = datetime(2026, 3, 6, 18, tzinfo=UTC)  # a Friday
HARBOUR = next(one for one in CLIENTS if one.name == "harbour-clinic")
# Its visits about quinine alone: the same share of them, in fewer calls.
QUININE_ONLY = msgspec.structs.replace(HARBOUR, visits={k: n for k, n in HARBOUR.visits.items() if "quinine" in k})
CARD = "quinine-avoid"
Json = dict[str, Any]

# Random ids, and what is measured; so are members whose name ends in Ms or ms.
_NOT_THE_SAME = ("call", "cursor", "id", "repeatOf", "timings")


def made(folder: Path, days: int, calls_per_day: float, clients: tuple[Client, ...] = CLIENTS, *, changed: bool = True) -> Made:
    folder.mkdir()
    settings = Settings(log_path=folder / "alerts.sqlite3", hash_secret="0" * 32, on_unavailable="card")
    period, seen = Period.of_days(days, END), []

    def app(own: Settings, runtime: Runtime) -> FastAPI:
        return create_app(own, runtime=runtime)

    def on_call(at: datetime, count: int) -> None:
        seen.append((at, count))

    done = asyncio.run(make_log(settings, app, period, calls_per_day, 1, on_call, clients, changed=changed))
    assert [count for _, count in seen] == list(range(1, done.calls + 1))
    assert seen == sorted(seen)
    return done


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    """A log of one day."""
    folder = tmp_path_factory.mktemp("made-up") / "log"
    return folder, made(folder, 1, 80)


def rows(folder: Path, *, calls: bool) -> list[Json]:
    path = folder / "alerts.sqlite3"
    return call_rows(path) if calls else card_rows(path)


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_ids(inner) for key, inner in value.items() if key not in _NOT_THE_SAME and not key.lower().endswith("ms")
        }
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


def test_one_day_made_again_is_the_same_log(day: tuple[Path, Made], tmp_path: Path) -> None:
    folder, done = day
    assert made(tmp_path / "again", 1, 80) == done
    for calls in (True, False):
        one, two = rows(folder, calls=calls), rows(tmp_path / "again", calls=calls)
        assert len(one) > 10
        assert without_ids(one) == without_ids(two)


def test_a_day_has_calls_of_every_client_with_cards_and_feedback(day: tuple[Path, Made]) -> None:
    folder, done = day
    calls = [one for one in rows(folder, calls=True) if one["row"] == "call"]
    assert {one["client"] for one in calls} == {one.name for one in CLIENTS}
    assert len(calls) <= done.calls == sum(done.statuses.values())
    assert all(END - timedelta(days=1) <= datetime.fromisoformat(one["receivedAt"]) <= END for one in calls)
    assert {one["outcome"] for one in calls} >= {"fired", "not_fired", "could_not_check"}
    cards = [one for one in rows(folder, calls=False) if one["row"] == "card"]
    assert {one["knowledgeHash"] for one in cards} != {knowledge().hash}  # the second change is older than this day
    assert 0 < sum(bool(one["feedback"]) for one in cards) < len(cards)
    assert done.answers > 0


def signals_of(folder: Path) -> list[Signal]:
    """What the detectors find when they look at the log at its end, without being told anything."""
    days = SiteDays("UTC")
    with closing(
        open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)
    ) as database:
        roll_up(database, days, lambda: END)
        update_signals(database, days, lambda: END, None)
        return signals(database, days, int(f"{END:%Y%m%d}"))


@pytest.mark.proof
def test_without_the_new_versions_no_signal_tells_of_a_change(tmp_path: Path) -> None:
    made(tmp_path / "log", 34, 150 if proofs.FULL else 25, CLIENTS if proofs.FULL else (QUININE_ONLY,), changed=False)
    assert [one for one in signals_of(tmp_path / "log") if one.kind == "release_step"] == []
    assert [one for one in signals_of(tmp_path / "log") if one.place.card == CARD and one.kind == "fire_rate"] == []


def test_since_its_new_version_one_card_fires_more_than_twice_as_often_at_one_client(tmp_path: Path) -> None:
    period = Period.of_days(34, END)
    made(tmp_path / "log", 34, 60, (QUININE_ONLY,))
    changed = changes(period)[-1].at
    calls: Counter[bool] = Counter()
    fired: Counter[tuple[bool, str]] = Counter()
    for one in rows(tmp_path / "log", calls=True):
        if one["row"] != "call":
            continue
        since = datetime.fromisoformat(one["receivedAt"]) >= changed
        calls[since] += 1
        found = [row for row in one.get("evaluations", ()) if row["card"] == CARD and row["outcome"] == "fired"]
        fired[since, one["hook"]] += len(found)
        assert len({row["version"] for row in found} | {""}) <= 2
    rates = {since: sum(n for (when, _), n in fired.items() if when is since) / calls[since] for since in (False, True)}
    assert 2.0 < rates[True] / rates[False] < 2.9
    per_call = {key: n / calls[key[0]] for key, n in fired.items()}
    assert per_call[True, "order-select"] > 2.2 * per_call[False, "order-select"]  # all of the excess
    assert per_call[True, "order-sign"] < 1.6 * per_call[False, "order-sign"]

    with closing(sqlite3.connect(tmp_path / "log" / "alerts.sqlite3")) as log:
        archived = [at for (at,) in log.execute("SELECT archived_at FROM knowledge ORDER BY archived_at")]
    assert [at // 1_000_000 for at in archived] == [
        int(at.timestamp()) for at in (period.start, *(one.at for one in changes(period)))
    ]

    reasons: Counter[tuple[bool, str]] = Counter()
    for card in rows(tmp_path / "log", calls=False):
        if card["row"] == "card" and card["cardId"] == CARD:
            for item in card["feedback"]:
                reasons[datetime.fromisoformat(card["receivedAt"]) >= changed, (item["reason"] or {}).get("code", "")] += 1
    given = {code: n for (since, code), n in reasons.items() if since and code}
    assert given.pop("malaria-or-babesiosis") > 2 * sum(given.values())
    assert reasons[False, "malaria-or-babesiosis"] < 5

    first = signals_of(tmp_path / "log")[0]
    assert (first.kind, first.place) == ("release_step", Place("", HARBOUR.name, CARD))
    assert first.subject.startswith("version ")
    assert first.axes.effect == "over"
