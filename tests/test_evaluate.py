"""Faults between the stages of an evaluation: each is counted, and costs no more than it must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Facts, PriorCard
from cds_service.decide.decision import Decision
from cds_service.evaluate import Engine, evaluate_request
from cds_service.explain.explain import explain
from cds_service.gather.limits import MAX_ENTRIES
from cds_service.present.cards import Presenter
from cds_service.settings import Settings
from cds_service.telemetry.metrics import EVALUATION_FAILURES
from cds_service.wire.errors import EngineFailed
from cds_service.wire.hook_request import HookRequest, decode_request
from cds_service.wire.refusal import RequestRefusedError
from tests.alert_log_samples import rows
from tests.core import NOW, a_runtime, answer, cards, knowledge, presenter
from tests.http_side import running

QUININE = request_from_case(["order: quinine sulfate 324 mg, for leg cramps"], "order-sign", NOW)


def call() -> HookRequest:
    return decode_request(msgspec.json.encode(QUININE), "order-sign")


def engine() -> Engine:
    return Engine(knowledge(), presenter(knowledge()))


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


def failures(name: str) -> float:
    return float(EVALUATION_FAILURES.labels(name)._value.get())


def test_a_log_that_cannot_be_asked_costs_no_card() -> None:
    async def shown_before(_: Sequence[Decision], __: Facts) -> tuple[PriorCard, ...]:
        return tuple(broken())

    before = failures("shown_before")
    evaluation = asyncio.run(evaluate_request(call(), engine(), NOW, shown_before=shown_before))
    assert [one["source"]["topic"]["code"] for one in cards(evaluation)] == ["quinine-avoid"]
    assert failures("shown_before") == before + 1


@pytest.mark.parametrize("on_crash", ["500", "card"])
def test_where_not_even_the_notice_can_be_written_the_call_is_refused(monkeypatch: pytest.MonkeyPatch, on_crash: Any) -> None:
    monkeypatch.setattr(Presenter, "compose", broken)
    chosen = msgspec.structs.replace(engine(), on_crash=on_crash)
    with pytest.raises(RequestRefusedError) as refusal:
        asyncio.run(evaluate_request(call(), chosen, NOW))
    assert isinstance(refusal.value.error, EngineFailed)
    assert refusal.value.outcome == "failed"


async def test_a_response_that_cannot_be_composed_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Presenter, "compose", broken)
    runtime = a_runtime(tmp_path, on_crash="card")
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        response = await client.post("/cds-services/cramp-care-order-sign", json=QUININE)
    assert response.status_code == 500
    assert rows(runtime.settings.log_path, "SELECT status, outcome FROM call") == [(500, "failed")]


def test_an_explanation_adds_nothing_to_what_was_decided() -> None:
    evaluation = answer("ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 2.8 mmol/L")
    findings = [dict(one.findings) for one in evaluation.decisions]
    explain(evaluation.facts, evaluation.decisions, knowledge(), evaluation.sources)
    assert [dict(one.findings) for one in evaluation.decisions] == findings


def test_the_limit_of_an_engine_is_that_of_a_site_that_sets_none() -> None:
    assert Settings().max_entries == MAX_ENTRIES
