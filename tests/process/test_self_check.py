"""What a process decides for its known patients, and when that is an alarm."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.decide.decision import Outcome
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.files.paths import cards_dir
from cds_service.knowledge.approvals import shadow_rule
from cds_service.knowledge.loader import read_knowledge
from cds_service.process import self_check
from cds_service.process.self_check import SelfCheck
from cds_service.runtime import Runtime
from cds_service.telemetry import metrics
from tests.alert_log_samples import rows
from tests.core import a_card, a_runtime, knowledge, small
from tests.http_side import got
from tests.reading import terminology


def _broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


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
