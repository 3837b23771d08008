"""A patient in shorthand, what the service makes of it, and small knowledge made for one test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import pytest
import yaml

from cds_service.alert_log import AlertLog
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import SOURCES, Facts, Patient
from cds_service.criteria.findings import Finding, OnError
from cds_service.decide.choose import choose
from cds_service.decide.decision import Decision
from cds_service.decide.empty_chart import EmptyChart
from cds_service.decide.judge import judge
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.files.paths import cards_dir
from cds_service.gather.gather import gather
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from cds_service.outbound.http_client import HttpClient
from cds_service.present.card_template import Shown
from cds_service.present.cards import Presenter
from cds_service.runtime import Runtime
from cds_service.settings import Settings
from cds_service.trust import Caller
from cds_service.trust.caller import Callers
from cds_service.trust.callers import UnverifiedCallers
from cds_service.wire.hook_request import decode_request
from tests.reading import read, terminology

NOW = datetime(2025, 12, 1, 9, 0, tzinfo=UTC)
Json = dict[str, Any]
Country = Literal["US", "GB"]

# Each card at least once, and each kind of suggestion.
PATIENTS: dict[str, tuple[str, list[str]]] = {
    "severe potassium": ("patient-view", ["LOINC#2823-3 Potassium 2.4 mmol/L"]),
    "severe magnesium": ("order-sign", ["LOINC#19123-9 Magnesium 0.9 mg/dL", "order: amoxicillin 500 mg"]),
    "both low": (
        "patient-view",
        ["ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 2.8 mmol/L", "LOINC#2601-3 Magnesium 0.45 mmol/L"],
    ),
    "potassium to replace": (
        "patient-view",
        ["ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 3.2 mmol/L", "LOINC#98979-8 eGFR 85 mL/min/{1.73_m2}"],
    ),
    "old potassium": ("patient-view", ["ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 3.1 mmol/L at 2025-09-01"]),
    "quinine and baclofen": (
        "order-sign",
        [
            "patient: female, 70 years",
            "ICD10#R25.2 Cramp and spasm",
            "LOINC#98979-8 eGFR 25 mL/min/{1.73_m2}",
            "allergy: quinine, reaction thrombocytopenia",
            "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, id one",
            "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 20 mg TID, id two",
        ],
    ),
    "baclofen to change": (
        "order-sign",
        [
            "ICD10#R25.2 Cramp and spasm",
            "LOINC#98979-8 eGFR 90 mL/min/{1.73_m2}",
            "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 10 mg TID",
        ],
    ),
    "quinine for malaria": (
        "order-select",
        ["problem: ICD10#I45.81 Long QT syndrome", "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for malaria"],
    ),
    "liver": (
        "patient-view",
        [
            "patient: male, 56 years",
            "ICD10#R25.2 Cramp and spasm",
            "ICD10#K74.60 Cirrhosis of liver",
            "LOINC#98979-8 eGFR 82 mL/min/{1.73_m2}",
        ],
    ),
    "other orders": (
        "order-sign",
        [
            "patient: female, 74 years",
            "ICD10#R25.2 Cramp and spasm",
            "LOINC#2601-3 Magnesium 0.8 mmol/L",
            "LOINC#98979-8 eGFR 25 mL/min/{1.73_m2}",
            "order: magnesium oxide 400 mg, for leg cramps, id three",
            "order: clonazepam 0.5 mg tablet, for leg cramps, id four",
            "order: cyclobenzaprine 5 mg tablet, for leg cramps, id five",
        ],
    ),
    "pain reliever": (
        "order-sign",
        ["ICD10#R25.2 Cramp and spasm", "takes: warfarin 5 mg", "order: ibuprofen 400 mg tablet, for leg cramps, id six"],
    ),
    "baclofen in cirrhosis": (
        "order-sign",
        ["ICD10#K74.60 Cirrhosis of liver", "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 10 mg daily, id seven"],
    ),
    "nothing arrived": ("patient-view", [f"source {name}: error" for name in SOURCES]),
}


@cache
def knowledge() -> Knowledge:
    """The cards that the service ships."""
    return read_knowledge(cards_dir(), terminology())


@lru_cache(maxsize=4)
def presenter(known: Knowledge) -> Presenter:
    return Presenter(known)


def a_runtime(folder: Path, known: Knowledge | None = None, callers: Callers | None = None, **settings: Any) -> Runtime:
    """What a service process holds, with its log in `folder`; anybody may call where no `callers` are given."""
    known = known or knowledge()
    chosen = Settings(log_path=folder / "alerts.sqlite3", **{"checking_seconds": 0} | settings)
    return Runtime(
        settings=chosen,
        callers=callers or UnverifiedCallers(),
        knowledge=known,
        presenter=presenter(known),
        alert_log=AlertLog(chosen.log_path),
        http=HttpClient(),
        hash_secret=bytes(32),
        clock=lambda: NOW,
    )


def all_requests() -> Iterator[tuple[str, Json]]:
    """(name, request) of the patients above and of every case of every card."""
    for name, request in _encoded_requests():
        yield name, msgspec.json.decode(request)


@cache
def _encoded_requests() -> list[tuple[str, bytes]]:
    return [(name, msgspec.json.encode(request)) for name, request in _new_requests()]


def _new_requests() -> Iterator[tuple[str, Json]]:
    for name, (hook, given) in PATIENTS.items():
        yield name, request_from_case(given, hook, NOW)
    for path in sorted(cards_dir().glob("*/cases.yaml")):
        for case in yaml.load(path.read_bytes(), yaml.CSafeLoader):
            yield f"{path.parent.name}: {case['name']}", request_from_case(case["given"], case["hook"], NOW)


def answer(*given: str, hook: str = "patient-view", known: Knowledge | None = None, country: Country = "US") -> Evaluation:
    """What the service answers about a patient in shorthand (see `cds_service.authoring.shorthand`) at NOW."""
    return answer_to(request_from_case(given, hook, NOW), known=known, country=country)


def answer_to(
    request: Json, *, known: Knowledge | None = None, country: Country = "US", dialect: str = "", now: datetime = NOW
) -> Evaluation:
    """The whole way from the JSON of a request to its answer, without a server and without the log."""
    known = known or knowledge()
    call = decode_request(msgspec.json.encode(request), request["hook"], Caller("tests", dialect=dialect))
    return asyncio.run(evaluate_request(call, Engine(known, presenter(known), country), now))


def facts(*given: str, hook: str = "order-sign", country: Country = "US") -> Facts:
    """What is read of a patient in shorthand, all sources asked for."""
    return facts_in(request_from_case(given, hook, NOW), country)


def facts_in(request: Json, country: Country = "US") -> Facts:
    call = decode_request(msgspec.json.encode(request), request["hook"])
    return read(
        asyncio.run(gather(call, dict.fromkeys(SOURCES, ""), None, 0)),
        call.drafts,
        call.context.selections,
        hook=call.hook,
        patient_id=call.context.patientId or "",
        now=NOW,
        jurisdiction=country,
        terminology=terminology(),
    )


def cards(answered: Evaluation) -> list[Json]:
    """The cards as an EHR gets them."""
    found: list[Json] = msgspec.json.decode(answered.body)["cards"]
    return found


def card(answered: Evaluation, card_id: str) -> Json:
    """The one card with this id."""
    (found,) = [one for one in cards(answered) if one["source"]["topic"]["code"] == card_id]
    return found


def decision(answered: Evaluation, card_id: str) -> Decision:
    """The one decision of this card."""
    (found,) = [one for one in answered.decisions if one.card.id == card_id]
    return found


def a_card(card_id: str = "one", **changes: Any) -> Json:
    """The data of a card that always speaks, unless something else is asked for."""
    return {
        "id": card_id,
        "version": "1.0.0",
        "status": "active",
        "title": f"Title of {card_id}",
        "owner": "The tests",
        "why": "For tests.",
        "known_gaps": ["It is not real."],
        "hooks": ["patient-view", "order-select", "order-sign"],
        "checks": f"what {card_id} checks",
        "subjects": [card_id],
        "rank": 1,
        "table": [{"indicator": "info", "summary": f"{card_id} speaks"}],
        "detail": [{"text": f"{card_id} in detail."}],
        "overrides": ["fine"],
        "sources": ["S1"],
        "links": ["S1"],
    } | changes


def small(criteria: Json, *cards_data: Json, orders: Json | None = None) -> Knowledge:
    """Knowledge of these shared criteria and cards (see `a_card`), loaded from files as any other."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_small(folder, criteria, *cards_data, orders=orders)
        return read_knowledge(folder, terminology())


def write_small(folder: Path, criteria: Json, *cards_data: Json, orders: Json | None = None) -> None:
    """The files of `small`."""
    for shared in ("services.yaml", "notice.yaml", "labels.yaml", "dialects.yaml", "engineering.yaml"):
        shutil.copy(cards_dir() / shared, folder / shared)
    source = {"title": "A source", "url": "https://source.example/1", "says": "This", "read": "all of it"}
    contents: dict[str, Any] = {
        "criteria.yaml": criteria,
        "sources.yaml": {"S1": source, "S2": source},
        "orders.yaml": orders or {},
        "thresholds.yaml": {},
        "override_reasons.yaml": {"fine": {"display": "It is fine"}},
    }
    for data in cards_data:
        contents[f"{data['id']}/card.yaml"] = data
        (folder / data["id"]).mkdir()
    for file, content in contents.items():
        (folder / file).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def finding(criterion: Json, given: Facts, **others: Json) -> Finding:
    """What one criterion finds in facts; `others` are the members of a group."""
    known = small({"it": criterion, **others}, a_card(fire_when=["it"]))
    (decided,) = judge(given, known, unexpected)
    return decided.findings["it"]


def decide(given: Facts, known: Knowledge, on_error: OnError) -> list[Decision]:
    """Judge and choose, with the cards shown before that the facts name; nothing is drawn."""
    return choose(
        judge(given, known, on_error),
        given.prior_cards,
        hook=given.hook,
        now=given.now,
        answer_counts=known.engineering.answer_counts.span,
        most=known.labels.most_cards,
    )


def break_every_card(patch: pytest.MonkeyPatch) -> None:
    """Make every card raise, also where it was prepared before."""

    def broken(*_: object, **__: object) -> Decision:
        raise ZeroDivisionError("SECRET")

    patch.setattr("cds_service.decide.one_card.judge_card", broken)
    patch.setattr("cds_service.decide.judge.empty_chart", EmptyChart)


def drawn(decisions: list[Decision], given: Facts, by: Presenter, instance: str = "an instance") -> list[Shown]:
    """The cards of decisions that were chosen, without those in shadow."""
    decisions, found = by.draw(decisions, given, instance, unexpected)
    return by.compose(decisions, found, given, instance)[0]


NO_CARDS = b'{"cards":[]}'


def an_evaluation(body: bytes = NO_CARDS) -> Evaluation:
    """What `respond` returns, for a stand-in of it that decides nothing."""
    return Evaluation(body, Facts(NOW, "patient-view", "US", Patient("p", None, None, ""), {}), [], [], [], {})


def unexpected(name: str, error: Exception) -> None:
    """For `judge`: nothing may break here."""
    raise AssertionError(f"{name} broke") from error
