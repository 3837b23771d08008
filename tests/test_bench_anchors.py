"""The anchors of the benchmark do their work: they check, decide, write what they answered, and answer that."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.bench.anchors import good_service, noop, noop_with_row
from tests.bench.anchors.cards import CARDS
from tests.bench.anchors.durable_rows import LOG_VARIABLE
from tests.bench.generate import SIZES, request
from tests.http_side import running

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SERVICE = "/cds-services/cramp-care-order-sign"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[str, str]]]:
    """What the anchor has written: instance and body of each row."""
    path = tmp_path / "rows.sqlite3"
    monkeypatch.setenv(LOG_VARIABLE, str(path))

    def read() -> list[tuple[str, str]]:
        connection = sqlite3.connect(path)
        try:
            return connection.execute("SELECT instance, body FROM answer ORDER BY seq").fetchall()
        finally:
            connection.close()

    return read


def asked(case: str = "firing", change: Change | None = None) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request(SIZES["M"], "order-sign", NOW, case))
    if change is not None:
        change(body)
    return body


async def answer(app: FastAPI, body: dict[str, Any]) -> httpx2.Response:
    async with running(app) as client:
        return await client.post(SERVICE, json=body)


def newest_potassium(body: dict[str, Any]) -> dict[str, Any]:
    results = [
        entry["resource"]
        for entry in body["prefetch"]["labs"]["entry"]
        if entry["resource"]["code"]["coding"][0]["code"] == "2823-3"
    ]
    newest: dict[str, Any] = max(results, key=lambda result: str(result["effectiveDateTime"]))
    return newest


def draft(body: dict[str, Any]) -> dict[str, Any]:
    order: dict[str, Any] = body["context"]["draftOrders"]["entry"][0]["resource"]
    return order


async def test_the_noop_checks_the_envelope_and_answers_its_cards() -> None:
    assert (await answer(noop.application(), asked())).json() == {"cards": CARDS}
    assert (await answer(noop.application(), {"hook": "order-sign"})).status_code == 422


async def test_the_noop_with_a_row_writes_what_it_answers(rows: Callable[[], list[tuple[str, str]]]) -> None:
    body = asked()

    answered = (await answer(noop_with_row.application(), body)).json()

    ((instance, written),) = rows()
    assert instance == body["hookInstance"]
    assert json.loads(written) == answered["cards"] == CARDS
    assert len(written) > 2000


async def test_the_good_service_says_both_and_writes_what_it_answers(rows: Callable[[], list[tuple[str, str]]]) -> None:
    body = asked()

    answered = (await answer(good_service.application(), body)).json()

    assert [card["summary"] for card in answered["cards"]] == ["Quinine is ordered for cramps", "Potassium is low: 2.8 mmol/L"]
    (suggestion,) = answered["cards"][0]["suggestions"]
    assert suggestion["actions"][0]["resourceId"] == f"MedicationRequest/{draft(body)['id']}"
    ((instance, written),) = rows()
    assert instance == body["hookInstance"]
    assert json.loads(written)["answer"] == answered
    assert json.loads(written)["potassium"]["value"] == 2.8
    assert body["context"]["patientId"] not in written
    assert len(written) > 2000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda body: newest_potassium(body)["valueQuantity"].update(value=3.5), 1, id="potassium at its lower end"),
        pytest.param(lambda body: newest_potassium(body)["valueQuantity"].update(value=3.49), 2, id="potassium just below"),
        pytest.param(lambda body: newest_potassium(body).update(status="entered-in-error"), 1, id="newest result is a mistake"),
        pytest.param(lambda body: draft(body).update(reasonCode=[{"text": "malaria"}]), 1, id="quinine for malaria"),
        pytest.param(lambda body: draft(body).update(medicationCodeableConcept={"text": "baclofen"}), 1, id="another drug"),
    ],
)
@pytest.mark.usefixtures("rows")
async def test_the_good_service_decides_by_what_was_sent(change: Change, said: int) -> None:
    answered = await answer(good_service.application(), asked(change=change))

    assert len(answered.json()["cards"]) == said


async def test_the_good_service_is_silent_and_writes_that_too(rows: Callable[[], list[tuple[str, str]]]) -> None:
    answered = await answer(good_service.application(), asked("silent"))

    assert answered.json() == {"cards": []}
    assert [json.loads(written)["answer"] for _, written in rows()] == [{"cards": []}]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body["prefetch"]["patient"].update(birthDate="yesterday"), id="birth date"),
        pytest.param(lambda body: draft(body).pop("status"), id="order without status"),
        pytest.param(lambda body: body.update(hookInstance="7"), id="hook instance"),
    ],
)
async def test_the_good_service_refuses_what_it_cannot_read(change: Change, rows: Callable[[], list[tuple[str, str]]]) -> None:
    assert (await answer(good_service.application(), asked(change=change))).status_code == 422
    assert rows() == []
