"""T6: what the production profile needs before it starts, and that it starts then and verifies."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from cds_service.app import create_app
from cds_service.cli.main import main
from cds_service.settings import Settings, SettingsError, load_settings
from cds_service.trust.callers import UnverifiedCallers, new_callers
from cds_service.trust.production import weak_secret
from cds_service.trust.registered import RegisteredCallers
from cds_service.trust.registry import presets
from tests.core import NOW, a_runtime
from tests.http_side import Stub, call_body, running
from tests.tokens import GOOD_SECRET, JKU, PUBLIC_URL, SERVICE, a_client, bearer, key_set, public_jwk, write_registry

SANDBOX = presets()["sandbox"]
BOTH_KEYS = key_set(public_jwk(), *json.loads(SANDBOX["jwks"])["keys"])


def production(folder: Path, *clients: dict[str, Any], **changes: Any) -> Settings:
    """Settings with which production starts, but for the changes; None or an empty text for not set."""
    good: dict[str, Any] = {
        "profile": "production",
        "hash_secret": GOOD_SECRET,
        "public_url": PUBLIC_URL,
        "clients_file": write_registry(folder, *clients),
        "log_path": folder / "alerts.sqlite3",
    }
    return Settings(**{name: value for name, value in (good | changes).items() if value})


def refused(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        new_callers(settings)
    return str(caught.value)


def test_production_starts_with_a_good_registry(tmp_path: Path) -> None:
    assert isinstance(new_callers(production(tmp_path)), RegisteredCallers)


async def test_production_serves_verified_clients_and_nobody_else(tmp_path: Path) -> None:
    settings = production(tmp_path)
    runtime = a_runtime(tmp_path, callers=new_callers(settings, lambda: NOW), profile="production", public_url=PUBLIC_URL)
    app = create_app(settings, runtime=runtime)
    async with running(app) as client:
        path = "/cds-services/cramp-care-patient-view"
        url = f"{PUBLIC_URL}{path}"
        body = call_body("patient-view", prefetch=dict.fromkeys(runtime.knowledge.services[0].prefetch))
        assert (await client.post(path, json=body)).status_code == 401
        answer = await client.post(path, json=body, headers=bearer(url, now=NOW.timestamp()))
        assert answer.status_code == 200
        assert "cards" in answer.json()
        assert (await client.get("/health")).status_code == 404, "it is on the port for operators"
    async with running(app.state.management) as inside:
        health = (await inside.get("/health")).json()
        assert (health["profile"], health["callers"]["verified"], health["callers"]["clients"]) == ("production", True, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clients_file": None}, "no EHR client is registered"),
        ({"public_url": ""}, "CDS_PUBLIC_URL must be the https URL"),
        ({"public_url": "http://cds.example"}, "CDS_PUBLIC_URL must be the https URL"),
        ({"hash_secret": ""}, "CDS_HASH_SECRET is required"),
        ({"hash_secret": "x" * 32}, "CDS_HASH_SECRET repeats itself"),
        ({"hash_secret": "changeme-changeme-changeme-0815-x"}, "CDS_HASH_SECRET holds a word"),
    ],
)
def test_production_does_not_start_with(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert told in refused(production(tmp_path, **changes))


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ({"name": "box", "preset": "sandbox"}, "is the public sandbox"),
        (a_client(iss=SANDBOX["iss"]), "is the public sandbox"),
        (a_client(preset="sandbox", jku=JKU), "is the public sandbox"),
        (a_client(jwks=SANDBOX["jwks"]), "uses the public sandbox's key"),
        (a_client(jwks=SANDBOX["jwks"].replace("44823f3d", "renamed")), "uses the public sandbox's key"),
        (a_client(jwks=BOTH_KEYS), "sandbox's key"),
        (a_client(jwks=None, jku=SANDBOX["jku"]), "uses the public sandbox's key"),
        (a_client(jwks=None, jku="http://ehr.example/jwks.json"), "jku must be an https URL"),
        (a_client(jku="http://ehr.example/jwks.json"), "jku must be an https URL"),
        (a_client(jwks=None, jku="https://10.0.0.5/jwks.json"), "jku is not a public address"),
        (a_client(jwks=None, jku="https://localhost/jwks.json"), "jku is not a public address"),
        (a_client(fhir_bases=["http://ehr.example/fhir"]), "fhir_bases must be an https URL"),
        (a_client(fhir_bases=["https://ehr.example/fhir", {"url": "http://ehr/fhir", "private": True}]), "must be an https URL"),
        (a_client(fhir_bases="any"), "fhir_bases must name the FHIR servers"),
        (a_client(origins=["http://ehr.example"]), "origins must be https pages"),
        (a_client(origins=["*"]), "`*` is not possible"),
    ],
)
def test_production_does_not_start_with_a_client_that(tmp_path: Path, client: dict[str, Any], told: str) -> None:
    settings = production(tmp_path, a_client("good", iss="https://good.example"), client)
    assert told in refused(settings)


def test_an_empty_registry_starts_in_no_profile(tmp_path: Path) -> None:
    empty = tmp_path / "empty.toml"
    empty.write_text("# nobody yet\n")
    assert "no EHR client is registered" in refused(production(tmp_path, clients_file=empty))
    assert "no [[client]] is registered" in refused(Settings(clients_file=empty))


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    told = refused(Settings(profile="production")).splitlines()
    assert told[0] == "CDS_PROFILE=production can't start:"
    assert len(told) == 4
    assert all(line.startswith("- ") for line in told[1:])


def test_a_refusal_to_start_shows_no_secret(tmp_path: Path) -> None:
    assert "ABABAB" not in refused(production(tmp_path, hash_secret="AB" * 20))


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "is required"),
        ("0" * 64, "repeats itself"),
        ("deadbeef" * 8, "repeats itself"),
        ("my-default-key-of-the-hospital-47b2", "holds a word"),
        ("SuperSecretKeyForHashing1qaz2wsx3edc", "holds a word"),
        ("0123456789abcdef0123456789ABCDEF!", "counts up or down"),
        ("zyxwvuts98qk2m4n1b7v5c3x6z8a0s9d", "counts up or down"),
        ("aaaaaaaaaaaaaaaaaaaaaaab1c2d3e4f", "has one character many times"),
        ("abababababababababababababababab1", "is too easy to guess"),
    ],
)
def test_a_secret_that_is_easy_to_guess_is_weak(secret: str, why: str) -> None:
    assert why in weak_secret(secret)


def test_secrets_made_by_chance_are_good() -> None:
    made = [one for _ in range(500) for one in (secrets.token_hex(32), secrets.token_urlsafe(32))]
    assert sum(bool(weak_secret(one)) for one in made) <= 2  # some 4 in 100,000 hex ones count up by chance


# The dev profile


def test_dev_without_a_registry_answers_anybody_and_with_one_verifies(tmp_path: Path) -> None:
    assert isinstance(new_callers(Settings()), UnverifiedCallers)
    assert isinstance(new_callers(Settings(clients_file=write_registry(tmp_path), public_url=PUBLIC_URL)), RegisteredCallers)


def test_dev_with_a_registry_needs_the_public_url_unless_audiences_are_registered(tmp_path: Path) -> None:
    assert "CDS_PUBLIC_URL is needed" in refused(Settings(clients_file=write_registry(tmp_path)))
    new_callers(Settings(clients_file=write_registry(tmp_path, a_client(audiences=["x"]))))


async def test_dev_takes_the_sandbox_by_its_own_key_only(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, {"name": "box", "preset": "sandbox"})
    known = new_callers(Settings(clients_file=registry, public_url=PUBLIC_URL, log_path=tmp_path / "alerts.sqlite3"), lambda: NOW)
    runtime = a_runtime(tmp_path, callers=known)
    async with running(create_app(runtime.settings, runtime=runtime, respond=Stub())) as client:
        forged = bearer(SERVICE, now=NOW.timestamp(), iss=SANDBOX["iss"], header={"kid": "44823f3d-0b01-4a6c-a80e-b9d3e8a7226f"})
        assert (await client.post("/cds-services/cramp-care-order-sign", json={}, headers=forged)).status_code == 401


def test_production_without_settings_is_told_all_that_is_missing_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cds_service.telemetry.log_lines.configure_logging", lambda *_, **__: None)
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    assert main(["serve", "--profile", "production"]) == 1
    said = capsys.readouterr().err
    assert [name for name in ("CDS_HASH_SECRET", "CDS_PUBLIC_URL", "CDS_CLIENTS_FILE") if name not in said] == []


def test_clients_check_fails_where_production_would_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_PUBLIC_URL", "https://cds.example")
    plain = write_registry(tmp_path, a_client(fhir_bases=["http://ehr.example/fhir"]))
    assert main(["clients", "check", str(plain)]) == 0
    monkeypatch.setenv("CDS_PROFILE", "production")
    assert main(["clients", "check", str(plain)]) == 1
    assert "the service will not start: client" in capsys.readouterr().out
    empty = tmp_path / "empty.toml"
    empty.touch()
    monkeypatch.delenv("CDS_PROFILE")
    assert main(["clients", "check", str(empty)]) == 1


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],  # noqa: S104
)
def test_dev_warns_where_other_machines_may_reach_it(
    host: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cds_service.cli.serve.require_free_port", lambda *_: None)
    monkeypatch.setattr("cds_service.telemetry.log_lines.configure_logging", lambda *_, **__: None)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    assert main(["serve", "--host", host]) == 0
    assert ("WARNING: the dev profile listens on" in capsys.readouterr().err) is warned


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CDS_DATABASE_URL", "mysql://x"), ("CDS_REPLAY_DOWN", "allow"), ("CDS_DISCOVERY", "closed")],
)
def test_settings_of_trust_are_checked(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()
