"""`cds-service log ship --once`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.cli.main import main
from tests.log_rows import AT, FileWriter, fill, hashed
from tests.log_tables import postgres_database
from tests.shipped import ask


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    return path


@pytest.mark.loopback
@pytest.mark.usefixtures("socket_enabled")
def test_it_ships_all_and_says_how_much(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path, 1000)
    with postgres_database() as url:
        monkeypatch.setenv("CDS_LOG_DATABASE_URL", url)
        assert main(["log", "ship", "--once"]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == "ok: 2,500 records shipped, 0 left"
        writer = FileWriter(path)
        with writer.transaction():
            writer.feedback(AT, hashed("x"), reason="\0")
        writer.close()
        assert main(["log", "ship", "--once"]) == 1
        assert capsys.readouterr().err.splitlines()[-1].endswith("1 refused by the database (table log.unshipped)")
        assert ask(url, "SELECT count(*) FROM log.call") == [(1000,)]


@pytest.mark.loopback
@pytest.mark.usefixtures("socket_enabled")
def test_a_database_that_is_not_there_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, 1)
    monkeypatch.setenv("CDS_LOG_DATABASE_URL", "postgresql://somebody:secret@127.0.0.1:1/nowhere")
    assert main(["log", "ship", "--once"]) == 1
    printed = capsys.readouterr().err
    assert printed == "failing: 0 records shipped, ? left (OperationalError: nothing listens there)\n"
    assert "secret" not in printed


def test_without_a_url_or_a_log_it_says_what_is_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", "ship", "--once"]) == 1
    assert "CDS_LOG_DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("CDS_LOG_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    assert main(["log", "ship", "--once"]) == 1
    assert "there is no alert log yet" in capsys.readouterr().err
