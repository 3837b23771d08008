"""`cds-service log`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.access.audit import AuditError
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
    assert f"{path}: not a usable SQLite file" in err


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


def audit_rows(log: Path) -> list[tuple[str, str, str, str, str]]:
    with closing(sqlite3.connect(log.with_name("review.sqlite3"))) as review:
        return review.execute("SELECT reader, action, object, reason, detail FROM audit ORDER BY seq").fetchall()


def test_log_export_is_audited_with_what_was_handed_out(log: Path, capfd: Captured) -> None:
    assert main(["log", "export", "--format", "csv", "--filter", "card=quinine-avoid", "--reason", "for the committee"]) == 0

    out = capfd.readouterr().out
    (began, finished) = audit_rows(log)
    assert began[0].startswith("os:")
    assert began[1:4] == ("export", "log export --format csv?card=quinine-avoid", "for the committee")
    assert (finished[1], json.loads(finished[4])) == (
        "export finished",
        {"format": "csv", "rows": 1, "bytes": len(out.encode()), "sha256": hashlib.sha256(out.encode()).hexdigest()},
    )


@pytest.mark.parametrize("more", [[], ["--calls"]])
def test_an_audit_that_can_t_be_written_means_that_nothing_is_exported(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured, more: list[str]
) -> None:
    assert main(["log", "export", "--format", "ndjson", "--reason", "a first one makes the tables"]) == 0
    capfd.readouterr()

    def fails(*_: object, **__: object) -> None:
        raise AuditError("The audit can't be written")

    monkeypatch.setattr("cds_service.access.audit.append", fails)

    assert main(["log", "export", "--format", "ndjson", *more]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "The audit can't be written" in err


def test_log_export_writes_parquet_into_a_folder(log: Path, tmp_path: Path, capfd: Captured) -> None:
    folder = tmp_path / "out"
    assert main(["log", "export", "--format", "parquet", "--output", str(folder), "--reason", "research"]) == 0
    assert (folder / "tenant=-" / "day=2025-11-28" / "part-0.parquet").stat().st_size > 0
    assert capfd.readouterr().out == (folder / "_SHA256SUMS").read_text()
    assert main(["log", "export", "--format", "parquet", "--output", str(folder), "--reason", "research"]) == 1
    assert "is not empty" in capfd.readouterr().err
    for wrong in (["--format", "parquet"], ["--format", "csv", "--output", "x"], ["--format", "csv", "--after", "x"],
                  ["--format", "ndjson", "--calls", "--filter", "card=x"]):  # fmt: skip
        assert main(["log", "export", *wrong]) == 2
    assert main(["log", "export", "--format", "ndjson", "--after", "x"]) == 1
    assert "a cursor is" in capfd.readouterr().err
    assert main(["log", "export", "--format", "ndjson", "--filter", "nonsense=1"]) == 1
    assert "there is no such filter" in capfd.readouterr().err


def test_the_formats_of_the_command_are_those_that_there_are() -> None:
    from cds_service.cli import log_export
    from cds_service.exports import formats

    assert tuple(formats.FORMATS) == log_export.FORMATS
