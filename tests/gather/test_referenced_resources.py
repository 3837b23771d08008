"""Medications that are only referred to, reasons and results of panels: read once where a card needs them, else said."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.fhir.bundles import gathered_raw
from cds_service.fhir.draft_entries import draft_entries
from cds_service.gather.missing_targets import missing_targets
from cds_service.gather.referenced_resources import MAX_READ
from cds_service.telemetry.metrics import FHIR_REFERENCES, counts
from tests.alert_log_samples import rows
from tests.core import a_runtime
from tests.ehr_server import BASE, EhrServer, asked, call_of, patient
from tests.http_side import running
from tests.reading import OURS, RXNORM, Json, as_json, bundle, concept, condition, observation, prescription, terminology

NO_DATA: Json = dict.fromkeys(("labs", "statements", "prescriptions", "problems", "allergies")) | {"patient": patient()}


def medication(key: str, text: str = "Quinine sulfate 324 mg capsule", **more: Any) -> Json:
    return {"resourceType": "Medication", "id": key, "code": {"text": text}, **more}


def bare(reference: str, display: str = "", **more: Any) -> Json:
    """A prescription that only refers to its medication, as Epic and eClinicalWorks send each."""
    shown = {"display": display} if display else {}
    resource = prescription(**{"id": f"rx-{reference}", "medicationReference": {"reference": reference, **shown}} | more)
    del resource["medicationCodeableConcept"]
    return resource


def missing(*prescriptions: Json, orders: Json | None = None, labs: Json | None = None) -> dict[str, list[str]]:
    sources = {"prescriptions": bundle(*prescriptions), "labs": labs}
    gathered = {name: gathered_raw(as_json(value), name, "prefetch") for name, value in sources.items()}
    drafts = draft_entries(as_json(orders)).gathered if orders is not None else None
    return missing_targets(gathered, drafts=drafts, base=BASE, terminology=terminology()).ids


# What is missing


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("Medication/77", ["77"]),
        ("Medication/77/_history/3", ["77"]),
        (f"{BASE}/Medication/77", ["77"]),
        (f"{BASE}/Medication/77/_history/3", ["77"]),
        ("http://ehr.example/fhir/Medication/77", ["77"]),  # behind a proxy; the registered base is what is asked
        ("Medication/eyl6.Le-c_3", ["eyl6.Le-c_3"]),
        ("https://other.example/fhir/Medication/77", []),
        ("https://ehr.example/fhir2/Medication/77", []),
        ("https://ehr.example:8443/fhir/Medication/77", []),
        ("https://user@ehr.example/fhir/Medication/77", []),
        ("//ehr.example/fhir/Medication/77", []),
        ("Substance/77", []),
        ("77", []),
        ("urn:uuid:5c6d7c6e-0000-4000-8000-000000000001", []),
        ("#77", []),
        ("Medication/", []),
        ("Medication/a,b", []),
        ("Medication/..", []),
        ("Medication/77?_format=xml", []),
        ("Medication/%2e%2e", []),
        ("Medication/" + "x" * 300, []),
        ("", []),
    ],
)
def test_only_an_id_on_the_clients_own_server_is_asked_for(reference: str, wanted: list[str]) -> None:
    assert missing(bare(reference)).get("Medication", []) == wanted


def test_what_is_at_hand_or_has_a_recognised_name_or_is_over_is_not_asked_for() -> None:
    assert missing(bare("Medication/1"), medication("1", "something")) == {}
    assert missing(bare("#1", contained=[medication("1", "something")])) == {}
    assert missing(bare("Medication/1", "oxyCODONE (ROXICODONE) 5 MG tablet")) == {}
    assert missing(bare("Medication/1") | {"medicationCodeableConcept": concept("197391", RXNORM)}) == {}
    assert missing(bare("Medication/1", status="stopped"), bare("Medication/2", status="entered-in-error")) == {}
    assert missing(bare("Medication/1", "ZZQ 5 MG tablet")) == {"Medication": ["1"]}


def test_what_is_ordered_comes_first_each_once_and_its_bundle_counts() -> None:
    orders = bundle(
        bare("Medication/3", id="d1"), bare("Medication/2", id="d2"), bare("Medication/9", id="d3"), medication("9", "x")
    )
    assert missing(bare("Medication/1"), bare("Medication/2"), bare("Medication/1"), orders=orders) == {
        "Medication": ["3", "2", "1"]
    }


def test_ingredients_that_are_references_are_asked_for_where_the_product_is_not_recognised() -> None:
    ingredients = [{"itemReference": {"reference": f"Medication/{key}"}} for key in ("1", "2", "3")]
    whole = medication("1", "A mixture", ingredient=ingredients)
    assert missing(bare("Medication/1"), whole, medication("3")) == {"Medication": ["2"]}
    assert missing(bare("Medication/1"), medication("1", ingredient=ingredients)) == {}, "it is quinine"


def test_a_reason_is_asked_for_where_the_drug_is_one_of_the_cards() -> None:
    reason: Json = {"reasonReference": [{"reference": "Condition/c7"}]}
    assert missing(prescription("Quinine 300 mg", **reason)) == {"Condition": ["c7"]}
    assert missing(prescription("Metformin 500 mg", **reason)) == {}
    told: Json = {"reasonReference": {"reference": "Condition/c7", "display": "Falciparum malaria"}}
    assert missing(prescription("Quinine 300 mg", **told)) == {}


def test_results_of_a_panel_without_a_value_are_asked_for() -> None:
    members = [{"reference": f"Observation/{key}"} for key in ("k1", "k2")]
    panel = observation("24323-8", id="panel", hasMember=members)
    del panel["valueQuantity"]
    assert missing(labs=bundle(panel, observation())) == {"Observation": ["k2"]}
    assert missing(labs=bundle(panel | {"status": "cancelled"})) == {}


def test_shapes_that_make_no_sense_are_no_reason_to_fail() -> None:
    shapes: list[Any] = [{}, {"entry": 5}, {"entry": [{"resource": {"medicationReference": 7}}]}, [], "medicationReference"]
    for orders in shapes:
        assert missing(orders=orders) == {}


# Read from the server


async def test_prescriptions_that_only_refer_are_read_in_one_question() -> None:
    ehr = EhrServer(patient(), bare("Medication/1"), bare("Medication/2"), medication("1"), medication("2", "Metformin 500 mg"))
    done = await asked(ehr.http_client(), call_of())
    assert done.topics == ["quinine-avoid"]
    assert ehr.questions("Medication?") == ["GET Medication?_id=1,2"]
    assert done.gathered["medications"].source.note == ""


@pytest.mark.parametrize(("ids", "first", "later"), [("list", 1, 1), ("refuse", 4, 3), ("one", 4, 3)])
async def test_where_a_server_takes_no_list_of_ids_each_is_read_and_that_is_remembered(ids: str, first: int, later: int) -> None:
    ehr = EhrServer(ids=ids, *(medication(key) for key in "123"))  # noqa: B026
    http_client = ehr.http_client()
    sent = NO_DATA | {"prescriptions": bundle(*(bare(f"Medication/{key}") for key in "123"))}
    for questions in (first, later, later):
        done = await asked(http_client, call_of(prefetch=sent))
        assert done.topics == ["quinine-avoid"]
        assert len(ehr.questions("")) == questions
        assert ("Medication one by one" in done.quirks) is (ids != "list")


async def test_nothing_is_asked_where_nothing_is_missing() -> None:
    ehr = EhrServer()
    for sent in (NO_DATA, NO_DATA | {"prescriptions": bundle(bare("Medication/1"), medication("1"))}):
        await asked(ehr.http_client(), call_of(prefetch=sent))
    assert ehr.asked == []


async def test_one_medication_is_read_by_itself_and_a_404_leaves_the_order_unknown_and_said() -> None:
    ehr = EhrServer()
    done = await asked(ehr.http_client(), call_of("order-sign", bare("Medication/7"), prefetch=NO_DATA))
    assert ehr.asked == ["GET Medication/7"]
    assert done.topics == ["not-checked"]
    assert done.gathered["medications"].source.note == "1 of 1 medications that are referred to could not be read"
    assert not done.answer.facts.orders[0].drug.identified  # type: ignore[union-attr]


async def test_other_types_and_other_ids_in_the_answer_are_ignored() -> None:
    class Wicked(EhrServer):
        def _search(self, kind: str, parameters: dict[str, str]) -> httpx2.Response:
            others = [condition("B50", text="Malaria"), prescription("Baclofen 10 mg", id="x"), medication("8", "Baclofen 10 mg")]
            return httpx2.Response(200, json=bundle(medication("1"), *others, {"resourceType": "Patient", "id": "p2"}))

    sent = NO_DATA | {"prescriptions": bundle(bare("Medication/1"), bare("Medication/2"))}
    done = await asked(Wicked().http_client(), call_of(prefetch=sent))
    assert [one.id for one in done.gathered["medications"].resources] == ["1"]
    assert done.topics == ["quinine-avoid"]
    assert (len(done.answer.facts.drugs), done.answer.facts.problems) == (2, ())


async def test_a_kept_medication_is_no_evidence_by_itself() -> None:
    ingredients = [{"itemReference": {"reference": "Medication/2"}}]
    ehr = EhrServer(medication("1", "A mixture", ingredient=ingredients), medication("2", "Quinine"), medication("3"))
    sent = NO_DATA | {"prescriptions": bundle(bare("Medication/1"), bare("Medication/3", status="stopped"))}
    done = await asked(ehr.http_client(), call_of(prefetch=sent))
    assert ehr.asked == ["GET Medication/1", "GET Medication/2"]
    assert len(done.answer.facts.drugs) == 1


async def test_medications_that_go_round_in_a_circle_are_read_once() -> None:
    def of(key: str, item: str) -> Json:
        return medication(key, "A mixture", ingredient=[{"itemReference": {"reference": f"Medication/{item}"}}])

    ehr = EhrServer(of("1", "2"), of("2", "3"), of("3", "1"))
    await asked(ehr.http_client(), call_of(prefetch=NO_DATA | {"prescriptions": bundle(bare("Medication/1"))}))
    assert ehr.asked == ["GET Medication/1", "GET Medication/2"]


async def test_a_thousand_references_are_answered_in_time_with_so_many_read_and_the_rest_said() -> None:
    everything = [bare(f"Medication/m{number}", id=f"rx{number}") for number in range(1000)]
    ehr = EhrServer(*(medication(f"m{number}", "Metformin 500 mg") for number in range(1000)))
    before = counts(FHIR_REFERENCES)
    started = time.monotonic()
    sent = NO_DATA | {"prescriptions": bundle(*everything)}
    done = await asked(ehr.http_client(), call_of("order-sign", prescription("Baclofen 10 mg tablet", id="d1"), prefetch=sent))
    assert time.monotonic() - started < 30  # in one request: a thousand would be refused
    (question,) = ehr.asked
    assert question.count(",") == MAX_READ - 1
    assert len(done.gathered["medications"].resources) == MAX_READ
    assert done.gathered["medications"].source.note == "950 of 1000 medications that are referred to could not be read"
    assert "not-checked" in done.topics
    counted = {key: value - before.get(key, 0) for key, value in counts(FHIR_REFERENCES).items()}
    assert (counted["Medication read"], counted["Medication too_many"]) == (MAX_READ, 1000 - MAX_READ)


async def test_a_reference_to_another_server_is_never_followed_and_counted() -> None:
    ehr = EhrServer(medication("7"))
    before = counts(FHIR_REFERENCES).get("Medication elsewhere", 0)
    elsewhere = bare("https://evil.example/fhir/Medication/7")
    sent = NO_DATA | {"prescriptions": bundle(bare("Medication/8"))}
    done = await asked(ehr.http_client(), call_of("order-sign", elsewhere, prefetch=sent))
    assert ehr.asked == ["GET Medication/8"]
    assert done.topics == ["not-checked"]
    assert counts(FHIR_REFERENCES)["Medication elsewhere"] == before + 1


async def test_without_time_or_server_the_drug_is_unknown_and_said() -> None:
    ehr = EhrServer(medication("7"))
    call = call_of("order-sign", bare("Medication/7"), prefetch=NO_DATA)
    assert (await asked(ehr.http_client(), call, deadline_ms=150)).topics == ["not-checked"]
    assert ehr.asked == []


async def test_a_call_that_is_cancelled_leaves_nothing_running() -> None:
    waiting = asyncio.Event()

    class Slow(EhrServer):
        async def slow(self, request: httpx2.Request) -> httpx2.Response:
            waiting.set()
            await asyncio.Event().wait()
            return self.answer(request)

    ehr = Slow(medication("1"))
    ehr.transport.handler = ehr.slow
    sent = NO_DATA | {"prescriptions": bundle(*(bare(f"Medication/{key}") for key in "123"))}
    task = asyncio.create_task(asked(ehr.http_client(), call_of(prefetch=sent)))
    async with asyncio.timeout(5):
        await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    started = time.monotonic()
    done = await asked(ehr.http_client(), call_of(prefetch=sent), deadline_ms=350)
    assert time.monotonic() - started < 30  # the server never answers
    assert done.state("medications") == "error"
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Reasons and panels


@pytest.mark.parametrize(
    ("owner", "topics"), [(OURS, []), ({"reference": "Patient/p2"}, ["quinine-avoid"]), ({}, ["quinine-avoid"])]
)
async def test_a_reason_that_is_referred_to_counts_where_it_is_the_patients(owner: Json, topics: list[str]) -> None:
    malaria = condition("B50.9", id="c7", subject=owner)
    order = prescription("Quinine sulfate 324 mg capsule", id="d1", reasonReference=[{"reference": "Condition/c7"}])
    done = await asked(EhrServer(malaria).http_client(), call_of("order-sign", order, prefetch=NO_DATA))
    assert done.topics == topics
    assert done.answer.facts.problems == (), "what was read as a reason is no problem of the list"


async def test_the_reason_of_an_order_that_only_refers_is_read_once_its_drug_is_known() -> None:
    malaria = condition("B50.9", id="c7")
    order = bare("Medication/1", id="d1", reasonReference=[{"reference": "Condition/c7"}])
    ehr = EhrServer(malaria, medication("1"))
    done = await asked(ehr.http_client(), call_of("order-sign", order, prefetch=NO_DATA))
    assert ehr.asked == ["GET Medication/1", "GET Condition/c7"]
    assert "quinine-avoid" not in done.topics


@pytest.mark.parametrize(
    ("subject", "topics"), [(OURS, ["electrolyte-hypokalaemia"]), ({"reference": "Patient/p2"}, ["not-checked"])]
)
async def test_results_of_a_panel_are_read_where_they_are_the_patients(subject: Json, topics: list[str]) -> None:
    panel = observation("24323-8", id="panel", hasMember=[{"reference": "Observation/k1"}, {"reference": "Observation/k2"}])
    del panel["valueQuantity"]
    low, other = observation(value=2.2, subject=subject), observation("2951-2", id="k2", value=140, subject=subject)
    done = await asked(EhrServer(low, other).http_client(), call_of(prefetch=NO_DATA | {"labs": bundle(panel)}))
    assert done.topics == topics


# As Epic sends it: every prescription a bare reference, ids longer than FHIR allows, references absolute or relative, some with a
# name in capitals. The shape is Epic's; ids, names and values are ours.

PATIENT_ID = "eQ7.mPz0-Tk_wVb3"
OPIOID_ID, OTHER_ID, ORDERED_ID = "eOpi.01-aZ_x3", "eMet.02-bY_w4", "eBac.03-cX_v5" + "q" * 60


def epic_prescription(key: str, reference: str, display: str = "", **more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": key,
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"code": "community", "display": "Community"}], "text": "Community"}],
        "medicationReference": {"reference": reference, **({"display": display} if display else {})},
        "subject": {"reference": f"Patient/{PATIENT_ID}", "display": "Testing, Example"},
        "encounter": {"reference": "Encounter/eEnc.9", "display": "Office Visit"},
        "requester": {"reference": "Practitioner/ePra.1", "type": "Practitioner"},
        **more,
    }


def epic_call() -> Json:
    order = epic_prescription(
        "eOrd.7" + "z" * 120,
        f"Medication/{ORDERED_ID}",
        status="draft",
        dosageInstruction=[
            {
                "text": "Take 1 tablet by mouth 3 times daily.",
                "timing": {"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}},
            }
        ],
    )
    call = call_of("order-sign", order, patientId=PATIENT_ID, encounterId="eEnc.9", userId="PractitionerRole/eRol.2")
    call["extension"] = {"com.epic.cdshooks.request.bpa-trigger-action": "23"}
    return call


def epic_server() -> EhrServer:
    code = {"coding": [{"system": RXNORM, "code": "7804", "display": "Oxycodone"}], "text": "OXYCODONE 5 MG PO TABS"}
    baclofen = {"coding": [{"system": RXNORM, "code": "197391"}], "text": "BACLOFEN 10 MG PO TABS"}
    return EhrServer(
        patient() | {"id": PATIENT_ID},
        epic_prescription("eRx.1", f"{BASE}/Medication/{OPIOID_ID}"),
        epic_prescription("eRx.2", f"Medication/{OTHER_ID}", "METFORMIN 500 MG PO TABS"),
        {"resourceType": "Medication", "id": OPIOID_ID, "code": code},
        {"resourceType": "Medication", "id": OTHER_ID, "code": {"text": "METFORMIN 500 MG PO TABS"}},
        {"resourceType": "Medication", "id": ORDERED_ID, "code": baclofen},
    )


async def test_an_order_and_prescriptions_as_epic_sends_them_lead_to_the_card_and_the_record(tmp_path: Path) -> None:
    ehr = epic_server()
    ehr.requires = {("MedicationRequest", "intent")}
    runtime = msgspec.structs.replace(a_runtime(tmp_path), http=ehr.http_client())
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await client.post("/cds-services/cramp-care-order-sign", json=epic_call())
        (card,) = [one for one in answer.json()["cards"] if one["source"]["topic"]["code"] == "baclofen-safety"]
        assert "**oxycodone**" in card["detail"]
        metrics = (await client.get("/metrics")).text
    assert [one for one in ehr.asked if "Medication?" in one] == [f"GET Medication?_id={ORDERED_ID},{OPIOID_ID},{OTHER_ID}"]
    sources = msgspec.json.decode(rows(runtime.settings.log_path, "SELECT sources FROM call")[0])
    assert sources["states"]["medications"] == {"state": "present", "origin": "fhir", "note": ""}
    assert sources["ways"] == ["MedicationRequest with intent"]
    assert 'cds_fhir_ways_total{kind="with"}' in metrics
    assert 'cds_fhir_references_total{outcome="read",type="Medication"}' in metrics


async def test_an_epic_prescription_of_quinine_by_reference_is_taken_quinine() -> None:
    ehr = epic_server()
    ehr.resources.append(epic_prescription("eRx.3", "Medication/eQui.4", "QUALAQUIN-LIKE CAPS"))
    ehr.resources.append({"resourceType": "Medication", "id": "eQui.4", "code": {"text": "QUININE SULFATE 324 MG PO CAPS"}})
    assert (await asked(ehr.http_client(), call_of(patientId=PATIENT_ID))).topics == ["quinine-avoid"]
