"""`cds-service demo-log`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog
from cds_service.cli.main import main
from cds_service.demo.target import made_up_cards, review_line
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.settings import Settings
from tests.alert_log_samples import a_call, a_card

ARGUMENTS = ["demo-log", "--days", "1", "--calls-per-day", "8", "--until", "2026-03-06T18:00"]


def test_a_log_is_made_in_a_new_folder_and_what_was_fired_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--into", str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'new' / 'alerts.sqlite3'}: ")
    assert " x 200" in out
    assert "calls in " in err
    assert (tmp_path / "new" / "alerts.sqlite3").exists()
    assert review_line(tmp_path / "new" / "alerts.sqlite3") in out
    versions = [
        load_knowledge(Settings(cards_dir=where)).card("quinine-avoid")
        for where in (made_up_cards(tmp_path / "new" / "alerts.sqlite3"), None)
    ]
    assert versions[0] is not None
    assert versions[1] is not None
    assert versions[0].hash != versions[1].hash


async def test_a_log_with_records_of_a_service_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alerts.sqlite3"
    log = AlertLog(path)
    log.start()
    await log.append(a_call(a_card()))
    await log.close()
    before = path.read_bytes()
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    assert main(ARGUMENTS) == 1
    assert "demo-log writes into a new file only" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_production_profile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_PROFILE", "production")
    assert main([*ARGUMENTS, "--into", str(tmp_path / "new")]) == 2
    assert "no place" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_log_that_is_shipped_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    monkeypatch.setenv("CDS_LOG_DATABASE_URL", "postgresql://nowhere.example/log")
    assert main(ARGUMENTS) == 2
    assert "use --into" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
