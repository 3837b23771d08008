"""Signing in at a real OpenID Connect provider (npm oidc-provider, on loopback): what goes well, and all that may go wrong."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from tests.access.people import URL, Clock, a_site, add_person, audit_entries, form_token, review_database, sign_in
from tests.bench.server import free_port
from tests.log_tables import make_sqlite_log
from tests.node_folder import installed

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

SOURCES = Path(__file__).with_name("provider")
CALLBACK = f"{URL}/review/sign-in/callback"
GROUPS = {
    "rita": ["cds-reviewers", "golf"],
    "otto": ["cds-audit"],
    "nora": ["cds-north", "cds-reviewers"],
    "gast": ["golf"],
    "Ada": ["cds-reviewers"],
    "=" * 70: ["cds-reviewers"],
}
ACCESS = """
[oidc]
issuer = "http://127.0.0.1:{port}"
client_id = "cramp-cds"
client_secret_file = "{secret}"
scope = "openid profile groups"

[[group]]
name = "cds-north"
roles = ["viewer"]
clients = ["https://ehr-a.example"]

[[group]]
name = "cds-reviewers"
roles = ["reviewer"]

[[group]]
name = "cds-audit"
roles = ["auditor"]
"""


@contextmanager
def running_provider(in_id_token: bool) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The provider; `in_id_token`: whether it tells groups there, or only when asked (userinfo)."""
    port = free_port()
    people = msgspec.json.encode(GROUPS).decode()
    command = ["node", "provider.mjs", str(port), CALLBACK, people, "yes" if in_id_token else "no"]
    with subprocess.Popen(
        command, cwd=installed(SOURCES), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield port, process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running_provider(in_id_token=True) as (found, _):
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty log with a local admin and the secret of the client."""
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    (tmp_path / "secret").write_text("the secret of the client\n")
    return tmp_path


def access_file(folder: Path, port: int) -> Path:
    path = folder / "access.toml"
    path.write_text(ACCESS.format(port=port, secret=folder / "secret"))
    return path


def at_the_provider(url: str, name: str) -> tuple[str, Clock]:
    """Sign in as a person does in a browser; return where the provider sends the browser back, and its clock."""
    with httpx2.Client(trust_env=False, timeout=10) as browser:
        answer = browser.get(url)
        for _ in range(10):
            location = answer.headers.get("location", "")
            if location.startswith(URL):
                return location, Clock(parsedate_to_datetime(answer.headers["date"]))
            if answer.is_redirect:
                answer = browser.get(answer.url.join(location))
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert form is not None, answer.text
            assert prompt is not None
            fields = {"prompt": prompt[1]} | ({"login": name, "password": "any"} if prompt[1] == "login" else {})
            answer = browser.post(answer.url.join(html.unescape(form[1])), data=fields)
    raise AssertionError("the provider sends nobody back")


async def begun(client: httpx2.AsyncClient, next_page: str = "") -> str:
    """Begin a sign-in; return the address at the provider."""
    answer = await client.get(f"/review/sign-in/provider?next={next_page}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def entered(client: httpx2.AsyncClient, name: str, clock: Clock, next_page: str = "") -> httpx2.Response:
    back, theirs = at_the_provider(await begun(client, next_page), name)
    assert abs(theirs.now - clock.now) < timedelta(minutes=2), "the provider's clock is the machine's"
    return await client.get(back)


def clock_of(port: int) -> Clock:
    """The provider's own clock, which its tokens are dated by."""
    answer = httpx2.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration", trust_env=False)
    return Clock(parsedate_to_datetime(answer.headers["date"]))


@pytest.fixture
def clock(port: int) -> Clock:
    return clock_of(port)


async def test_groups_of_the_provider_become_roles(folder: Path, port: int, clock: Clock) -> None:
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            page = await client.get("/review/sign-in?next=/review/log")
            assert 'href="/review/sign-in/provider?next=%2Freview%2Flog"' in page.text
            answer = await entered(client, "rita", clock, "/review/log")
            assert (answer.status_code, answer.headers["location"]) == (303, "/review/log")
            assert (await client.get("/review/log")).status_code == 200
            assert (await client.get("/review/audit")).status_code == 403
            assert "__Host-cds_sign_in" not in client.cookies
        async with browser() as client:
            await entered(client, "otto", clock)
            assert [(await client.get(f"/review/{one}")).status_code for one in ("audit", "log")] == [200, 403]
        async with browser() as client:  # the first group in the file says which clients; the other adds nothing
            await entered(client, "nora", clock)
            assert (await client.get("/review/log")).status_code == 200
            assert (await client.get("/review/queue")).status_code == 403
        async with browser() as client:
            await entered(client, "gast", clock)
            assert (await client.get("/review/log")).status_code == 403
    assert ("rita", "sign in", "oidc") in audit_entries(folder)
    assert ("gast", "refused", "/review/log") in audit_entries(folder)


async def test_groups_that_are_told_only_when_asked_become_roles(folder: Path) -> None:
    with running_provider(in_id_token=False) as (port, _):
        clock = clock_of(port)
        with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
            async with browser() as client:
                await entered(client, "rita", clock)
                assert (await client.get("/review/log")).status_code == 200


async def test_the_request_has_pkce_state_and_nonce_and_the_cookie_is_short(folder: Path, port: int, clock: Clock) -> None:
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            answer = await client.get("/review/sign-in/provider")
            query = parse_qs(urlsplit(answer.headers["location"]).query)
            assert query["code_challenge_method"] == ["S256"]
            assert query["redirect_uri"] == [CALLBACK]
            assert all(len(query[one][0]) >= 32 for one in ("code_challenge", "state", "nonce"))
            cookie = next(one for one in answer.headers.get_list("set-cookie") if "cds_sign_in" in one)
            assert re.fullmatch(r"__Host-cds_sign_in=[\w.-]+; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure", cookie)
            assert len(cookie) < 1000


async def test_a_replayed_or_strange_callback_is_400(folder: Path, port: int, clock: Clock) -> None:
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            back, _ = at_the_provider(await begun(client), "rita")
            kept = client.cookies["__Host-cds_sign_in"]
            state = parse_qs(urlsplit(back).query)["state"][0]
            strange = [
                back.replace(state, "another"),
                back.replace("state=", "elsewhere="),
                back.replace("iss=", "iss=https%3A%2F%2Fevil.example"),
                f"{CALLBACK}?state={state}&error=access_denied",
                f"{CALLBACK}?state={state}&code=guessed",
                CALLBACK,
            ]
            for address in strange:
                answer = await client.get(address)
                assert (answer.status_code, "Please sign in again" in answer.text) == (400, True), address
                assert not client.cookies.get("__Host-cds_session")
            async with browser() as other:  # in another browser
                assert (await other.get(back)).status_code == 400
            assert (await client.get(back)).status_code == 303
            again = await client.get(back)  # the cookie is gone
            assert (again.status_code, "No sign-in was begun" in again.text) == (400, True)
            client.cookies.set("__Host-cds_sign_in", kept, domain="review.example")
            again = await client.get(back)  # the code was used
            assert (again.status_code, "refused this sign-in" in again.text) == (400, True)
            client.cookies.set("__Host-cds_sign_in", kept[:-2] + "xx", domain="review.example")
            assert (await client.get(back)).status_code == 400


async def test_a_sign_in_that_took_too_long_is_400(folder: Path, port: int, clock: Clock) -> None:
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            back, _ = at_the_provider(await begun(client), "rita")
            clock.now += timedelta(minutes=11)
            answer = await client.get(back)
            assert (answer.status_code, "longer than 10 minutes" in answer.text) == (400, True)


async def test_a_name_of_another_is_not_given_away(folder: Path, port: int, clock: Clock) -> None:
    with closing(review_database(folder)) as database:
        add_person(database, "Ada", "admin")
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            answer = await entered(client, "Ada", clock)
            assert (answer.status_code, "belongs to another person" in answer.text) == (403, True)
            answer = await entered(client, "=" * 70, clock)
            assert (answer.status_code, "Give a name of 1 to 60 characters" in answer.text) == (403, True)


async def test_a_wrong_secret_is_told_and_no_500(folder: Path, port: int, clock: Clock) -> None:
    (folder / "secret").write_text("wrong")
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            assert (await entered(client, "rita", clock)).status_code == 400
            (folder / "secret").unlink()
            assert (await client.get("/review/sign-in/provider")).status_code == 503


async def test_while_the_provider_is_down_people_go_on_and_a_local_admin_gets_in(folder: Path) -> None:
    with closing(review_database(folder)) as database:
        secret = add_person(database, "Ada", "admin")
    with running_provider(True) as (port, process):
        clock = clock_of(port)
        with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
            async with browser() as client, browser() as late, browser() as admin, browser() as never:
                await entered(client, "rita", clock)
                back, _ = at_the_provider(await begun(late), "otto")
                process.kill()
                process.wait(10)
                assert (await client.get("/review/definitions")).status_code == 200
                answer = await late.get(back)
                assert (answer.status_code, "goes on working" in answer.text) == (503, True)
                clock.now += timedelta(minutes=20)
                assert (await client.get("/review/definitions")).status_code == 200
                clock.now += timedelta(hours=2)  # what is known of the provider is old by then
                answer = await never.get("/review/sign-in/provider")
                assert (answer.status_code, "a local account can sign in below" in answer.text) == (503, True)
                assert (await sign_in(admin, "Ada", secret, clock.now)).status_code == 303
                assert (await admin.get("/review/people")).status_code == 200
                assert (await client.get("/review/definitions")).status_code == 303  # the session has ended


async def test_a_sign_out_ends_our_session(folder: Path, port: int, clock: Clock) -> None:
    with a_site(folder, clock, access_file=access_file(folder, port)) as browser:
        async with browser() as client:
            await entered(client, "rita", clock)
            token = await form_token(client, "/sign-out")
            assert (await client.post("/review/sign-out", data={"form_token": token})).status_code == 303
            assert (await client.get("/review/definitions")).status_code == 303
