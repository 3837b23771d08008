"""Files of version 0.1.0 are rewritten while the service writes, and everything in them is still there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from cds_service.alert_log import AlertLog
from cds_service.alert_log import compact as module
from cds_service.alert_log.compact import Compacted, compact
from cds_service.alert_log.reading import bodies_of, old_calls, open_for_reading
from cds_service.alert_log.store import Store
from cds_service.cli.main import main
from cds_service.hooks.override_reasons import known_reasons
from tests.alert_log.test_old_files import write_old_file
from tests.alert_log_samples import a_call, a_card, rows
from tests.core import knowledge
from tests.exported_log import call_rows

KEEP_REASON = known_reasons(knowledge())
GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = (4, 5)
OURS = "urn:cramp-cds:override-reason"


def golden_file(folder: Path, version: int) -> Path:
    """The file that version 0.1.0 (schema 5), or the one before it, wrote of six calls; for 4, of three."""
    path = folder / "alerts.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"schema_{version}.sql").read_text(encoding="utf-8"))
    return path


def old_rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY seq")]  # noqa: S608 - written here


def exported(path: Path) -> list[dict[str, Any]]:
    return call_rows(path)


@pytest.mark.parametrize("version", SCHEMAS)
def test_everything_that_version_0_1_0_wrote_is_in_the_new_tables(tmp_path: Path, version: int) -> None:
    path = golden_file(tmp_path, version)
    calls, cards, said = (old_rows(path, table) for table in ("call", "card", "feedback"))

    *_, last = compact(path, KEEP_REASON)

    assert last == Compacted(len(calls), 0, 0)
    assert rows(path, "SELECT name FROM sqlite_master WHERE name LIKE 'old_%'") == []
    found = [row for row in exported(path) if row["row"] == "call"]
    firsts = sorted((row for row in found if row["repeatOf"] is None), key=lambda row: row["hookInstance"])
    assert len(found) - len(firsts) == sum(one["repeats"] for one in calls)
    for was, row in zip(calls, firsts, strict=True):
        assert row["receivedAt"] == was["received_at"]
        for name, old in (("patientKey", "patient_key"), ("encounterKey", "encounter_key"), ("hookInstance", "hook_instance")):
            assert row[name] == was[old]
        assert (row["status"], row["outcome"], row["bytesIn"]) == (was["status"], was["outcome"], was["bytes_in"])
        for name in ("evaluations", "sources", "timings"):
            assert row[name] == json.loads(was[name])
        assert row["facts"] == json.loads(was["facts"] or "null")
        own = [one for one in cards if one["call_seq"] == was["seq"]]
        assert [(one["cardUuid"], one["orderKey"], one["body"]) for one in row["cards"]] == [
            (one["uuid"], one["order_key"], json.loads(one["body"])) for one in own
        ]
        assert row["factsVersion"] == 1
    heard = [item for row in found for card in row["cards"] for item in card["feedback"]]
    assert len(heard) == sum(1 + one["repeats"] for one in said) > 2
    assert rows(path, "SELECT kind FROM quarantine") == ["feedback"]
    assert rows(path, "SELECT DISTINCT applies FROM outcome_of_set") == [-1]


def test_what_somebody_typed_as_a_reason_is_nowhere_in_the_file_afterwards(tmp_path: Path) -> None:
    """Version 0.1.0 kept reasons as they were sent; names are never deleted."""
    path = golden_file(tmp_path, 5)
    typed = "Mrs-Canary-wanted-it"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE feedback SET reason_code = ?, reason_display = ? WHERE seq = 1", (typed, typed))
        connection.execute("UPDATE feedback SET reason_system = ?, reason_code = 'known-chronic' WHERE seq = 2", (OURS,))

    list(compact(path, KEEP_REASON))

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = set(rows(path, "SELECT reason_system, reason_code FROM feedback"))
    assert {("", "other"), (OURS, "known-chronic")} <= kept
    assert typed.encode() not in path.read_bytes()


@pytest.mark.parametrize("version", SCHEMAS)
def test_the_facts_of_old_calls_still_decode(tmp_path: Path, version: int) -> None:
    path = golden_file(tmp_path, version)
    list(compact(path, KEEP_REASON))

    with closing(open_for_reading(path)) as connection:
        bodies = [bodies_of(connection)(row["seq"]) for row in connection.execute("SELECT seq FROM body")]

    facts = [body.decoded_facts() for body in bodies if body is not None]
    assert any(one is not None and one.orders for one in facts)


def test_a_run_that_was_stopped_is_gone_on_with_and_nothing_is_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALLS", 2)
    path = golden_file(tmp_path, 5)
    steps = cast("Generator[Compacted, None, None]", compact(path, KEEP_REASON, monotonic=lambda: 0.0))
    assert next(steps) == Compacted(2, 4, 0)
    steps.close()
    newest = rows(path, "SELECT hook_instance FROM call ORDER BY seq")
    assert [one[-1] for one in newest] == ["6", "5"], "the newest first"

    *_, last = compact(path, KEEP_REASON)

    assert last == Compacted(4, 0, 0)
    assert rows(path, "SELECT count(*), count(DISTINCT hook_instance) FROM call WHERE repeat_of IS NULL") == [(6, 6)]
    assert list(compact(path, KEEP_REASON)) == []


def test_calls_that_take_long_are_rewritten_one_at_a_time_so_that_commits_of_services_get_their_turn(tmp_path: Path) -> None:
    path = golden_file(tmp_path, 5)
    slow = count()
    done = [one.done for one in compact(path, KEEP_REASON, monotonic=lambda: float(next(slow)))]
    assert done == [1, 2, 3, 4, 5, 6, 6]


async def test_a_service_goes_on_and_knows_each_card_once_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALLS", 1)
    path = golden_file(tmp_path, 5)
    (first, *_) = old_rows(path, "call")
    since = {"quinine-avoid": a_call().received_at}
    log = AlertLog(path, prior_limit=10)
    log.start()

    async def known() -> list[tuple[str, str]]:
        found = await log.prior_cards(first["patient_key"], "anonymous", since, ())
        return [(one.uuid, one.answered) for one in found]

    before = await known()
    assert before
    for _ in compact(path, KEEP_REASON):
        assert await log.append(a_call(a_card())) is True
        assert await known() == before
    assert await known() == before
    await log.close()
    assert log.health().unanswered == 0


def test_a_row_that_no_version_wrote_stays_where_it_is(tmp_path: Path) -> None:
    path = golden_file(tmp_path, 5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE call SET evaluations = '[{' WHERE seq = 2")
        connection.commit()

    *_, last = compact(path, KEEP_REASON)

    assert last == Compacted(5, 0, 1)
    assert rows(path, "SELECT seq FROM old_call") == [2]
    assert rows(path, "SELECT count(*) FROM call WHERE repeat_of IS NULL") == [5]
    assert old_calls(path) == 1


def test_a_new_file_has_nothing_to_rewrite(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "new.sqlite3")) as store:
        store.append([a_call()])

    assert list(compact(tmp_path / "new.sqlite3", KEEP_REASON)) == []


def test_the_command_says_what_it_did_and_an_export_before_it_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    assert main(["log", "compact"]) == 1
    assert "there is no alert log yet" in capfd.readouterr().err
    write_old_file(path, 5)
    with closing(Store(path)):
        pass

    assert main(["log", "export", "--format", "csv"]) == 1
    assert "1 calls of version 0.1.0 are not among these rows" in capfd.readouterr().err
    assert main(["log", "compact"]) == 0
    assert "1 calls rewritten" in capfd.readouterr().err
    assert main(["log", "export", "--format", "csv"]) == 0
