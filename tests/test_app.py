"""The application as a whole: its health, its garbage collector, and its start in production."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import pytest

from cds_service import __version__
from cds_service.alert_log.writer import Writer
from cds_service.app import application, create_app
from cds_service.settings import Settings, SettingsError
from tests.core import a_runtime
from tests.http_side import Stub, new_test_app, running


async def test_health_says_profile_version_and_the_state_of_the_log(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.get("/health")
    health = answer.json()
    assert (answer.status_code, health["status"], health["profile"], health["version"]) == (200, "ok", "dev", __version__)
    assert (health["log"]["state"], health["log"]["waiting"], health["unexpected_errors"]) == ("ok", 0, 0)


def test_long_lived_objects_of_a_server_process_are_taken_from_the_garbage_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    try:
        application()
        assert gc.get_freeze_count() > before + 1000
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_the_production_profile_does_not_start_as_it_comes() -> None:
    with pytest.raises(SettingsError, match="CDS_PROFILE=production can't start"):
        create_app(Settings(profile="production"), respond=Stub())


async def test_what_does_not_open_is_said_before_the_process_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Writer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Writer, "start", broken)
    runtime = a_runtime(tmp_path)
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError, match="new thread"):
        async with running(create_app(runtime.settings, runtime=runtime)):
            pass
    assert "start_failed error=RuntimeError place=test_app.py" in caplog.text
