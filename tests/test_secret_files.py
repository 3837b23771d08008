"""Secrets from files: systemd's credentials, the secrets of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.settings import OPTIONS, SettingsError, load_settings

SECRET = "8f1c02d7a96be45304d1f7c2b8e96a5d"


def test_every_secret_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [option for option in OPTIONS if option.secret]
    assert {"hash_secret", "hash_secret_old", "reveal_key", "database_url", "log_database_url"} <= {one.name for one in secrets}
    for option in secrets:
        text = f"postgresql://{SECRET}" if option.name.endswith("url") else SECRET
        path = tmp_path / option.name
        path.write_text(f"{text}\n")
        monkeypatch.setenv(f"{option.variable}_FILE", str(path))
    settings = load_settings()
    assert settings.hash_secret == SECRET
    assert settings.log_database_url == f"postgresql://{SECRET}"


def test_a_credential_of_systemd_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cds_hash_secret").write_text(SECRET)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_settings().hash_secret == SECRET
    assert load_settings().reveal_key == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "can't be read: No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff" * 40, "is not UTF-8 text")],
)
def test_a_file_that_holds_no_secret_stops_the_start_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, told: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("CDS_HASH_SECRET_FILE", str(path))
    with pytest.raises(SettingsError, match=f"^CDS_HASH_SECRET: {path} {told}"):
        load_settings()


def test_what_is_allowed_holds_for_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text("too short")
    monkeypatch.setenv("CDS_HASH_SECRET_FILE", str(path))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == "CDS_HASH_SECRET must be at least 32 characters"


def test_a_secret_that_is_given_twice_is_refused_without_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cds_hash_secret").write_text(SECRET)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CDS_HASH_SECRET", SECRET)
    monkeypatch.setenv("CDS_HASH_SECRET_FILE", str(tmp_path / "cds_hash_secret"))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    told = "CDS_HASH_SECRET is given by the variable itself and by CDS_HASH_SECRET_FILE and by the credential cds_hash_secret"
    assert str(caught.value) == f"{told}; keep one of them"
