"""What a process says to those who run it: alive, ready, working, and still firing; and what a site chose for bad moments."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.alert_log.store import Record, Store
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.decide.decision import Outcome
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.files.paths import cards_dir
from cds_service.knowledge.approvals import shadow_rule
from cds_service.knowledge.loader import read_knowledge
from cds_service.process import self_check
from cds_service.process.health import ProcessState
from cds_service.process.self_check import SelfCheck
from cds_service.process.shutdown import delay_sigterm
from cds_service.runtime import Runtime
from cds_service.telemetry import metrics
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_card, a_runtime, knowledge, small
from tests.http_side import running
from tests.reading import terminology

QUININE = "order: quinine 300 mg, for leg cramps"


async def got(runtime: Runtime, path: str) -> tuple[int, Json]:
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        await asyncio.sleep(0)  # the first check
        await asyncio.sleep(0)
        answer = await client.get(path)
        return answer.status_code, answer.json()


async def signed(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/cds-services/cramp-care-order-sign", json=request_from_case([QUININE], "order-sign", NOW))


async def test_a_process_that_answers_is_alive(tmp_path: Path) -> None:
    assert await got(a_runtime(tmp_path), "/health/live") == (200, {"status": "live"})


# Ready


async def test_a_process_is_ready_between_its_start_and_its_end(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    assert await got(runtime, "/health/ready") == (200, {"status": "ready", "because": []})
    process = ProcessState(runtime, SelfCheck(runtime, 0))
    assert process.not_ready() == ["starting"]
    process.started = True
    process.draining = True
    assert process.not_ready() == ["draining"]


async def test_a_process_without_cards_is_not_ready(tmp_path: Path) -> None:
    none: Any = SimpleNamespace(services=knowledge().services, cards=(), hash="")
    runtime = msgspec.structs.replace(a_runtime(tmp_path), knowledge=none)
    assert await got(runtime, "/health/ready") == (503, {"status": "not ready", "because": ["no cards"]})


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
async def test_a_process_that_must_log_and_cannot_is_not_ready(tmp_path: Path, required: bool, status: int) -> None:
    runtime = a_runtime(tmp_path, log_required=required)
    runtime.settings.log_path.mkdir()
    assert (await got(runtime, "/health/ready"))[0] == status


# Where the log can't be written

LOGGED = """SELECT status, outcome, bytes_out, digest, (SELECT count(*) FROM card WHERE call_seq = call.seq)
    FROM call ORDER BY seq"""


async def test_a_site_that_must_log_gets_no_card_that_is_not_logged(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, log_required=True)
    path = runtime.settings.log_path
    path.mkdir()
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        refused = await signed(client)
        path.rmdir()
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
        assert committed.is_set(), "the record was stored as that of an answer"
        go_on.set()
        while runtime.alert_log.health().waiting:  # noqa: ASYNC110 (a thread changes it)
            await asyncio.sleep(0.01)
        logged = rows(runtime.settings.log_path, LOGGED)
        answered = await signed(client)
    assert (refused.status_code, logged) == (503, [(503, "log_unavailable", 0, "", 0)])
    assert [card["source"]["topic"]["code"] for card in answered.json()["cards"]] == ["quinine-avoid"]


# Where everything breaks


def _broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


@pytest.mark.parametrize("part", ["read", "judge", "choose"])
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
    assert "engine_failed error=ZeroDivisionError place=test_health.py" in caplog.text


@pytest.mark.parametrize("part", ["read", "judge", "choose"])
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
    monkeypatch.setattr("cds_service.decide.judge.judge_card", _broken)
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


# Known patients


async def checked(runtime: Runtime, **changes: Any) -> SelfCheck:
    """What the second check says, after `changes` to the module since the first."""
    one = SelfCheck(runtime, 60)
    await one.check()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(self_check, name, value)
        await one.check()
    return one


def deciding(change: Callable[[Evaluation], Evaluation]) -> Callable[..., Any]:
    """The real evaluation, with what it decided changed afterwards."""

    async def evaluate(*given: Any, **named: Any) -> Evaluation:
        return change(await evaluate_request(*given, **named))

    return evaluate


async def test_a_process_decides_its_known_patients_and_says_so(tmp_path: Path) -> None:
    status, told = await got(a_runtime(tmp_path, checking_seconds=60), "/health/checking")
    assert (status, told["status"], told["failing"]) == (200, "ok", {})
    assert told["fires"] == {"negative": [], "positive": ["quinine-avoid"]}
    assert metrics.REGISTRY.get_sample_value("cds_check_ok", {"check": "positive"}) == 1


async def test_the_known_patients_are_not_in_the_alert_log(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, checking_seconds=60)
    await got(runtime, "/health/checking")
    assert rows(runtime.settings.log_path, "SELECT count(*) FROM call") == [0]
    assert metrics.counts(metrics.CALLS) == {}


def _silence(one: Evaluation) -> Evaluation:
    silent = [msgspec.structs.replace(decision, outcome=Outcome.NOT_FIRED) for decision in one.decisions]
    return msgspec.structs.replace(one, decisions=silent, shown=[], shadows=[], body=b'{"cards":[]}')


def _fire(one: Evaluation) -> Evaluation:
    first = msgspec.structs.replace(one.decisions[0], outcome=Outcome.GAVE_WAY)
    return msgspec.structs.replace(one, decisions=[first, *one.decisions[1:]])


def _lose(one: Evaluation) -> Evaluation:
    return msgspec.structs.replace(one, shown=[])


def _send_nothing(one: Evaluation) -> Evaluation:
    return msgspec.structs.replace(one, body=b'{"cards":[]}')


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"evaluate_request": deciding(_silence)}, {"positive": "nothing fires"}),
        ({"evaluate_request": deciding(_lose)}, {"positive": "fired, not drawn: quinine-avoid"}),
        ({"evaluate_request": deciding(_send_nothing)}, {"positive": "the response does not hold the cards that were drawn"}),
        ({"evaluate_request": _broken}, {"positive": "ZeroDivisionError", "negative": "ZeroDivisionError"}),
        ({"decode_request": _broken}, {"positive": "ZeroDivisionError", "negative": "ZeroDivisionError"}),
    ],
)
async def test_a_known_patient_that_is_decided_otherwise_is_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: Any, failing: dict[str, str]
) -> None:
    runtime = a_runtime(tmp_path)
    one = await checked(runtime, **changes)
    assert (one.state, one.alarming, one.failing) == ("failed", True, failing)
    assert [record.levelname for record in caplog.records if "check_failed" in record.getMessage()] == ["ERROR"] * len(failing)
    assert metrics.REGISTRY.get_sample_value("cds_check_ok", {"check": "positive"}) == 0
    assert "SECRET" not in caplog.text
    await one.check()
    assert (one.state, one.alarming) == ("ok", False)
    assert "check_recovered" in caplog.text


async def test_a_silent_patient_for_whom_something_fires_is_an_alarm(tmp_path: Path) -> None:
    one = await checked(a_runtime(tmp_path), evaluate_request=deciding(_fire))
    assert "fires: " in one.failing["negative"]


async def test_a_card_that_breaks_on_a_known_patient_is_an_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SelfCheck(a_runtime(tmp_path), 60)
    await one.check()
    card = knowledge().card("quinine-avoid")
    assert card is not None
    monkeypatch.setattr(card, "summaries", [])
    await one.check()
    assert one.failing == {"positive": "failed: quinine-avoid"}


async def test_an_alarm_is_on_health_and_checking_answers_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "evaluate_request", _broken)
    runtime = a_runtime(tmp_path, checking_seconds=60)
    status, told = await got(runtime, "/health/checking")
    assert (status, told["status"]) == (503, "failed")
    _, health = await got(a_runtime(tmp_path, checking_seconds=60), "/health")
    assert (health["status"], health["checking"]) == ("degraded", "failed")


async def test_a_check_that_does_not_come_is_an_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await checked(a_runtime(tmp_path))
    assert one.state == "ok"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 151)
    assert (one.state, one.alarming) == ("overdue", True)


async def test_where_nothing_is_checked_that_is_not_called_well(tmp_path: Path) -> None:
    assert (await got(a_runtime(tmp_path), "/health/checking"))[0] == 503
    assert SelfCheck(a_runtime(tmp_path), 0).state == "off"
    assert SelfCheck(a_runtime(tmp_path), 60).state == "starting"


async def test_cards_that_a_site_has_not_approved_are_checked_in_shadow(tmp_path: Path) -> None:
    known = read_knowledge(cards_dir(), terminology(), None, shadow_rule("production", []))
    assert not any(card.live for card in known.cards)
    one = await checked(a_runtime(tmp_path, known))
    assert (one.state, one.report()["fires"]) == ("ok", {"positive": ["quinine-avoid"], "negative": []})


async def test_of_a_sites_own_cards_only_a_change_is_an_alarm(tmp_path: Path) -> None:
    known = small({}, a_card("speaks"), a_card("draft", status="draft"))
    one = await checked(a_runtime(tmp_path, known, overlay_dir=tmp_path))
    assert (one.state, one.report()["fires"]) == ("ok", {"positive": ["speaks"], "negative": ["speaks"]})
    one = await checked(a_runtime(tmp_path, known, overlay_dir=tmp_path), evaluate_request=deciding(_silence))
    assert one.failing["positive"] == "fires: none; at the start: speaks"


async def test_where_no_known_patient_makes_a_card_fire_nothing_is_proved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = await checked(a_runtime(tmp_path, small({}, a_card(status="draft")), overlay_dir=tmp_path))
    assert (one.state, one.alarming) == ("unproven", False)
    assert "check_unproven" in caplog.text


# The end


async def test_the_signal_to_end_is_held_back_and_told_at_once() -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("server"))
    try:
        with delay_sigterm(0.2, lambda: heard.append("not ready")):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
            assert heard == ["not ready"]
            await asyncio.sleep(0.3)
            assert heard == ["not ready", "server"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("seconds", [0, 0.2])
async def test_a_second_signal_changes_nothing(seconds: float) -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("server"))
    try:
        with delay_sigterm(seconds, lambda: heard.append("not ready")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert heard == ["not ready", "server"]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_log_that_does_not_open_is_said_before_the_process_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = a_runtime(tmp_path)
    runtime.settings.log_path.write_bytes(b"no database" * 1000)
    caplog.set_level(logging.INFO)
    with pytest.raises(Exception, match="not a database"):
        async with running(create_app(runtime.settings, runtime=runtime)):
            pass
    assert "start_failed error=DatabaseError place=store.py" in caplog.text
