"""`cds-service log`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog
from cds_service.cli.main import main
from tests.alert_log_samples import a_call, a_card, a_feedback

Captured = pytest.CaptureFixture[str]


def run(arguments: list[str], capsys: Captured) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
async def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of two calls, one without a card."""
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    writer = AlertLog(path)
    writer.start()
    await writer.append(a_call(a_card("11111111-1111-5111-8111-111111111111")))
    await writer.append(a_call(minute=90))
    await writer.append_feedback([a_feedback("11111111-1111-5111-8111-111111111111")])
    await writer.close()
    return path


def test_log_export_writes_a_row_per_card(log: Path, capfd: Captured) -> None:
    assert main(["log", "export", "--format", "ndjson"]) == 0
    (row,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert row["cardUuid"] == "11111111-1111-5111-8111-111111111111"
    assert row["feedback"][0]["outcome"] == "overridden"
    assert {"hookInstance", "cardId", "version", "indicator", "evidence"} <= row.keys()


def test_log_export_writes_calls_csv_and_what_came_since(log: Path, capfd: Captured) -> None:
    for arguments, lines in (
        (["--format", "ndjson", "--calls"], 2),
        (["--format", "ndjson", "--calls", "--since", "2025-11-28T10:00"], 1),
        (["--format", "csv"], 2),
        (["--format", "csv", "--since", "2025-11-28T12:00"], 1),
    ):
        assert main(["log", "export", *arguments]) == 0
        assert len(capfd.readouterr().out.splitlines()) == lines, arguments


def test_log_export_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    path = tmp_path / "none.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    status, out, err = run(["log", "export", "--format", "csv"], capsys)
    assert (status, out, err) == (1, "", f"{path}: there is no alert log yet; CDS_LOG_PATH names the file\n")
    path.write_text("this is no database, but it is long enough to be looked at as one" * 20, encoding="utf-8")
    assert run(["log", "export", "--format", "csv", "--calls"], capsys) == (2, "", "--calls needs --format ndjson\n")
    status, out, err = run(["log", "export", "--format", "ndjson"], capsys)
    assert (status, out) == (1, "")
    assert err.startswith(f"{path}: cannot be read as an alert log")


def test_log_rollup_counts_verifies_and_mends(log: Path, capsys: Captured) -> None:
    counted = "days 20251128 to 20251128 counted in time zone UTC, 0 waiting\n"
    uncounted = "no day counted in time zone UTC, 1 waiting\n"
    assert [run(["log", "rollup", "--verify"], capsys)[:2] for _ in range(2)] == [(0, uncounted)] * 2
    status, out, err = run(["log", "rollup"], capsys)
    assert (status, out) == (0, counted)
    assert err.startswith("counted: 1 days in ")
    assert run(["log", "rollup", "--verify"], capsys)[:2] == (0, counted)
    with closing(sqlite3.connect(log.with_name("review.sqlite3"), isolation_level=None)) as review:
        review.execute("UPDATE daily_card SET n = n + 1")
    status, out, _ = run(["log", "rollup", "--verify"], capsys)
    assert status == 1
    assert out.startswith("20251128: daily_card is not what the log says")
    assert run(["log", "rollup", "--all"], capsys)[:2] == (0, counted)
    assert run(["log", "rollup", "--verify"], capsys)[0] == 0


def test_log_rollup_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    path = tmp_path / "none.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    assert run(["log", "rollup"], capsys) == (1, "", f"the log can't be counted: there is no alert log at {path}\n")
