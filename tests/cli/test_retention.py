"""`cds-service log purge`, `log hold`, `log rotate-key`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.cli.main import main
from tests.log_rows import AT, DAY, FileWriter, hashed


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of one call, which is years old."""
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    writer = FileWriter(path)
    with writer.transaction():
        writer.call(AT - 2000 * DAY, patient=hashed("p"))
    writer.close()
    return path


def test_a_hold_keeps_a_call_from_the_purge(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patient = f"k1:{hashed('p').hex()}"
    assert main(["log", "hold", "add", "--patient", patient, "--reason", "a claim"]) == 0
    assert main(["log", "hold", "list"]) == 0
    assert f"patient {patient}" in capsys.readouterr().out
    assert main(["log", "purge"]) == 0
    assert "call: 0 deleted, 1 held" in capsys.readouterr().out
    assert main(["log", "hold", "remove", "1"]) == 0
    assert main(["log", "hold", "remove", "1"]) == 1
    assert main(["log", "purge", "--dry-run"]) == 0
    assert "call: 1 would go, 0 held" in capsys.readouterr().out
    assert main(["log", "purge"]) == 0
    assert "call: 1 deleted, 0 held" in capsys.readouterr().out
    assert main(["log", "purge"]) == 0
    assert "nothing is as old as that" in capsys.readouterr().out


def test_a_hold_of_nothing_is_refused(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in (["--patient", "Smith"], ["--call", "1"], ["--client", "nobody"]):
        assert main(["log", "hold", "add", *what, "--reason", "a claim"]) == 1
    assert "Smith" not in capsys.readouterr().err


def test_rotate_key_says_what_to_set_and_what_is_left(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", "rotate-key"]) == 1
    monkeypatch.setenv("CDS_HASH_SECRET", "s" * 32)
    assert main(["log", "rotate-key"]) == 0
    out = capsys.readouterr().out
    assert "k1: 1 calls" in out
    assert "CDS_HASH_GENERATION=2" in out
    assert "s" * 32 not in out
    monkeypatch.setenv("CDS_HASH_SECRET_OLD", "o" * 32)
    monkeypatch.setenv("CDS_HASH_GENERATION", "2")
    assert main(["log", "rotate-key"]) == 0
    assert "Keep CDS_HASH_SECRET_OLD" in capsys.readouterr().out
    assert main(["log", "purge"]) == 0
    assert main(["log", "rotate-key"]) == 0
    assert "No record of an older key is left" in capsys.readouterr().out
