"""Settings: their defaults, where they are read from, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cds_service.settings import OPTIONS, Settings, SettingsError, load_settings, settings_help


def test_defaults_are_those_of_a_laptop() -> None:
    assert load_settings() == Settings()
    assert load_settings().profile == "dev"


def test_the_command_line_wins_over_the_environment_and_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"CDS_DEADLINE_MS": "900", "CDS_JURISDICTION": "GB", "CDS_PUBLIC_URL": "", "CDS_LOG_PATH": "/var/log/cds.sqlite3"}
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    chosen = load_settings(deadline_ms="1000", jurisdiction=None)
    assert (chosen.deadline_ms, chosen.jurisdiction, chosen.public_url) == (1000, "GB", "")
    assert chosen.log_path == Path("/var/log/cds.sqlite3")


def test_values_are_read_from_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"CDS_LOG_REQUIRED": "yes", "CDS_PUBLIC_URL": "https://cds.example/", "CDS_DRAIN_MS": "1500"}
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    chosen = load_settings()
    assert chosen.log_required is True
    assert (chosen.public_url, chosen.draining_seconds) == ("https://cds.example", 1.5)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().profile = "production"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("CDS_PROFILE", "prod", "dev or production"),
        ("CDS_JURISDICTION", "us", "US or GB"),
        ("CDS_ON_UNAVAILABLE", "500", "412 or card"),
        ("CDS_DEADLINE_MS", "2s", "a whole number from 200 to 60000"),
        ("CDS_DEADLINE_MS", "199", "a whole number from 200 to 60000"),
        ("CDS_HASH_SECRET", "too short", "at least 32 characters"),
        ("CDS_CARDS_DIR", "/nowhere/at/all", "an existing folder"),
        ("CDS_PUBLIC_URL", "cds.example", "an http or https URL"),
        ("CDS_DATABASE_URL", "mysql://cds:SSS@db.example/cds", "a postgresql:// URL"),
        ("CDS_LOG_REQUIRED", "true", "yes or no"),
        ("CDS_DRAIN_MS", "60001", "a whole number from 0 to 60000"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_with_what_is_allowed(
    variable: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{variable} must be {allowed}"
    assert caught.value.__cause__ is caught.value.__context__ is None  # Pydantic's own error, which a traceback would show


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_MAX_CALLS", "0")
    with pytest.raises(SettingsError) as caught:
        load_settings(profile="prod")
    assert str(caught.value).splitlines() == [
        "CDS_PROFILE must be dev or production",
        "CDS_MAX_CALLS must be a whole number from 1 to 10000",
    ]


def test_the_secret_is_not_shown() -> None:
    settings = Settings(hash_secret="S" * 40, database_url="postgresql://cds:SSS@db.example/cds")
    assert "SSS" not in f"{settings!r} {settings}"
    assert "deadline_ms=2000" in repr(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(hash_secret="SSS", database_url="mysql://cds:SSS@db.example/cds")
    assert "SSS" not in str(caught.value)


def test_every_setting_is_in_the_table_and_in_the_help() -> None:
    assert [option.name for option in OPTIONS] == list(Settings.model_fields)
    for option in OPTIONS:
        assert option.meaning
        file = f" or {option.variable}_FILE" if option.secret else ""
        assert f"{option.variable}{file}\n    {option.meaning}" in settings_help()
    assert "(dev or production, default dev)" in settings_help()


def test_a_time_zone_is_one_that_this_machine_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_TIME_ZONE", "Europe/London")
    assert load_settings().time_zone == "Europe/London"
    for unknown in ("Mars/Base", "Europe", "../etc/passwd", "+01:00"):
        monkeypatch.setenv("CDS_TIME_ZONE", unknown)
        with pytest.raises(SettingsError, match="CDS_TIME_ZONE must be the name of a time zone, such as Europe/London"):
            load_settings()
