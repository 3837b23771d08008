"""What a site chose for bad moments: an engine that breaks, a log that can't be written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.alert_log.records import Record
from cds_service.alert_log.store import Store
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.files.paths import cards_dir
from cds_service.knowledge.approvals import shadow_rule
from cds_service.knowledge.loader import read_knowledge
from tests.alert_log_samples import rows
from tests.core import NOW, a_runtime, break_every_card, knowledge
from tests.http_side import running
from tests.reading import terminology
from tests.unwritable_log import make_unwritable, make_writable

QUININE = "order: quinine 300 mg, for leg cramps"


async def signed(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/cds-services/cramp-care-order-sign", json=request_from_case([QUININE], "order-sign", NOW))


async def test_a_site_that_must_log_gets_no_card_that_is_not_logged(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, log_required=True)
    path = runtime.settings.log_path
    make_unwritable(path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        refused = await signed(client)
        make_writable(path)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if (answered := await signed(client)).status_code == 200:
                break
    assert refused.status_code == 503
    assert refused.json()["issue"][0]["code"] == "transient"
    assert [card["source"]["topic"]["code"] for card in answered.json()["cards"]] == ["quinine-avoid"]
    logged = rows(path, "SELECT status, outcome, (SELECT count(*) FROM card WHERE call_seq = call.seq) FROM call ORDER BY seq")
    assert logged[0] == (503, "log_unavailable", 0), "what nobody saw is not logged as shown"
    assert logged[-1] == (200, "fired", 1)


def _broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


@pytest.mark.parametrize("part", ["read_chart", "judge", "choose"])
async def test_an_engine_that_breaks_is_answered_with_500_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    monkeypatch.setattr(f"cds_service.evaluate.{part}", _broken)
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer, health = await signed(client), (await client.get("/health")).json()
    assert (answer.status_code, answer.json()["resourceType"]) == (500, "OperationOutcome")
    assert "SECRET" not in answer.text + caplog.text
    assert rows(runtime.settings.log_path, "SELECT status, outcome FROM call") == [(500, "failed")]
    assert health["status"] == "degraded"
    assert "engine_failed error=ZeroDivisionError place=test_engine_and_log_failures.py" in caplog.text


@pytest.mark.parametrize("part", ["read_chart", "judge", "choose"])
async def test_a_site_can_have_a_card_that_says_so_in_place_of_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(f"cds_service.evaluate.{part}", _broken)
    runtime = a_runtime(tmp_path, on_crash="card")
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await signed(client)
    (card,) = answer.json()["cards"]
    assert (card["indicator"], card["source"]["topic"]["code"]) == ("info", "not-checked")
    for one in knowledge().cards_at("order-sign"):
        assert one.file.checks in card["detail"]
    assert rows(runtime.settings.log_path, "SELECT status, outcome FROM call") == [(200, "could_not_check")]


@pytest.mark.parametrize(("on_crash", "status"), [("500", 500), ("card", 200)])
async def test_all_cards_breaking_one_by_one_is_an_engine_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_crash: str, status: int
) -> None:
    break_every_card(monkeypatch)
    runtime = a_runtime(tmp_path, on_crash=on_crash)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await signed(client)
    assert answer.status_code == status
    if status == 200:
        assert [card["source"]["topic"]["code"] for card in answer.json()["cards"]] == ["not-checked"]


@pytest.mark.parametrize("on_crash", ["500", "card"])
async def test_a_site_without_approved_cards_is_answered_and_an_engine_that_breaks_is_no_empty_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_crash: str
) -> None:
    known = read_knowledge(cards_dir(), terminology(), None, shadow_rule("production", []))
    runtime = a_runtime(tmp_path, known, on_crash=on_crash)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        assert (await signed(client)).json() == {"cards": []}
        monkeypatch.setattr("cds_service.evaluate.judge", _broken)
        broken = await signed(client)
    assert broken.status_code == 500, "there is no card that could say so"


LOGGED = """SELECT status, outcome, bytes_out, (SELECT count(*) FROM card WHERE call_seq = call.seq)
    FROM call ORDER BY seq"""


async def test_cards_that_were_held_back_because_a_commit_hung_are_not_logged_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = a_runtime(tmp_path, log_required=True)
    runtime.alert_log._patience = 0.05
    committed, go_on, append = threading.Event(), threading.Event(), Store.append

    def slow(store: Store, records: Sequence[Record]) -> None:
        append(store, records)
        committed.set()
        go_on.wait(10)

    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        monkeypatch.setattr(Store, "append", slow)
        refused = await signed(client)
        assert await asyncio.to_thread(committed.wait, 10), "the record was stored as that of an answer"
        go_on.set()
        while runtime.alert_log.health().waiting:  # noqa: ASYNC110 (a thread changes it)
            await asyncio.sleep(0.01)
        logged = rows(runtime.settings.log_path, LOGGED)
        answered = await signed(client)
    assert (refused.status_code, logged) == (503, [(503, "log_unavailable", 0, 0)])
    assert [card["source"]["topic"]["code"] for card in answered.json()["cards"]] == ["quinine-avoid"]
