"""The benchmark's requests are what they claim to be: sizes, content, valid R4B, the same every time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from fhir.resources.R4B import get_fhir_model_class

from cds_service.decide.repeat_rule import look_back
from cds_service.evaluate import Engine, evaluate_body
from tests.bench.fhir_server import by_type
from tests.bench.generate import CASES, SIZES, Hook, request, without_prefetch
from tests.core import knowledge, presenter

NOW = datetime(2026, 2, 28, 15, 30, tzinfo=UTC)
HOOKS: tuple[Hook, ...] = get_args(Hook)


@pytest.fixture
def engine() -> Engine:
    return Engine(knowledge(), presenter(knowledge()))


def decoded(size: str, hook: Hook, case: str = "firing") -> dict[str, Any]:
    body = json.loads(request(SIZES[size], hook, NOW, case), parse_float=Decimal)
    assert isinstance(body, dict)
    return body


def resources(body: dict[str, Any]) -> list[dict[str, Any]]:
    bundles = [value for value in body["prefetch"].values() if value["resourceType"] == "Bundle"]
    if "draftOrders" in body["context"]:
        bundles.append(body["context"]["draftOrders"])
    return [body["prefetch"]["patient"], *(entry["resource"] for bundle in bundles for entry in bundle["entry"])]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("size", SIZES)
def test_a_request_has_the_size_of_its_name(size: str, hook: Hook) -> None:
    assert len(request(SIZES[size], hook, NOW)) == pytest.approx(SIZES[size].bytes, rel=0.15)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_same_request_is_made_twice(hook: Hook) -> None:
    assert request(SIZES["M"], hook, NOW) == request(SIZES["M"], hook, NOW)


def test_another_moment_moves_the_dates_and_keeps_the_size() -> None:
    earlier, later = (request(SIZES["M"], "order-sign", now) for now in (NOW, NOW + timedelta(days=1)))

    assert earlier != later
    assert len(earlier) == len(later)


@pytest.mark.parametrize("leap_day", [datetime(2028, 2, 29, tzinfo=UTC)])
def test_a_request_can_be_made_on_a_leap_day(leap_day: datetime) -> None:
    assert b'"birthDate":"1974-02-11"' in request(SIZES["S"], "patient-view", leap_day)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("size", ["S", "M"])
def test_every_resource_is_valid_r4b(size: str, hook: Hook) -> None:
    encoder = msgspec.json.Encoder(decimal_format="number")

    for resource in resources(decoded(size, hook)):
        get_fhir_model_class(resource["resourceType"]).model_validate_json(encoder.encode(resource))


def test_every_key_that_the_service_asks_for_is_there() -> None:
    assert list(decoded("S", "order-sign")["prefetch"]) == [
        "patient",
        "labs",
        "statements",
        "prescriptions",
        "problems",
        "allergies",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_newest_potassium_is_the_low_one_of_three_days_ago(size: str) -> None:
    results = [
        (entry["resource"]["effectiveDateTime"], entry["resource"]["valueQuantity"]["value"])
        for entry in decoded(size, "order-sign")["prefetch"]["labs"]["entry"]
        if entry["resource"]["code"]["coding"][0]["code"] == "2823-3"
    ]

    assert max(results) == ("2026-02-25T15:30:00+00:00", Decimal("2.8"))
    assert [value for _, value in results if value < Decimal("3.5")] == [Decimal("2.8")]


def test_only_an_order_sign_request_carries_the_draft_of_quinine() -> None:
    (entry,) = decoded("S", "order-sign")["context"]["draftOrders"]["entry"]

    assert entry["resource"]["medicationCodeableConcept"]["coding"][0]["code"] == "997010"
    assert entry["resource"]["reasonCode"] == [{"text": "for leg cramps"}]
    assert "draftOrders" not in decoded("S", "patient-view")["context"]


def test_decimals_keep_the_digits_that_a_laboratory_writes() -> None:
    assert b'"value":2.8,' in request(SIZES["S"], "order-sign", NOW)
    assert b'"high":{"value":1.10,' in request(SIZES["M"], "order-sign", NOW)


@pytest.mark.parametrize("case", CASES)
async def test_a_case_shows_as_many_cards_as_it_says(case: str, engine: Engine) -> None:
    body = request(SIZES["S"], "order-sign", NOW, case)

    evaluation = await evaluate_body(body, engine, NOW)

    assert len(evaluation.shown) == CASES[case].cards
    assert not any(source.note for source in evaluation.facts.sources.values())


async def test_only_the_repeatable_case_asks_which_cards_were_shown_before(engine: Engine) -> None:
    asked = {}
    for case in CASES:
        evaluation = await evaluate_body(request(SIZES["S"], "order-sign", NOW, case), engine, NOW)
        day = engine.knowledge.engineering.answer_counts.span
        asked[case] = any(look_back(one, "order-sign", day) for one in evaluation.decisions if one.shows)

    assert asked == {"firing": False, "repeatable": True, "silent": False}


def test_a_request_whose_data_is_to_be_fetched_is_the_same_but_for_the_data() -> None:
    body = decoded("S", "order-sign")

    fetched = json.loads(without_prefetch(request(SIZES["S"], "order-sign", NOW), "http://127.0.0.1:1/fhir"), parse_float=Decimal)

    del body["prefetch"]
    assert fetched == body | {"fhirServer": "http://127.0.0.1:1/fhir"}


def test_the_fhir_server_has_every_resource_of_the_request() -> None:
    found = by_type(request(SIZES["M"], "order-sign", NOW))

    prefetch = decoded("M", "order-sign")["prefetch"]
    assert {kind: json.loads(body, parse_float=Decimal) for kind, body in found.items()} == {
        "Patient": prefetch["patient"],
        "Observation": prefetch["labs"],
        "MedicationStatement": prefetch["statements"],
        "MedicationRequest": prefetch["prescriptions"],
        "Condition": prefetch["problems"],
        "AllergyIntolerance": prefetch["allergies"],
    }
