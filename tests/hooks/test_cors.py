"""Which browser pages may call and read responses, in each profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.http_side import call_body, running
from tests.tokens import DISCOVERY, a_client, bearer
from tests.trusting import NOW, app_with, callers

PATH, FEEDBACK_PATH = "/cds-services/cramps-order-sign", "/cds-services/cramps-order-sign/feedback"


LISTED = ["https://ehr.example", "https://ehr.example:8443", "https://sub.other.example"]
NOT_LISTED = [
    *(
        "https://ehr.example.",
        "https://ehr.example/",
        "https://ehr.example:443",
        "https://ehr.example:8444",
        "https://EHR.example",
    ),
    *("http://ehr.example", "https://ehr.example.attacker.example", "https://attackerehr.example", "https://attacker.example"),
    *("https://xn--ehr.example", "https://ehr.example@attacker.example", "https://attacker.example#ehr.example", "null", "*", ""),
    *("https://other.example", "https://a.sub.other.example", "https://sub.other.example:443", "https://sub-other.example"),
    *(
        "file://",
        "https://",
        "ehr.example",
        "https://ehr.example,https://attacker.example",
        "https://ehr.example https://a.example",
    ),
    *(
        "chrome-extension://abc",
        "https://ehr.example%00",
        "https://ehr.example%2eattacker.example",
        "https://ehr.exampleattacker",
    ),
    *("HTTPS://ehr.example", "https://ehr.example\t", "https://ehr.example;", "https://ehr_example", "https://ehrXexample"),
    *(
        "https://localhost",
        "http://localhost:8080",
        "http://127.0.0.1",
        "https://[::1]",
        "https://cds.example",
        "ws://ehr.example",
    ),
    *("wss://ehr.example", "https:///ehr.example", "https:ehr.example", "https://ehr.example:", "https://.ehr.example"),
    *("https://e.hr.example", "https://ehr.example:08443", "https://ehr.example:8443/", "blob:https://ehr.example", "data:"),
]


def production_app(folder: Path, *, origins: list[str] | None = LISTED) -> Any:
    known = callers(
        folder,
        a_client("a", origins=origins[:2] if origins else None),
        a_client("b", iss="https://b.example", origins=origins[2:] if origins else None),
    )
    return app_with(folder, known, profile="production")


async def preflight(client: httpx2.AsyncClient, path: str, origin: str, **headers: str) -> httpx2.Response:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    return await client.options(path, headers={"origin": origin, **asked, **headers})


def test_the_matrix_is_large_enough() -> None:
    assert len({*LISTED, *NOT_LISTED}) >= 50


async def test_listed_pages_may_call_and_read_also_errors_and_others_may_not(tmp_path: Path) -> None:
    async with running(production_app(tmp_path)) as client:
        for origin in (*LISTED, *NOT_LISTED):
            allowed = origin if origin in LISTED else None
            for path in ("/cds-services", "/cds-services/", PATH, FEEDBACK_PATH, "/cds-services/unknown"):
                asked = await preflight(client, path, origin)
                assert asked.headers.get("access-control-allow-origin") == allowed, origin
                assert (asked.status_code == 200) is (allowed is not None)
                assert "origin" in asked.headers["vary"].lower()
                listed = {one.strip().lower() for one in asked.headers["access-control-allow-headers"].split(",")}
                assert {"authorization", "content-type"} <= listed
                assert "*" not in (
                    asked.headers["access-control-allow-headers"],
                    asked.headers.get("access-control-allow-origin"),
                )
            answers = [
                await client.get("/cds-services", headers={"origin": origin}),
                await client.post(PATH, json=call_body("order-sign"), headers={"origin": origin, **bearer(now=NOW)}),
                await client.post(PATH, json={}, headers={"origin": origin}),
                await client.post(PATH, content=b"[", headers={"origin": origin, **bearer(now=NOW)}),
                await client.post("/cds-services/unknown", headers={"origin": origin, **bearer(f"{DISCOVERY}/unknown", now=NOW)}),
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 401, 400, 404]
            for answer in answers:
                assert answer.headers.get("access-control-allow-origin") == allowed, origin
                assert "access-control-allow-credentials" not in answer.headers
                assert answer.headers["vary"].lower().count("origin") == 1


async def test_pages_reach_nothing_else_and_caches_are_told_that_answers_vary(tmp_path: Path) -> None:
    async with running(production_app(tmp_path)) as client:
        for path in ("/health", "/docs", "/openapi.json", "/cds-servicesx", "/"):
            answer = await client.get(path, headers={"origin": LISTED[0]})
            assert "access-control-allow-origin" not in answer.headers, path
            assert (await preflight(client, path, LISTED[0])).status_code in (404, 405)
        assert (await client.get("/cds-services")).headers["vary"] == "Authorization, Origin"


@pytest.mark.parametrize("prefix", ["/proxied", ""])
async def test_listed_pages_may_call_below_the_path_of_a_proxy(tmp_path: Path, prefix: str) -> None:
    app = production_app(tmp_path)
    transport = httpx2.ASGITransport(app=app, root_path="/proxied")
    async with running(app), httpx2.AsyncClient(transport=transport, base_url="https://cds.example") as client:
        asked = await preflight(client, f"{prefix}{PATH}", LISTED[0])
        answer = await client.post(f"{prefix}{PATH}", json={}, headers={"origin": LISTED[0]})
        assert (asked.status_code, answer.status_code) == (200, 401)
        for one in (asked, answer):
            assert one.headers["access-control-allow-origin"] == LISTED[0]
        elsewhere = await client.get(f"{prefix}/health", headers={"origin": LISTED[0]})
        assert "access-control-allow-origin" not in elsewhere.headers


async def test_an_answer_to_a_refused_caller_is_the_same_from_every_page(tmp_path: Path) -> None:
    async with running(production_app(tmp_path)) as client:
        shapes = {
            tuple(sorted((await client.post(PATH, json={}, headers={"origin": one, "authorization": said})).headers.items()))
            for one in NOT_LISTED
            for said in ("", "Bearer x", *bearer(now=NOW - 9999).values())
        }
    assert len(shapes) == 1


async def test_where_no_client_lists_a_page_no_page_may_call(tmp_path: Path) -> None:
    async with running(production_app(tmp_path, origins=None)) as client:
        answer = await client.get("/cds-services", headers={"origin": "https://ehr.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert (await preflight(client, "/cds-services", "https://ehr.example")).status_code == 405


async def test_the_dev_profile_lets_any_page_call_also_with_a_registry(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path, a_client(origins=LISTED)))) as client:
        answer = await client.post(PATH, json={}, headers={"origin": "http://anything.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "*")


async def test_a_browser_may_ask_before_it_calls(app: FastAPI) -> None:
    headers = {
        "origin": "http://sandbox.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    async with running(app) as client:
        for path in ("/cds-services", PATH, f"{PATH}/feedback"):
            answer = await client.options(path, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["access-control-allow-private-network"] == "true"
            assert {"Authorization", "Content-Type"} <= set(answer.headers["access-control-allow-headers"].split(", "))


async def test_a_browser_may_read_answers_and_errors(app: FastAPI) -> None:
    headers = {"origin": "http://sandbox.example"}
    async with running(app) as client:
        answers = [
            await client.get("/cds-services", headers=headers),
            await client.post(PATH, json=call_body("order-sign"), headers=headers),
            await client.post(PATH, json={}, headers=headers),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert {answer.headers["access-control-allow-origin"] for answer in answers} == {"*"}
