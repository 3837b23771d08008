"""T2: what a token says, at and just beside every bound, at all three endpoints, through the application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.http_side import call_body, running
from tests.tokens import DISCOVERY, FEEDBACK, ISS, PUBLIC_URL, SERVICE, a_client, signed
from tests.trusting import NOW, app_with, callers, reason_in

EPIC, TENANTED = "https://epic.example/api/FHIR/R4", "https://shared.example"
URLS = {"discovery": DISCOVERY, "service": SERVICE, "feedback": FEEDBACK}
_ENDS = (-2, -1, 0, 1, 2)


class Case(NamedTuple):
    endpoint: str
    what: str
    changes: dict[str, Any]
    reason: str | None  # None: accepted


def _times() -> Iterator[tuple[str, dict[str, Any], str | None]]:
    at = int(NOW)
    for d in _ENDS:
        yield f"exp {d:+}", {"iat": at - 360 + d, "exp": at - 60 + d}, None if d > 0 else "expired"
        yield f"nbf {d:+}", {"nbf": at + 60 + d}, None if d <= 0 else "not_yet"
        yield f"iat {d:+}", {"iat": at + 60 + d, "exp": at + 200}, None if d <= 0 else "not_yet"
        yield f"life {d:+}", {"exp": at + 300 + d}, None if d <= 0 else "life"
        yield f"epic life {d:+}", {"iss": EPIC, "exp": at + 900 + d, "nbf": at - 300}, None if d <= 0 else "life"
    yield "half a second left", {"iat": at - 300, "exp": at - 59.5}, None
    yield "half a second late", {"iat": at - 300, "exp": at - 60.5}, "expired"
    yield "no life", {"exp": at}, "life"
    yield "less than no life", {"iat": at + 1, "exp": at}, "life"
    yield "tomorrow", {"iat": at + 86400, "exp": at + 86700}, "not_yet"
    yield "an hour and a second", {"exp": at + 3601}, "life"
    yield "nbf of long ago", {"nbf": 0}, None


def _audiences(endpoint: str, url: str) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    yield "aud in a list", {"aud": [url]}, None
    if endpoint == "discovery":
        yield "aud with a slash, as the path has it", {"aud": f"{url}/"}, None
    yield "aud in a list of several", {"aud": ["https://else.example", url]}, None
    for other in (
        *(one for name, one in URLS.items() if name != endpoint),
        *(PUBLIC_URL, f"{PUBLIC_URL}/", url.replace("https", "http"), url.replace("cds.example", "CDS.example")),
        *(url.replace("cds.example", "cds.example:443"), f"{url}?a=1", f"{url}#", url.upper(), f"{url}//", f" {url}"),
        *(
            url.replace("cds.example", "cds.example.attacker.example"),
            f"{DISCOVERY}/cramps-patient-view",
            "*",
            "http://cds.example",
        ),
    ):
        yield f"aud {other}", {"aud": other}, "audience"
    yield "no good one in a list", {"aud": ["https://else.example", PUBLIC_URL]}, "audience"
    for odd in ([], [[url]], {"aud": url}, 5, True, "", [url, 5], [url] * 21, url + "\x00"):
        yield f"aud {odd!r:.40}", {"aud": odd}, "not_a_token"
    yield "no aud", {"aud": None}, "not_a_token"


def _identities() -> Iterator[tuple[str, dict[str, Any], str | None]]:
    for other in (f"{ISS}/", ISS.upper(), ISS[:-1], f"{ISS}x", ISS.replace("https", "http"), f" {ISS}", "https://ehr.example"):
        yield f"iss {other}", {"iss": other}, "issuer"
    odd: Any
    for odd in (None, 5, [ISS], "", "\ud800"):
        yield f"iss {odd!r}", {"iss": odd}, "not_a_token"
    yield "tenant A", {"iss": TENANTED, "tenant": "A"}, None
    yield "tenant B", {"iss": TENANTED, "tenant": "B"}, None
    for other in ("C", "a", "A ", "AB"):
        yield f"tenant {other!r}", {"iss": TENANTED, "tenant": other}, "tenant"
    yield "no tenant", {"iss": TENANTED}, "tenant"
    yield "a tenant where none is registered", {"tenant": "A"}, "tenant"
    for odd in ("", 5, ["A"]):
        yield f"tenant {odd!r}", {"iss": TENANTED, "tenant": odd}, "not_a_token"
    for odd in (None, "", 5, ["x"], "x" * 513):
        yield f"jti {odd!r:.20}", {"jti": odd}, "not_a_token"
    for name in ("exp", "iat"):
        for odd in (None, "1800000000", True, [1], -1, 2.0**41):
            yield f"{name} {odd!r}", {name: odd}, "not_a_token"
    for odd in ("1800000000", True, [1], -1, 2.0**41):
        yield f"nbf {odd!r}", {"nbf": odd}, "not_a_token"


CASES = [
    Case(endpoint, *one)
    for endpoint, url in URLS.items()
    for one in (("good", {}, None), *_times(), *_audiences(endpoint, url), *_identities())
]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    known = callers(
        tmp_path,
        a_client(),
        a_client("epic", preset="epic", iss=EPIC, algorithms=["ES384"]),
        a_client("shared", iss=TENANTED, tenants=["A", "B"]),
    )
    async with running(app_with(tmp_path, known)) as one:
        yield one


async def ask(client: httpx2.AsyncClient, endpoint: str, headers: dict[str, str]) -> httpx2.Response:
    """A request of this endpoint that is good but for what `headers` say."""
    if endpoint == "discovery":
        return await client.get("/cds-services", headers=headers)
    body = call_body("order-sign") if endpoint == "service" else {"feedback": []}
    return await client.post(URLS[endpoint].removeprefix(PUBLIC_URL), json=body, headers=headers)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 200
    assert {case.reason for case in CASES} >= {None, "audience", "expired", "not_yet", "life", "issuer", "tenant"}


async def test_every_bound_is_where_it_should_be(client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "cds_service.trust")
    wrong = []
    for case in CASES:
        caplog.clear()
        token = signed(URLS[case.endpoint], now=NOW, **case.changes)
        answer = await ask(client, case.endpoint, {"authorization": f"Bearer {token}"})
        found = (answer.status_code, reason_in(caplog.text))
        if found != ((200, None) if case.reason is None else (401, case.reason)):
            wrong.append((case, found))
    assert wrong[:3] == []


async def test_audiences_of_a_client_replace_the_urls(tmp_path: Path) -> None:
    """Epic's sites type one `aud`, which is then the same for a service and its feedback."""
    fixed = "urn:our-cds-service"
    async with running(app_with(tmp_path, callers(tmp_path, a_client(audiences=[fixed, "other"])))) as client:
        for endpoint, url in URLS.items():
            good = await ask(client, endpoint, {"authorization": f"Bearer {signed(fixed, now=NOW)}"})
            bad = await ask(client, endpoint, {"authorization": f"Bearer {signed(url, now=NOW)}"})
            assert (good.status_code, bad.status_code) == (200, 401), endpoint


async def test_the_host_header_says_nothing_about_the_audience(client: httpx2.AsyncClient) -> None:
    token = signed("https://attacker.example/cds-services/cramps-order-sign", now=NOW)
    headers = {"authorization": f"Bearer {token}", "host": "attacker.example", "x-forwarded-host": "attacker.example"}
    assert (await ask(client, "service", headers)).status_code == 401
    headers["authorization"] = f"Bearer {signed(SERVICE, now=NOW)}"
    assert (await ask(client, "service", headers)).status_code == 200
