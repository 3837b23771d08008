"""Nothing twice, through HTTP: calls, feedback, and the log between them."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.alert_log import RETRY, AlertLog
from cds_service.alert_log import prior as reading
from cds_service.alert_log.instants import micros
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Facts
from cds_service.knowledge.knowledge import Knowledge
from cds_service.present.cards import Presenter
from cds_service.runtime import new_runtime
from cds_service.settings import Settings
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.metrics import REGISTRY
from tests.alert_log_samples import rows
from tests.core import NOW, Json, a_card, decide, small, unexpected
from tests.http_side import running

CRITERIA = {
    "diuretic": {"kind": "drug", "classes": ["thiazide_diuretic", "loop_diuretic"]},
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
    "quinine": {"kind": "order", "classes": ["quinine"]},
}
ADVICE = a_card(
    "advice",
    hooks=["patient-view"],
    fire_when=["diuretic"],
    repeat={"after_days": 90, "about": ["diuretic"]},
    table=[{"when": ["low"], "indicator": "warning", "summary": "low"}, {"indicator": "info", "summary": "advice"}],
)
ABOUT_ORDER = a_card(
    "about-order",
    for_each="quinine",
    fire_when=["quinine"],
    table=[
        {"when": ["low"], "indicator": "warning", "summary": "quinine and low potassium"},
        {"indicator": "info", "summary": "quinine"},
    ],
)
KNOWN = small(CRITERIA, ADVICE, ABOUT_ORDER)
THIAZIDE, LOOP = "takes: hydrochlorothiazide 25 mg", "takes: furosemide 40 mg"
LOW, NORMAL = "LOINC#2823-3 Potassium 3.0 mmol/L", "LOINC#2823-3 Potassium 4.0 mmol/L"
QUININE = "order: quinine 300 mg, id q1"


class Ehr:
    """An EHR that calls the service; it shows what comes back and answers cards."""

    def __init__(self, client: httpx2.AsyncClient, log_path: Path) -> None:
        self.client = client
        self.log_path = log_path
        self.drafts = True  # are sent

    async def cards(self, hook: str, *given: str, patient: str = "p1", user: str = "Practitioner/7") -> list[Json]:
        request = request_from_case([f"patient: female, 50 years, id {patient}", *given], hook, NOW)
        request["hookInstance"] = str(uuid.uuid4())
        request["context"]["userId"] = user
        if not self.drafts:
            del request["context"]["draftOrders"]
        answer = await self.client.post(f"/cds-services/cramp-care-{hook}", json=request)
        assert answer.status_code == 200
        found: list[Json] = answer.json()["cards"]
        return found

    async def topics(self, hook: str, *given: str, **who: str) -> list[str]:
        return [card["source"]["topic"]["code"] for card in await self.cards(hook, *given, **who)]

    async def says(self, card: Json, outcome: str) -> None:
        item = {"card": card["uuid"], "outcome": outcome, "outcomeTimestamp": "2026-01-01T00:00:00Z"}
        answer = await self.client.post("/cds-services/cramp-care-order-select/feedback", json={"feedback": [item]})
        assert answer.status_code == 200

    async def unanswered(self) -> Any:
        return (await self.client.get("/health")).json()["log"]["unanswered"]

    def logged(self) -> list[Any]:
        """The decisions of each call, cards and what they decided."""
        found = [msgspec.json.decode(text) for text in rows(self.log_path, "SELECT evaluations FROM call ORDER BY seq")]
        return [[one for one in decisions if one["card"] != "*"] for decisions in found]


@asynccontextmanager
async def ehr(folder: Path, known: Knowledge = KNOWN, *, prior_limit: float = 10) -> AsyncIterator[Ehr]:
    """`prior_limit`: long, because the machine of the tests may be busy."""
    chosen = Settings(log_path=folder / "alerts.sqlite3")
    log = AlertLog(chosen.log_path, prior_limit=prior_limit)
    seconds = count()  # a call each
    runtime = msgspec.structs.replace(
        new_runtime(chosen),
        knowledge=known,
        presenter=Presenter(known),
        alert_log=log,
        clock=lambda: NOW + timedelta(seconds=next(seconds)),
    )
    async with running(create_app(chosen, runtime=runtime)) as client:
        yield Ehr(client, chosen.log_path)


async def test_a_card_with_a_rule_is_shown_once_and_the_log_says_what_was_held_back(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (first,) = await one.cards("patient-view", THIAZIDE, NORMAL)
        assert await one.topics("patient-view", THIAZIDE, NORMAL, user="Practitioner/8") == []
        assert await one.topics("patient-view", THIAZIDE, NORMAL, patient="p2") == ["advice"]
        held = next(row for row in one.logged()[1] if row["card"] == "advice")
        assert (held["outcome"], held["repeats"]) == ("repeated", first["uuid"])
        assert held["evidence"]
        assert rows(one.log_path, "SELECT about, state FROM card WHERE card = 'advice' ORDER BY seq") == [
            ("hydrochlorothiazide", "shown"),
            ("hydrochlorothiazide", "repeated"),
            ("hydrochlorothiazide", "shown"),
        ]
        assert await one.unanswered() == 0


async def test_a_card_with_a_rule_is_shown_again_when_things_got_worse(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        assert await one.topics("patient-view", THIAZIDE, NORMAL) == ["advice"]
        assert await one.topics("patient-view", THIAZIDE, LOW) == ["advice"]
        assert await one.topics("patient-view", THIAZIDE, NORMAL) == []
        assert await one.topics("patient-view", THIAZIDE, LOOP, NORMAL) == ["advice"]
        assert await one.topics("patient-view", LOOP, NORMAL) == []


async def test_a_card_is_still_known_after_a_restart(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        assert await one.topics("patient-view", THIAZIDE, NORMAL) == ["advice"]
    async with ehr(tmp_path) as one:
        assert await one.topics("patient-view", THIAZIDE, NORMAL) == []


# An EHR without draft orders


async def test_missing_draft_orders_are_said_once_to_a_user_about_a_patient(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        flush()
        repeated = REGISTRY.get_sample_value("cds_notices_repeated_total", {"service": "cramp-care-order-sign"}) or 0
        one.drafts = False
        (first,) = await one.cards("order-select", NORMAL)
        assert "the draft orders were not sent" in first["detail"]
        assert await one.topics("order-sign", NORMAL) == []
        assert await one.topics("order-sign", NORMAL, user="Practitioner/8") == ["not-checked"]
        assert await one.topics("order-sign", NORMAL, patient="p2") == ["not-checked"]
        one.drafts = True
        assert await one.topics("order-sign", QUININE, NORMAL) == ["about-order"], "what was sent is looked at"

        held = next(row for row in one.logged()[1] if row["card"] == "about-order")
        assert (held["outcome"], held["repeats"]) == ("could_not_check", first["uuid"])
        assert rows(one.log_path, "SELECT outcome FROM call ORDER BY seq") == [*["could_not_check"] * 4, "fired"]
        flush()
        assert REGISTRY.get_sample_value("cds_notices_repeated_total", {"service": "cramp-care-order-sign"}) == repeated + 1


async def test_a_call_without_draft_orders_that_is_sent_again_gets_the_same_notice(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        request = request_from_case(["patient: female, id p1", NORMAL], "order-sign", NOW)
        del request["context"]["draftOrders"]
        answers = {(await one.client.post("/cds-services/cramp-care-order-sign", json=request)).content for _ in range(3)}
        assert len(answers) == 1
        assert b"not-checked" in answers.pop()


# The same call again


async def test_a_call_that_is_sent_again_gets_the_same_cards_and_is_logged_once(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        request = request_from_case(["patient: female, id p1", THIAZIDE, NORMAL], "patient-view", NOW)
        answers = [(await one.client.post("/cds-services/cramp-care-patient-view", json=request)).content for _ in range(3)]
        assert b"advice" in answers[0]
        assert set(answers) == {answers[0]}
        assert rows(one.log_path, "SELECT repeat_of IS NULL FROM call ORDER BY seq") == [1, 0, 0]
        assert rows(one.log_path, "SELECT count(*) FROM card") == [1]
        assert await one.topics("patient-view", THIAZIDE, NORMAL) == [], "another call is no repeat"


async def test_the_same_instance_with_other_data_is_another_call_and_shows_its_cards(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        for given in ([THIAZIDE], [THIAZIDE, NORMAL]):
            request = request_from_case(given, "patient-view", NOW) | {"hookInstance": "constant"}
            answer = await one.client.post("/cds-services/cramp-care-patient-view", json=request)
            assert b"advice" in answer.content
        assert rows(one.log_path, "SELECT repeat_of FROM call") == [None, None]


async def test_the_same_instance_after_a_minute_is_another_call(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        request = request_from_case([THIAZIDE, NORMAL], "patient-view", NOW)
        await one.client.post("/cds-services/cramp-care-patient-view", json=request)
        with sqlite3.connect(one.log_path) as connection:
            for table in ("call", "card"):
                connection.execute(f"UPDATE {table} SET received_at = ?", (micros(NOW - RETRY),))  # noqa: S608 - written here
        connection.close()
        answer = await one.client.post("/cds-services/cramp-care-patient-view", json=request)
        assert answer.json() == {"cards": []}, "shown before"
        assert rows(one.log_path, "SELECT repeat_of FROM call") == [None, None]


async def test_an_override_holds_though_the_ehr_uses_one_instance_for_picking_and_signing(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        hooks, same = ("order-select", "order-sign"), {"hookInstance": "constant"}
        picked, signed = (request_from_case([QUININE], hook, NOW) | same for hook in hooks)
        answer = await one.client.post("/cds-services/cramp-care-order-select", json=picked)
        await one.says(answer.json()["cards"][0], "overridden")
        answer = await one.client.post("/cds-services/cramp-care-order-sign", json=signed)
        assert answer.json() == {"cards": []}


# From picking an order to signing it


async def test_what_was_overridden_when_the_order_was_picked_is_not_shown_when_it_is_signed(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (picked,) = await one.cards("order-select", QUININE, LOW)
        await one.says(picked, "overridden")
        assert await one.topics("order-sign", QUININE, LOW) == []
        held = next(row for row in one.logged()[1] if row["card"] == "about-order")
        assert (held["outcome"], held["repeats"]) == ("repeated", picked["uuid"])
        assert await one.topics("order-select", QUININE, LOW) == ["about-order"]


async def test_it_is_shown_when_signing_where_nobody_answered_or_the_suggestion_was_accepted(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (picked,) = await one.cards("order-select", QUININE, LOW)
        assert await one.topics("order-sign", QUININE, LOW) == ["about-order"]
        await one.says(picked, "accepted")
        assert await one.topics("order-sign", QUININE, LOW) == ["about-order"]


async def test_it_is_shown_when_signing_where_it_is_louder_or_another_order_patient_or_clinician(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (picked,) = await one.cards("order-select", QUININE, NORMAL)
        await one.says(picked, "overridden")
        assert await one.topics("order-sign", QUININE, LOW) == ["about-order"]
        assert await one.topics("order-sign", "order: quinine 300 mg, id q2", NORMAL) == ["about-order"]
        assert await one.topics("order-sign", QUININE, NORMAL, patient="p2") == ["about-order"]
        assert await one.topics("order-sign", QUININE, NORMAL, user="Practitioner/8") == ["about-order"]
        assert await one.topics("order-sign", QUININE, NORMAL) == []


async def test_of_two_orders_only_the_answered_one_is_silent_when_both_are_signed(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (picked,) = await one.cards("order-select", QUININE, LOW)
        await one.says(picked, "overridden")
        (shown,) = await one.cards("order-sign", QUININE, "order: quinine 200 mg, id q2", LOW)
        assert shown["uuid"] != picked["uuid"]
        outcomes = [row["outcome"] for row in one.logged()[1] if row["card"] == "about-order"]
        assert sorted(outcomes) == ["fired", "repeated"]


# The log can't say, or is not asked


async def test_a_broken_log_shows_the_card_and_health_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, busy_ms: int) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(reading, "open_for_reading", broken)
    async with ehr(tmp_path) as one:
        assert [await one.topics("patient-view", THIAZIDE, NORMAL) for _ in range(3)] == [["advice"]] * 3
        assert await one.unanswered() == 3
    assert rows(tmp_path / "alerts.sqlite3", "SELECT degraded FROM call") == ["shown_before_unknown"] * 3


async def test_a_slow_log_shows_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT ?1 UNION ALL SELECT ?1 FROM n) SELECT max(x), ?2, ?3, ?4, ?5 FROM n"
    monkeypatch.setattr(reading, "_SHOWN", endless)
    async with ehr(tmp_path, prior_limit=0.05) as one:
        async with asyncio.timeout(5):
            assert [await one.topics("patient-view", THIAZIDE, NORMAL) for _ in range(2)] == [["advice"]] * 2
        assert await one.unanswered() == 2


async def test_the_log_is_asked_only_where_a_card_could_be_a_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = AlertLog.prior_cards

    async def noted(log: AlertLog, patient_key: str, client: str, since: dict[str, datetime], apart: set[str]) -> Any:
        asked.append(sorted(since))
        return await real(log, patient_key, client, since, apart)

    monkeypatch.setattr(AlertLog, "prior_cards", noted)
    draft = a_card("draft", status="draft", repeat={"after_days": 90})
    async with ehr(
        tmp_path,
        small(
            CRITERIA,
            ADVICE,
            ABOUT_ORDER,
            draft,
            a_card("signing", for_each="quinine", fire_when=["quinine"], hooks=["order-sign"]),
        ),
    ) as one:
        await one.topics("patient-view", NORMAL)
        await one.topics("order-select", QUININE, LOW)
        await one.topics("order-sign", "order: amoxicillin 500 mg")
        assert asked == []
        await one.topics("patient-view", THIAZIDE)
        await one.topics("order-sign", QUININE)
        assert asked == [["advice"], ["about-order"]]


# Replay


async def test_a_call_that_was_held_back_is_held_back_in_its_replay(tmp_path: Path) -> None:
    async with ehr(tmp_path) as one:
        (picked,) = await one.cards("order-select", QUININE, LOW)
        await one.says(picked, "overridden")
        await one.topics("order-sign", QUININE, LOW)
        kept = rows(one.log_path, "SELECT facts FROM call ORDER BY seq")[1]
        assert "q1" not in kept
        replayed = decide(msgspec.json.decode(kept, type=Facts), KNOWN, unexpected)
        assert [(row["outcome"], row.get("repeats", "")) for row in one.logged()[1]] == [
            (decision.outcome, decision.repeats) for decision in replayed
        ]
