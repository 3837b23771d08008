"""Each promise of what happens when something is missing, kept by the whole service with its real log; see `promises`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.telemetry import call_counts
from cds_service.telemetry.metrics import REGISTRY
from cds_service.trust.caller import Callers
from cds_service.trust.callers import UnverifiedCallers
from tests.alert_log_samples import rows
from tests.conformance import discovery_problems, problems
from tests.core import Json, a_runtime
from tests.http_side import SameCaller, TransportClient, running
from tests.promises import FEEDBACK, ROWS, SIGN, Row, Site
from tests.tokens import JKU, PUBLIC_URL, key_set
from tests.trusting import Clock, KeyServer, Memory, callers
from tests.unwritable_log import make_writable


def counter(row: Row) -> float:
    call_counts.flush()
    return REGISTRY.get_sample_value(row.counted[0], row.counted[1]) or 0.0


async def tried(row: Row, folder: Path, patch: pytest.MonkeyPatch) -> tuple[httpx2.Response, float]:
    """The answer to a row, and by how much its counter moved until the service had ended."""
    asked: list[str] = []
    was_asked = asyncio.Event()
    clock, memory, keys = Clock(), Memory(), KeyServer(**{JKU: key_set()})

    def ehr(request: httpx2.Request) -> Any:
        asked.append(request.url.path)
        was_asked.set()
        return row.fhir(request) if row.fhir is not None else httpx2.Response(500)

    who: Callers = SameCaller(row.caller) if row.caller is not None else UnverifiedCallers()
    if row.clients:
        who = callers(folder, *row.clients, clock=clock, memory=memory, server=keys, **row.settings)
    if row.before is not None:
        row.before(folder)
    made = a_runtime(folder, callers=who, **{"public_url": PUBLIC_URL} | row.settings)
    runtime = msgspec.structs.replace(made, http=TransportClient(httpx2.MockTransport(ehr)))
    before = counter(row)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        site = Site(runtime, client, patch, asked, was_asked, memory, keys, clock)
        if row.arrange is not None:
            row.arrange(site)
        answer = await (row.send(site) if row.send is not None else client.post(SIGN, json=row.request))
        if row.before is not None:
            make_writable(runtime.settings.log_path)  # the disk is back, and nothing is lost
    if row.then == "at most five pages":
        assert len(asked) == 4  # the first was sent
    return answer, counter(row) - before


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_a_promise_is_kept(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, moved = await tried(row, tmp_path, monkeypatch)
    assert answer.status_code == row.status, answer.text
    assert {name: answer.headers.get(name) for name in row.headers} == row.headers
    assert not any(secret in answer.text for secret in ("secret", "SECRET", "somebody-else", "t0ken"))
    if row.status == 200:
        _check_success(row, answer.json())
    elif row.status == 401:
        assert (answer.content, answer.headers["www-authenticate"]) == (b"", "Bearer")
    else:
        _check_outcome(row, answer.json())
    _check_log(row, tmp_path / "alerts.sqlite3")
    if row.counted[0]:
        assert moved >= 1, f"{row.counted} did not move"


def _check_success(row: Row, body: Json) -> None:
    if row.cards is None:
        assert "cards" not in body
        assert discovery_problems(body) == [] if "services" in body else body == {"received": len(FEEDBACK["feedback"])}
        return
    assert problems(body, row.request) == []
    assert tuple(card["source"]["topic"]["code"] for card in body["cards"]) == row.cards
    for card in body["cards"]:
        if card["source"]["topic"]["code"] == "not-checked":  # never "safe", never red
            assert card["indicator"] == "info"
            assert "safe" not in (card["summary"] + card["detail"]).lower()
            assert card["summary"].startswith("Not checked: ")
            assert card.keys() >= {"uuid", "detail"}
            assert card.keys().isdisjoint({"overrideReasons", "suggestions"})
            assert [words for words in row.says if words not in card["detail"]] == []
    assert "not-checked" in row.cards or not row.says


def _check_outcome(row: Row, body: Json) -> None:
    assert body.keys() == {"resourceType", "issue"}
    (issue,) = body["issue"]
    assert (body["resourceType"], issue["severity"]) == ("OperationOutcome", "error")
    assert issue["diagnostics"].startswith("trace ")
    assert [words for words in row.says if words not in issue["details"]["text"]] == []


def _check_log(row: Row, path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        assert row.logged is None
        return
    calls = rows(path, "SELECT status, outcome, sources, evaluations FROM call ORDER BY seq DESC LIMIT 1")
    call: Any = calls[0] if calls else None
    cards = rows(path, "SELECT card FROM card WHERE call_seq = (SELECT max(seq) FROM call) AND mode = 'live' AND state = 'shown'")
    assert (call[:2] if call else None) == row.logged
    assert tuple(cards) == (row.cards or ())
    if row.source is not None:
        key, *expected = row.source
        state = msgspec.json.decode(call[2])["states"][key]
        assert [state["state"], state["origin"]] == expected
    if row.decided is not None:
        decided = [(one["card"], one["outcome"]) for one in msgspec.json.decode(call[3]) if one["card"] != "*"]
        assert row.decided in decided
    if row.line == "Feedback for unknown card uuid":
        assert rows(path, "SELECT card_uuid FROM feedback") == [FEEDBACK["feedback"][0]["card"]]


LINES = """Order not covered by any rule|Checked, no issue|Required key absent, FHIR access allowed|
Absent, no fhirAuthorization or fetch refused|Some rules have their data, others not|Key null, or searchset complete and empty|
Key is OperationOutcome|Bundle has next|Datum stale, wrong unit, implausible, unparseable|Subject mismatch in prefetch|
Subject mismatch in draftOrders|FHIR slow or down|One rule crashes|All rules or the engine crash|Log DB down|
DB and spool unwritable|jti store down|JWKS unreachable|Bad or missing JWT, unknown issuer|Malformed or invalid CDS Hooks JSON|
Unknown service id|Overload|Feedback for unknown card uuid|Discovery""".replace("\n", "").split("|")


def test_every_line_has_its_rows() -> None:
    assert list(dict.fromkeys(row.line for row in ROWS)) == LINES
    assert len({row.name for row in ROWS}) == len(ROWS)
