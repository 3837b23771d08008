"""A proxy that has signed people in: its headers count on its own connections, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.access.people import Clock, a_site, add_person, audit_entries, form_token, review_database, sign_in
from tests.bench.server import free_port
from tests.log_tables import make_sqlite_log

PROXY, ELSEWHERE = "10.0.0.7", "10.0.0.9"
RITA = {"x-remote-user": "rita", "x-remote-groups": "golf, cds-reviewers"}
ACCESS = """
[proxy]
peers = ["10.0.0.7", "fd00::/64"]
user_header = "X-Remote-User"
groups_header = "X-Remote-Groups"

[[group]]
name = "cds-reviewers"
roles = ["reviewer"]

[[group]]
name = "cds-audit"
roles = ["auditor"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty log, and the file that names the proxy."""
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    (tmp_path / "access.toml").write_text(ACCESS)
    return tmp_path


async def test_the_proxy_says_who_it_is_and_in_which_groups(folder: Path) -> None:
    with a_site(folder, Clock(), access_file=folder / "access.toml") as browser:
        for peer in (PROXY, "fd00::17"):
            async with browser(peer) as client:
                assert (await client.get("/review/log", headers=RITA)).status_code == 200
                assert (await client.get("/review/audit", headers=RITA)).status_code == 403
                token = await form_token_of(client)
                form = {"card": "none", "month": "2026-11"}
                assert (await client.post("/review/queue", data=form, headers=RITA)).status_code == 403
                answer = await client.post("/review/queue", data={**form, "form_token": token}, headers=RITA)
                assert (answer.status_code, "Choose a card" in answer.text) == (400, True)
        async with browser(PROXY) as client:
            assert (await client.get("/review/log", headers={"x-remote-user": "gast"})).status_code == 403
            assert (await client.get("/review/log")).status_code == 303  # the proxy lets people through whom it does not know
            assert (await client.get("/review/log", headers={**RITA, "x-remote-user": " "})).status_code == 303
    assert ("rita", "refused", "/review/audit") in audit_entries(folder)


async def form_token_of(client: httpx2.AsyncClient) -> str:
    client.headers.update(RITA)
    token = await form_token(client, "/queue")
    for name in RITA:
        del client.headers[name]
    return token


@pytest.mark.parametrize("peer", [ELSEWHERE, "10.0.0.70", "127.0.0.1", "fd01::1", "", "10.0.0.7.example"])
@pytest.mark.parametrize(
    "told",
    [{}, {"x-forwarded-for": PROXY}, {"forwarded": f"for={PROXY}"}, {"x-real-ip": PROXY}, {"x-forwarded-for": f"{PROXY}, ::1"}],
)
async def test_headers_of_anybody_else_are_dropped(folder: Path, peer: str, told: dict[str, str]) -> None:
    with a_site(folder, Clock(), access_file=folder / "access.toml") as browser:
        async with browser(peer) as client:
            assert (await client.get("/review/log", headers={**RITA, **told})).status_code == 303
            assert (await client.get("/review/log.json", headers={**RITA, **told})).status_code == 401


@pytest.mark.parametrize("twice", ["x-remote-user", "X-Remote-Groups"])
async def test_a_proxy_that_passes_on_the_headers_of_browsers_is_told_so(folder: Path, twice: str) -> None:
    """It adds its own behind those of the browser, so which of them is true is not known."""
    with a_site(folder, Clock(), access_file=folder / "access.toml") as browser:
        async with browser(PROXY) as client:
            headers = [(twice, "cds-audit"), *RITA.items()]
            answer = await client.get("/review/log", headers=headers)
            assert (answer.status_code, "has to remove them" in answer.text) == (403, True)


async def test_who_comes_with_other_capitals_is_the_same_person(folder: Path) -> None:
    """Else the two signatures of a change could be those of one."""
    with a_site(folder, Clock(), access_file=folder / "access.toml") as browser:
        async with browser(PROXY) as client:
            for name in ("rita", "RITA", "Rita"):
                await client.get("/review/audit", headers={**RITA, "x-remote-user": name})
    assert audit_entries(folder) == [("rita", "refused", "/review/audit")] * 3


async def test_a_local_account_and_a_person_of_the_proxy_never_share_a_name(folder: Path) -> None:
    with closing(review_database(folder)) as database:
        secret = add_person(database, "Rita", "auditor")
    with a_site(folder, Clock(), access_file=folder / "access.toml") as browser:
        async with browser(PROXY) as client:
            answer = await client.get("/review/log", headers=RITA)
            assert (answer.status_code, "belongs to another person" in answer.text) == (403, True)
            assert (await sign_in(client, "Rita", secret)).status_code == 303  # the admin of a site gets in beside the proxy
            assert (await client.get("/review/audit", headers=RITA)).status_code == 200


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_the_server_lets_no_header_change_the_address_of_the_peer(folder: Path) -> None:
    """The process as it is started; uvicorn would take X-Forwarded-For from this machine by itself."""
    with closing(review_database(folder)) as database:
        add_person(database, "Ada", "admin")
    port = free_port()
    environment = {
        "PATH": "/usr/bin:/bin",
        "CDS_LOG_PATH": str(folder / "alerts.sqlite3"),
        "CDS_ACCESS_FILE": str(folder / "access.toml"),
        "CDS_REVIEW_URL": "https://review.example",
        "FORWARDED_ALLOW_IPS": "*",
    }
    command = [sys.executable, "-m", "cds_service.cli.main", "review", "--profile", "production", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                _wait(client)
                headers = {**RITA, "x-forwarded-for": PROXY, "x-forwarded-proto": "https"}
                assert client.get("/review/log.json", headers=headers).status_code == 401
                assert client.get("/review/log", headers=headers).headers["location"].startswith("/review/sign-in?")
        finally:
            process.terminate()
            process.wait(20)


def _wait(client: httpx2.Client) -> None:
    for _ in range(200):
        try:
            if client.get("/health/live").status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the pages did not start")
