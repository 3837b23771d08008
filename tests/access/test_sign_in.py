"""Signing in with a local account: sessions end, codes are good once, forms are ours, no answer says who exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.access import passwords
from cds_service.access.accounts import AccountError, change_roles, disable, reset
from cds_service.access.passwords import PasswordError
from cds_service.database.sqlite import SqliteDatabase
from tests.access.people import PASSWORD, Clock, a_site, add_person, audit_entries, code, form_token, review_database, sign_in
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database
from tests.review.sample_log import NOW

SESSION = "__Host-cds_session"


class World:
    """An empty log with one reviewer, on one of the databases."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.url = url
        self.clock = Clock()
        self.database = review_database(folder, url)
        self.secret = add_person(self.database, "Rita", "reviewer")

    def site(self, **settings: object):  # type: ignore[no-untyped-def]
        database = {"log_database_url": self.url} if self.url else {}
        return a_site(self.folder, self.clock, **database, **settings)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    made = World(tmp_path)
    yield made
    made.database.close()


async def signed_in(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/review/definitions")).status_code == 200


async def test_a_session_begins_with_password_and_code(world: World) -> None:
    with world.site() as browser:
        async with browser() as client:
            first = await client.get("/review/log?days=7")
            assert (first.status_code, first.headers["location"]) == (303, "/review/sign-in?next=%2Freview%2Flog%3Fdays%3D7")
            answer = await sign_in(client, "Rita", world.secret, next="/review/definitions")
            assert (answer.status_code, answer.headers["location"]) == (303, "/review/definitions")
            cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(SESSION))
            assert re.fullmatch(rf"{SESSION}=[\w-]{{43}}; HttpOnly; Path=/; SameSite=lax; Secure", cookie)
            page = await client.get("/review/definitions")
            assert "Rita" in page.text
        async with browser() as other:
            assert not await signed_in(other)
    token = cookie.partition("=")[2].partition(";")[0].encode()
    row = world.database.one("SELECT id FROM review.session")
    assert row is not None
    assert token not in bytes(row["id"])
    assert ("Rita", "sign in", "local") in audit_entries(world.folder, world.url)


async def test_a_program_that_has_not_signed_in_is_told_so(world: World) -> None:
    with world.site() as browser:
        async with browser() as client:
            answers = [await client.get(f"/review/log.{ending}") for ending in ("json", "csv")]
            answers.append(await client.post("/review/log"))
    assert [one.status_code for one in answers] == [401, 401, 401]


@pytest.mark.parametrize(
    ("later", "still"),
    [
        ([timedelta(minutes=29)], True),
        ([timedelta(minutes=30)], False),
        ([timedelta(minutes=29)] * 24, True),  # used again and again
        ([timedelta(minutes=29)] * 25, False),  # but not for longer than twelve hours
    ],
)
async def test_a_session_ends_when_it_is_idle_and_after_twelve_hours(world: World, later: list[timedelta], still: bool) -> None:
    with world.site() as browser:
        async with browser() as client:
            await sign_in(client, "Rita", world.secret)
            for step in later[:-1]:
                world.clock.now += step
                assert await signed_in(client)
            world.clock.now += later[-1]
            assert await signed_in(client) == still


async def test_signing_out_ends_the_session_on_the_server(world: World) -> None:
    with world.site() as browser:
        async with browser() as client:
            await sign_in(client, "Rita", world.secret)
            kept = dict(client.cookies)
            token = await form_token(client, "/sign-out")
            assert (await client.post("/review/sign-out", data={"form_token": token})).status_code == 303
        async with browser() as thief:
            thief.cookies.update(kept)
            assert not await signed_in(thief)


@pytest.mark.parametrize("change", ["roles", "disable", "reset"])
async def test_a_change_of_the_account_ends_its_sessions(world: World, change: str) -> None:
    with world.site() as browser:
        async with browser() as client:
            await sign_in(client, "Rita", world.secret)
            assert await signed_in(client)
            match change:
                case "roles":
                    change_roles(world.database, "Rita", ["viewer"], None, None)
                case "disable":
                    disable(world.database, "Rita")
                case _:
                    reset(world.database, "Rita", "another long password")
            assert not await signed_in(client)


async def test_a_code_is_good_once(world: World) -> None:
    with world.site() as browser:
        async with browser() as client, browser() as other:
            assert (await sign_in(client, "Rita", world.secret)).status_code == 303
            again = await sign_in(other, "Rita", world.secret)
            assert again.status_code == 403
            world.clock.now += timedelta(seconds=30)
            assert (await sign_in(other, "Rita", world.secret, world.clock.now)).status_code == 303


@pytest.mark.parametrize(("seconds", "status"), [(-60, 403), (-30, 303), (30, 303), (60, 403)])
async def test_a_clock_may_be_wrong_by_one_step(world: World, seconds: int, status: int) -> None:
    with world.site() as browser:
        async with browser() as client:
            answer = await sign_in(client, "Rita", world.secret, NOW + timedelta(seconds=seconds))
            assert answer.status_code == status


@pytest.mark.parametrize("wrong", [{"name": "Rito"}, {"password": "incorrect horse"}, {"code": "000000"}, {"code": "é"}])
async def test_whatever_is_wrong_the_answer_is_the_same(world: World, wrong: dict[str, str]) -> None:
    with world.site() as browser:
        async with browser() as client:
            answer = await sign_in(client, "Rita", world.secret, **wrong)
            assert answer.status_code == 403
            assert "Name, password or code is wrong" in answer.text
            assert PASSWORD not in answer.text
    assert audit_entries(world.folder, world.url)[-1][1:] == ("sign in refused", "local")


async def test_whatever_is_wrong_the_same_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fetch, execute, matches = SqliteDatabase._fetch, SqliteDatabase._execute, passwords.matches

    def fetching(self: SqliteDatabase, sql: str, parameters: Any) -> Any:
        done.append(sql)
        return fetch(self, sql, parameters)

    def executing(self: SqliteDatabase, sql: str, parameters: Any) -> int:
        done.append(sql)
        return execute(self, sql, parameters)

    def matching(password: str, known: str | None) -> bool:
        done.append("hash")
        return matches(password, known)

    add_person(world.database, "Dora", "viewer")
    disable(world.database, "Dora")
    seen = {}
    with world.site() as browser:
        async with browser() as client:
            await form_token(client, "/sign-in")
            monkeypatch.setattr(SqliteDatabase, "_fetch", fetching)
            monkeypatch.setattr(SqliteDatabase, "_execute", executing)
            monkeypatch.setattr("cds_service.access.local_sign_in.matches", matching)
            wrongs = ({"name": "Nobody"}, {"password": "wrong password"}, {"code": "000000"}, {"name": "Dora"})
            for wrong in (wrongs[0], *wrongs):  # the first one opens connections
                token = await form_token(client, "/sign-in")
                fields = {"name": "Rita", "password": PASSWORD, "code": code(world.secret), "form_token": token, **wrong}
                done.clear()
                assert (await client.post("/review/sign-in", data=fields)).status_code == 403
                seen[str(wrong)] = list(done)
    assert len(seen) == 4
    first = next(iter(seen.values()))
    assert first.count("hash") == 1
    assert all(one == first for one in seen.values())


@pytest.mark.parametrize("name", ["Rita", "Nobody"])
async def test_after_five_tries_under_a_name_further_ones_wait(world: World, name: str) -> None:
    with world.site() as browser:
        async with browser() as client:
            for _ in range(5):
                answer = await sign_in(client, name, world.secret, password="wrong password")
                assert "is wrong" in answer.text
            waits = []
            for _ in range(8):
                answer = await sign_in(client, name, world.secret)
                assert answer.status_code == 403
                said = re.search(r"please wait (\d+) seconds", answer.text)
                assert said is not None
                waits.append(int(said[1]))
                world.clock.now += timedelta(seconds=waits[-1])
                await sign_in(client, name, world.secret, world.clock.now, password="wrong password")
            assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
            world.clock.now += timedelta(seconds=900)
            right = await sign_in(client, name, world.secret, world.clock.now)
            assert right.status_code == (303 if name == "Rita" else 403)


@pytest.mark.parametrize("token", [None, "", "0" * 48])
@pytest.mark.parametrize("path", ["/sign-in", "/log"])
async def test_a_form_without_its_token_is_refused(world: World, token: str | None, path: str) -> None:
    with world.site() as browser:
        async with browser() as client:
            await sign_in(client, "Rita", world.secret)
            answer = await client.post(f"/review{path}", data={} if token is None else {"form_token": token})
            assert answer.status_code == 403
            assert "no longer good" in answer.text


async def test_the_token_of_another_browser_or_session_is_no_good(world: World) -> None:
    with world.site() as browser:
        async with browser() as client, browser() as other:
            stolen = await form_token(other, "/sign-in")
            before = await form_token(client, "/sign-in")
            await sign_in(client, "Rita", world.secret)
            for token in (stolen, before):
                assert (await client.post("/review/sign-out", data={"form_token": token})).status_code == 403


@pytest.mark.parametrize(
    "page",
    [
        "//evil.example",
        "https://evil.example",
        "/review/\\evil.example",
        "/reviewer",
        "/review\n",
        "/review/sign-out",
        "/elsewhere",
    ],
)
async def test_the_page_to_go_on_with_is_one_of_ours(world: World, page: str) -> None:
    with world.site() as browser:
        async with browser() as client:
            answer = await sign_in(client, "Rita", world.secret, next=page)
            assert answer.headers["location"] == "/review"


def test_a_password_that_is_easily_guessed_is_refused(world: World) -> None:
    for password in ("short", "aaaaaaaaaaaaaaaa", "my name is Rita", "x" * 300):
        with pytest.raises(PasswordError):
            reset(world.database, "Rita", password)


def test_an_account_that_is_there_or_not_there_is_said(world: World) -> None:
    with pytest.raises(AccountError, match="There is an account Rita already"):
        add_person(world.database, "Rita", "viewer")
    with pytest.raises(AccountError, match="There is no account Nobody"):
        disable(world.database, "Nobody")
    with pytest.raises(AccountError, match="needs a role"):
        add_person(world.database, "Zoë")


async def test_every_answer_has_the_protecting_headers(world: World) -> None:
    with world.site() as browser:
        async with browser() as client:
            for path in ("/review", "/review/sign-in", "/review/log.json", "/review/nowhere", "/review/static/review.css"):
                headers = (await client.get(path)).headers
                assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self'")
                assert "frame-ancestors 'none'" in headers["content-security-policy"]
                assert headers["cache-control"] == "no-store"
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.loopback
async def test_the_same_holds_on_postgres(tmp_path: Path) -> None:
    with postgres_database() as url:
        make_postgres_log(url)
        world = World(tmp_path, url)
        with world.site() as browser:
            async with browser() as client:
                assert (await sign_in(client, "Rita", world.secret)).status_code == 303
                assert await signed_in(client)
                assert (await sign_in(client, "Rita", world.secret)).status_code == 403  # the code was used
                change_roles(world.database, "Rita", ["viewer", "reviewer"], ["north"], None)
                assert not await signed_in(client)
                world.clock.now += timedelta(minutes=1)
                assert (await sign_in(client, "Rita", world.secret, world.clock.now)).status_code == 303
                token = await form_token(client, "/sign-out")
                await client.post("/review/sign-out", data={"form_token": token})
                assert not await signed_in(client)
                for _ in range(5):
                    await sign_in(client, "Rita", world.secret, password="wrong password")
                assert "please wait 30 seconds" in (await sign_in(client, "Rita", world.secret)).text
        actions = [action for _, action, _ in audit_entries(tmp_path, url)]
        assert actions == ["sign in", "sign in refused", "sign in", "sign out", *["sign in refused"] * 6]
        world.database.close()
