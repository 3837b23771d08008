"""Who may call what: discovery, hooks, tenants and feedback, through the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.alert_log import tenant_secret
from cds_service.app import create_app
from cds_service.trust import Caller
from tests.alert_log_samples import a_call, a_card, a_key, a_uuid, rows
from tests.core import NOW as CORE_NOW
from tests.core import a_runtime
from tests.exported_log import call_rows
from tests.http_side import Stub, call_body, new_test_app, running
from tests.tokens import DISCOVERY, FEEDBACK, ISS, PUBLIC_URL, SERVICE, a_client, bearer, key_set, public_jwk, write_registry
from tests.trusting import NOW, app_with, callers

PATH, FEEDBACK_PATH = "/cds-services/cramps-order-sign", "/cds-services/cramps-order-sign/feedback"
SHARED = "https://shared.example"


def feedback(*uuids: str, outcome: str = "accepted") -> dict[str, Any]:
    return {"feedback": [{"card": one, "outcome": outcome, "outcomeTimestamp": "2027-01-15T08:00:00Z"} for one in uuids]}


# Discovery


async def test_discovery_answers_without_a_token_and_says_when_one_that_is_sent_is_bad(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        assert (await client.get("/cds-services")).status_code == 200
        headers = bearer(DISCOVERY, now=NOW)
        for _ in range(3):  # it asks no database, so a token may be used again here, and here only
            assert (await client.get("/cds-services", headers=headers)).status_code == 200
        for bad in (bearer(SERVICE, now=NOW), bearer(DISCOVERY, now=NOW - 1000), {"authorization": "Basic x"}):
            answer = await client.get("/cds-services", headers=bad)
            assert (answer.status_code, answer.content) == (401, b"")
        assert (await client.get("/cds-services/", headers=bearer(f"{DISCOVERY}/", now=NOW))).status_code == 200


async def test_a_token_seen_at_discovery_is_no_second_ticket(tmp_path: Path) -> None:
    """With a fixed audience one token opens every door, each but discovery once, and all of them together once."""
    known = callers(tmp_path, a_client(audiences=["fixed"]))
    async with running(app_with(tmp_path, known)) as client:
        headers = bearer("fixed", now=NOW)
        assert (await client.get("/cds-services", headers=headers)).status_code == 200
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 200
        assert (await client.post(FEEDBACK_PATH, json=feedback("c"), headers=headers)).status_code == 401


async def test_a_site_may_want_tokens_at_discovery_too(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path), discovery="verified")) as client:
        headers = bearer(DISCOVERY, now=NOW)
        assert (await client.get("/cds-services")).status_code == 401
        assert (await client.get("/cds-services", headers=headers)).status_code == 200
        assert (await client.get("/cds-services", headers=headers)).status_code == 401
        assert (await client.get("/health")).status_code == 200


async def test_discovery_asks_for_what_is_referred_to_only_of_a_client_that_says_that_its_ehr_can(tmp_path: Path) -> None:
    def including(answer: httpx2.Response) -> set[str]:
        services = answer.json()["services"]
        return {key for one in services for key, template in one.get("prefetch", {}).items() if "_include=" in template}

    for supports, keys in ((True, {"statements", "prescriptions"}), (False, set())):
        runtime = msgspec.structs.replace(
            a_runtime(tmp_path), callers=callers(tmp_path, a_client(supports_include=supports, audiences=["fixed"]))
        )
        async with running(create_app(runtime.settings, runtime=runtime)) as client:
            plain = await client.get("/cds-services")
            known = await client.get("/cds-services", headers=bearer("fixed", now=NOW))
            assert (including(plain), including(known)) == (set(), keys)
            assert (plain.headers["etag"] == known.headers["etag"]) is not supports
            assert (await client.get("/cds-services", headers={"if-none-match": known.headers["etag"]})).status_code == (
                200 if supports else 304
            )


# Services


async def test_the_caller_reaches_the_call_with_its_tenant_and_what_is_registered(tmp_path: Path) -> None:
    stub = Stub()
    known = callers(
        tmp_path, a_client(preset="epic", algorithms=["ES384"], tenants=["A"], deadline_ms=700, fhir_bases=[f"{ISS}/"])
    )
    async with running(app_with(tmp_path, known, stub)) as client:
        assert (await client.post(PATH, json=call_body("order-sign"), headers=bearer(now=NOW, tenant="A"))).status_code == 200
    [base] = stub.calls[0].caller.fhir_bases or ()
    assert (base.url, base.private) == (ISS, False)
    assert stub.calls[0].caller == Caller("ehr", "A", "epic", (base,), 700, clock_offset_ms=0)


async def test_nothing_is_read_for_who_is_not_accepted(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        app: Any = client._transport
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("the body was read")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "http_version": "1.1"}
        await app.app({**scope, "raw_path": PATH.encode(), "root_path": "", "scheme": "https"}, receive, send)
    assert sent[0]["status"] == 401


async def test_a_hook_that_is_not_registered_gets_the_same_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(app_with(tmp_path, callers(tmp_path, a_client(hooks=["patient-view"])))) as client:
        good = bearer(SERVICE.replace("order-sign", "patient-view"), now=NOW)
        assert (await client.post("/cds-services/cramps-patient-view", json=call_body(), headers=good)).status_code == 200
        for path, url in ((PATH, SERVICE), (FEEDBACK_PATH, FEEDBACK)):
            answer = await client.post(path, json=call_body("order-sign"), headers=bearer(url, now=NOW))
            assert (answer.status_code, answer.content) == (401, b"")
    assert caplog.text.count("why=hook client=ehr") == 2


async def test_who_is_not_accepted_is_not_told_which_services_there_are(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        for path in ("/cds-services/unknown", "/cds-services/unknown/feedback"):
            assert (await client.post(path, json={})).status_code == 401
            answer = await client.post(path, json={}, headers=bearer(f"{PUBLIC_URL}{path}", now=NOW))
            assert answer.status_code == 404


async def test_without_a_registry_tokens_are_not_looked_at(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        for headers in ({}, {"authorization": "Bearer nonsense"}, bearer("https://else.example", now=NOW)):
            assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 200
            assert (await client.get("/cds-services", headers=headers)).status_code == 200


async def test_the_registry_of_the_settings_is_used_with_its_file_of_used_tokens(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub(), clients_file=write_registry(tmp_path), public_url=PUBLIC_URL)
    async with running(app) as client:
        headers = bearer(now=CORE_NOW.timestamp())
        answers = [(await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code for _ in range(3)]
        assert answers == [200, 401, 401]
        assert (await client.get("/health")).json()["callers"] == {
            "verified": True,
            "clients": 1,
            "keys_stale": 0,
            "keys_missing": 0,
            "degraded_auth": False,
        }
    assert rows(tmp_path / "used_tokens.sqlite3", "SELECT count(*) FROM used_token") == [1]
    async with running(
        new_test_app(tmp_path, Stub(), clients_file=tmp_path / "clients.toml", public_url=PUBLIC_URL)[0]
    ) as client:
        assert (await client.post(PATH, json=call_body("order-sign"), headers=headers)).status_code == 401  # also after a restart


# Identities are not mixed up


async def test_a_token_speaks_for_one_client_and_one_tenant(tmp_path: Path) -> None:
    """500 tokens over clients, tenants and keys: accepted where all three belong together and refused everywhere else."""
    own = {name: key_set(public_jwk(f"key-{name}")) for name in ("a", "b", "c")}
    stub = Stub()
    known = callers(
        tmp_path,
        a_client("a", iss=SHARED, tenants=["A1", "A2"], jwks=own["a"]),
        a_client("b", iss=SHARED, tenants=["B1"], jwks=own["b"]),
        a_client("c", iss="https://c.example", jwks=own["c"]),
    )
    belongs = {(SHARED, "A1"): "a", (SHARED, "A2"): "a", (SHARED, "B1"): "b", ("https://c.example", None): "c"}
    asked, let_in = 0, []
    async with running(app_with(tmp_path, known, stub)) as client:
        for _ in range(5):
            for iss in (SHARED, "https://c.example", "https://d.example", f"{SHARED}/", SHARED.upper()):
                for tenant in ("A1", "A2", "B1", "C1", "a1", None, "A1,B1", "A1 B1"):
                    for name in own:
                        asked += 1
                        headers = bearer(now=NOW, iss=iss, tenant=tenant, kid=f"key-{name}")
                        answer = await client.post(PATH, json=call_body("order-sign"), headers=headers)
                        if answer.status_code == 200:
                            let_in.append((stub.calls[-1].caller.client, belongs.get((iss, tenant)), name))
                        else:
                            assert (answer.status_code, answer.content) == (401, b"")
    assert asked >= 500
    assert len(let_in) == 5 * len(belongs)
    assert all(client == owner == name for client, owner, name in let_in)


@pytest.mark.parametrize("server", [ISS, None])
async def test_clients_and_tenants_never_share_the_key_of_a_patient(tmp_path: Path, server: str | None) -> None:
    tenants = ["A", "B"]
    known = callers(
        tmp_path,
        a_client("shared", iss=SHARED, tenants=tenants),
        a_client("other", iss="https://other.example", tenants=tenants),
        a_client("plain", iss="https://plain.example"),
        a_client("simple", iss="https://simple.example"),
    )
    runtime = a_runtime(tmp_path, callers=known, public_url=PUBLIC_URL)
    anonymous = a_runtime(tmp_path / "anonymous")
    service = runtime.knowledge.services[0]
    body = call_body(service.hook, prefetch=dict.fromkeys(service.prefetch), fhirServer=server)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for iss, tenant in (
            *((SHARED, "A"), (SHARED, "B"), ("https://other.example", "A")),
            *(("https://plain.example", None), ("https://simple.example", None)),
        ):
            url = f"{DISCOVERY}/{service.id}"
            headers = bearer(url, now=NOW, iss=iss, tenant=tenant)
            assert (await client.post(f"/cds-services/{service.id}", json=body, headers=headers)).status_code == 200
    async with running(create_app(anonymous.settings, runtime=anonymous)) as client:
        assert (await client.post(f"/cds-services/{service.id}", json=body)).status_code == 200
    logged = rows(tmp_path / "alerts.sqlite3", "SELECT client, tenant, patient_key, user_key FROM call ORDER BY seq")
    before = rows(tmp_path / "anonymous" / "alerts.sqlite3", "SELECT client, tenant, patient_key, user_key FROM call")
    assert [one[:2] for one in logged] == [("shared", "A"), ("shared", "B"), ("other", "A"), ("plain", ""), ("simple", "")]
    assert len({one[2] for one in [*logged, *before]}) == len({one[3] for one in [*logged, *before]}) == 6


def test_the_secret_of_a_tenant_is_its_own() -> None:
    secret = bytes(range(32))
    pairs = (("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "b"), ("a", ""), ("b", ""))
    made = {secret, *(tenant_secret(secret, client, tenant) for client, tenant in pairs)}
    assert len(made) == 7
    assert tenant_secret(bytes(32), "a", "b") not in made


# Feedback speaks for its own client's cards


async def test_feedback_of_one_client_says_nothing_about_cards_of_another(tmp_path: Path) -> None:
    known = callers(tmp_path, a_client("a"), a_client("b", iss="https://b.example"))
    app, runtime = new_test_app(tmp_path, Stub(), callers=known, public_url=PUBLIC_URL)
    async with running(app) as client:
        await runtime.alert_log.append(a_call(a_card("u1"), client="a"))
        await runtime.alert_log.append(a_call(a_card("u1"), client="b"))
        for iss, outcome in ((ISS, "accepted"), ("https://b.example", "overridden"), (ISS, "accepted")):
            headers = bearer(FEEDBACK, now=NOW, iss=iss)
            answer = await client.post(FEEDBACK_PATH, json=feedback("u1", outcome=outcome), headers=headers)
            assert answer.json() == {"received": 1}
        headers = bearer(FEEDBACK, now=NOW, iss="https://b.example")
        assert (await client.post(FEEDBACK_PATH, json=feedback("only-of-a"), headers=headers)).status_code == 200
        since = {"quinine-avoid": a_call().received_at}
        prior = {one: (await runtime.alert_log.prior_cards(a_key("patient"), one, since, ()))[0].answered for one in ("a", "b")}
        assert prior == {"a": "accepted", "b": "overridden"}
    found = exported(tmp_path)
    assert [(row["client"], [one["outcome"] for one in row["cards"][0]["feedback"]]) for row in found[:2]] == [
        ("a", ["accepted", "accepted"]),
        ("b", ["overridden"]),
    ]
    assert [(row["cardUuid"], row["client"]) for row in found[2:]] == [(a_uuid("only-of-a"), "b")]


async def test_feedback_of_one_tenant_says_nothing_about_cards_of_another(tmp_path: Path) -> None:
    known = callers(tmp_path, a_client("a", tenants=["A", "B"]))
    app, runtime = new_test_app(tmp_path, Stub(), callers=known, public_url=PUBLIC_URL)
    async with running(app) as client:
        await runtime.alert_log.append(a_call(a_card("u1"), client="a", tenant="A"))
        headers = bearer(FEEDBACK, now=NOW, tenant="B")
        assert (await client.post(FEEDBACK_PATH, json=feedback("u1"), headers=headers)).status_code == 200
        since = {"quinine-avoid": a_call().received_at}
        assert [one.answered for one in await runtime.alert_log.prior_cards(a_key("patient"), "a", since, ())] == [""]
    call, orphan = exported(tmp_path)
    assert (call["tenant"], call["cards"][0]["feedback"], orphan["tenant"]) == ("A", [], "B")


def exported(folder: Path) -> list[dict[str, Any]]:
    return call_rows(folder / "alerts.sqlite3")
