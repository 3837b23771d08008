"""The own process of the pages in production: what it needs before it starts, its health, its commands."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from cds_service.cli.main import main
from cds_service.review.app import create_review_app
from cds_service.settings import Settings, SettingsError
from tests.access.people import PASSWORD, URL, Clock, add_person, audit_entries, review_database, sign_in
from tests.http_side import running
from tests.log_tables import make_sqlite_log


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty log, which the commands find."""
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    return tmp_path


def production(folder: Path, **settings: str) -> Settings:
    return Settings(profile="production", log_path=folder / "alerts.sqlite3", **settings)  # type: ignore[arg-type]


def test_it_needs_tls_and_an_admin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("", "http://review.example"):
        with pytest.raises(SettingsError, match="Set CDS_REVIEW_URL to the https address"):
            create_review_app(production(folder, review_url=url) if url else production(folder))
    with pytest.raises(SettingsError, match="cds-service users add NAME --role admin"):
        create_review_app(production(folder, review_url=URL))
    database = review_database(folder)
    add_person(database, "Rita", "reviewer")
    with pytest.raises(SettingsError, match="need an admin"):
        create_review_app(production(folder, review_url=URL))
    add_person(database, "Ada", "admin")
    database.close()
    create_review_app(production(folder, review_url=URL))
    assert main(["users", "disable", "Ada"]) == 0
    assert "there is no admin left" in capsys.readouterr().err
    assert main(["review", "--profile", "production"]) == 1


def test_without_a_log_it_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Start the service first"):
        create_review_app(production(tmp_path, review_url=URL))


async def test_it_asks_everybody_to_sign_in_and_tells_no_detail_of_its_health(folder: Path) -> None:
    database = review_database(folder)
    secret = add_person(database, "Ada", "admin")
    clock = Clock()
    app = create_review_app(production(folder, review_url=URL), clock=clock)
    async with running(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=URL, headers={"sec-fetch-site": "same-origin"}) as client:
            assert (await client.get("/review")).status_code == 303
            assert "Development" not in (await client.get("/review/sign-in")).text
            answers = [await client.get(f"/health/{one}") for one in ("live", "ready")]
            assert [(one.status_code, one.text) for one in answers] == [(200, "live"), (200, "ready")]
            for path in ("/", "/health/live", "/nowhere", "/review/nowhere", "/metrics", "/openapi.json"):
                answer = await client.get(path)
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
                assert answer.headers["strict-transport-security"]
                assert answer.headers["cache-control"] == "no-store"
            assert (await client.get("/metrics")).status_code == (await client.get("/openapi.json")).status_code == 404
            assert (await sign_in(client, "Ada", secret)).status_code == 303
            assert (await client.get("/review/definitions")).status_code == 200
            assert (await client.get("/review/log")).status_code == 403
    database.close()


async def test_it_is_not_ready_without_its_log(folder: Path) -> None:
    database = review_database(folder)
    add_person(database, "Ada", "admin")
    database.close()
    app = create_review_app(production(folder, review_url=URL))
    (folder / "alerts.sqlite3").rename(folder / "elsewhere")
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=URL)
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    await client.aclose()


def test_an_account_is_made_changed_and_listed_by_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    password = ["--password-file", str(folder / "password")]
    rights = ["--role", "reviewer", "--role", "auditor", "--client", "North", "--tenant", "n"]
    assert main(["users", "add", "Rita  Review", *rights, *password]) == 0
    said = capsys.readouterr().out
    assert re.search(r"otpauth://totp/Cramp%20CDS%20review:Rita%20Review\?secret=[A-Z2-7]{32}&issuer=Cramp%20CDS%20review", said)
    assert main(["users", "list"]) == 0
    assert "Rita Review: auditor, reviewer; clients: North; tenants: n" in capsys.readouterr().out
    assert main(["users", "roles", "Rita Review", "--role", "viewer"]) == 0
    assert main(["users", "reset", "Rita Review", *password]) == 0
    assert main(["users", "sign-out", "Rita Review"]) == 0
    assert main(["users", "release", "Rita Review"]) == 1
    assert "disable it first" in capsys.readouterr().err
    assert main(["users", "disable", "Rita Review"]) == 0
    assert main(["users", "release", "Rita Review"]) == 0
    capsys.readouterr()
    assert main(["users", "list"]) == 0
    assert "Rita Review (disabled): viewer\n1 account" in capsys.readouterr().out
    done = ["add account", "change roles", "reset account", "end sessions", "disable account", "release name"]
    assert [action for _, action, _ in audit_entries(folder)] == done
    assert all(reader.startswith("os:") for reader, _, _ in audit_entries(folder))
    assert PASSWORD not in str(audit_entries(folder, names=("reader", "action", "object", "detail", "reason")))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "Rita", "--role", "reviewer"], "There is an account Rita already"),
        (["add", "x" * 61, "--role", "reviewer"], "Give a name of 1 to 60 characters"),
        (["roles", "Nobody", "--role", "reviewer"], "There is no account Nobody"),
        (["disable", "Nobody"], "There is no account Nobody"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    database = review_database(folder)
    add_person(database, "Rita", "reviewer")
    database.close()
    password = ["--password-file", str(folder / "password")] if arguments[0] == "add" else []
    assert main(["users", *arguments, *password]) == 1
    assert says in capsys.readouterr().err
