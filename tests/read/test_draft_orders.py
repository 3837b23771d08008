from __future__ import annotations

import msgspec
import pytest

from cds_service.criteria.facts import Facts, Order, SourceState
from tests.reading import Json, as_json, bundle, facts, prescription, statement, without

QUININE: Json = {**prescription("Quinine sulfate 324 MG Oral Capsule", "997010"), "id": "q", "status": "draft"}
BACLOFEN: Json = {**prescription("Baclofen 10 mg oral tablet"), "id": "b", "status": "draft"}
MRI: Json = {"resourceType": "ServiceRequest", "id": "s", "status": "draft", "code": {"text": "MRI"}}


def order(draft: Json, **more: object) -> Order:
    (only,) = facts(drafts=bundle({**draft, **more})).orders
    return only


def selected(found: Facts) -> list[str]:
    return [one.reference for one in found.orders if one.selected]


def test_a_draft_is_read_with_all_that_a_card_needs() -> None:
    found = order(QUININE, dosageInstruction=[{"text": "1 capsule at bedtime"}], reasonCode={"text": "Leg cramps"})
    assert (found.reference, found.resource_type, found.action, found.selected) == (
        "MedicationRequest/q",
        "MedicationRequest",
        "start",
        True,
    )
    assert found.drug is not None
    assert found.drug.classes == {"quinine"}
    assert found.drug.daily_dose_mg == 324
    assert found.drug.reasons == {"cramp_reason"}


def test_a_draft_keeps_its_own_json_to_the_last_digit() -> None:
    raw = b'{"resourceType":"MedicationRequest","id":"x",  "x": 6.30, "medicationCodeableConcept":{"text":"Quinine"}}'
    (found,) = facts(drafts=msgspec.Raw(b'{"resourceType": "Bundle", "entry": [{"resource": ' + raw + b"}]}")).orders
    assert found.raw == raw


@pytest.mark.parametrize(
    "drafts",
    [
        {"resourceType": "Bundle", "entry": [{"resource": QUININE}]},
        {"entry": [{"resource": QUININE}]},
        {"resourceType": "Bundle", "entry": {"resource": QUININE}},
        QUININE,
    ],
)
def test_a_bundle_is_read_whichever_way_it_was_sent(drafts: Json) -> None:
    found = facts(drafts=drafts)
    assert [one.reference for one in found.orders] == ["MedicationRequest/q"]
    assert found.sources["orders"].state is SourceState.PRESENT


def test_orders_that_are_no_medication_have_no_drug_and_other_resources_are_no_orders() -> None:
    found = facts(drafts=bundle(MRI, {"resourceType": "Patient"}, {"resourceType": "Medication", "id": "m"}))
    assert [(one.reference, one.drug) for one in found.orders] == [("ServiceRequest/s", None)]


def test_a_draft_may_refer_to_a_medication_beside_it() -> None:
    draft = without({**QUININE, "medicationReference": {"reference": "urn:uuid:7"}}, "medicationCodeableConcept")
    medication = {"fullUrl": "urn:uuid:7", "resource": {"resourceType": "Medication", "code": {"text": "Quinine"}}}
    (found,) = facts(drafts={"resourceType": "Bundle", "entry": [{"resource": draft}, medication]}).orders
    assert found.drug is not None
    assert found.drug.classes == {"quinine"}


def test_a_draft_without_an_id_is_known_by_its_full_url() -> None:
    entry = {"fullUrl": "urn:uuid:7", "resource": without(QUININE, "id")}
    found = facts(drafts={"entry": [entry, {"resource": BACLOFEN}]}, selections=["urn:uuid:7"], hook="order-select")
    assert selected(found) == ["MedicationRequest/7"]


@pytest.mark.parametrize(
    "selection", ["MedicationRequest/q", "q", "https://ehr.example/fhir/MedicationRequest/q", "MedicationRequest/q/_history/2"]
)
def test_at_order_select_only_what_is_selected_is_selected(selection: str) -> None:
    found = facts(drafts=bundle(QUININE, BACLOFEN), selections=[selection], hook="order-select")
    assert selected(found) == ["MedicationRequest/q"]
    assert len(found.orders) == 2
    assert found.sources["orders"].complete


@pytest.mark.parametrize("selection", ["MedicationRequest/x", "ServiceRequest/q", ""])
def test_a_selection_of_something_else_selects_nothing_and_that_is_said(selection: str) -> None:
    found = facts(drafts=bundle(QUININE), selections=[selection], hook="order-select")
    assert selected(found) == []
    assert found.sources["orders"].state is SourceState.PARTIAL
    assert found.sources["orders"].note == "1 of 1 selected orders are not among the draft orders"


def test_selections_mean_something_at_order_select_only() -> None:
    assert len(selected(facts(drafts=bundle(QUININE, BACLOFEN), selections=["q"]))) == 2


@pytest.mark.parametrize("status", ["stopped", "completed", "cancelled", "ended", "Stopped"])
def test_an_order_that_ends_a_therapy_is_a_stop(status: str) -> None:
    assert order(BACLOFEN, status=status).action == "stop"


@pytest.mark.parametrize(("taken", "action"), [("Baclofen 10 mg", "stop"), ("Quinine 300 mg", "start")])
def test_an_order_on_hold_pauses_what_is_taken_and_else_orders_it(taken: str, action: str) -> None:
    found = facts(drafts=bundle({**BACLOFEN, "status": "on-hold"}), statements=bundle(statement(taken)))
    assert [one.action for one in found.orders] == [action]


@pytest.mark.parametrize(
    ("changes", "action"), [({"doNotPerform": True}, "stop"), ({"status": None}, "start"), ({"status": "active"}, "start")]
)
def test_an_order_starts_something_unless_it_says_otherwise(changes: Json, action: str) -> None:
    assert order(BACLOFEN, **changes).action == action


def test_an_order_entered_in_error_is_dropped() -> None:
    assert facts(drafts=bundle({**QUININE, "status": "entered-in-error"})).orders == ()


def test_an_order_says_what_it_replaces() -> None:
    assert order(QUININE, priorPrescription={"reference": "MedicationRequest/old"}).replaces == "MedicationRequest/old"
    assert order(QUININE).replaces == ""


def test_a_draft_that_can_not_be_read_is_quarantined_and_the_others_are_read() -> None:
    found = facts(drafts=bundle({**QUININE, "status": {"secret": "Zaphod"}}, BACLOFEN))
    assert [one.reference for one in found.orders] == ["MedicationRequest/b"]
    (bad,) = found.quarantined
    assert (bad.source, bad.position, bad.resource_type) == ("draftOrders", 0, "MedicationRequest")
    assert bad.reason == "status: Expected `str | null`, got `object`"
    assert found.sources["orders"].note == "1 of 2 draft orders could not be read"


@pytest.mark.parametrize(
    "entry", [None, 3, {}, {"resource": None}, {"resource": {"id": "x"}}, {"resource": "MedicationRequest/1"}, QUININE]
)
def test_an_entry_that_is_no_entry_is_quarantined(entry: object) -> None:
    found = facts(drafts={"resourceType": "Bundle", "entry": [entry]})
    assert found.orders == ()
    assert len(found.quarantined) == 1
    assert found.sources["orders"].state is SourceState.PARTIAL


@pytest.mark.parametrize("drafts", ["x", 3, [], [QUININE]])
def test_drafts_that_are_no_bundle_are_an_error(drafts: object) -> None:
    found = facts(drafts=drafts)
    assert found.sources["orders"].state is SourceState.ERROR
    assert found.sources["orders"].note


@pytest.mark.parametrize(("hook", "state"), [("patient-view", SourceState.EMPTY), ("order-sign", SourceState.ABSENT)])
def test_without_drafts_the_hook_says_whether_something_is_missing(hook: str, state: SourceState) -> None:
    assert facts(hook=hook).sources["orders"].state is state


def test_a_session_without_orders_is_empty() -> None:
    assert facts(drafts=bundle()).sources["orders"].state is SourceState.EMPTY


def test_the_drafts_of_the_public_sandbox_are_read() -> None:
    drafts = {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "MedicationRequest",
                    "id": "request-123",
                    "status": "draft",
                    "intent": "order",
                    "category": {"coding": [{"code": "outpatient"}]},
                    "reasonCode": {"coding": [{"code": "55300003"}], "text": "Muscle cramp"},
                    "medicationCodeableConcept": {"text": "quinine sulfate 324 MG Oral Capsule", "coding": [{"code": "997010"}]},
                    "dosageInstruction": [{"doseAndRate": {"doseQuantity": {"value": 1}}}],
                }
            }
        ],
    }
    (found,) = facts(drafts=drafts, selections=["MedicationRequest/request-123"], hook="order-select").orders
    assert found.drug is not None
    assert found.selected
    assert found.drug.classes == {"quinine"}
    assert as_json(drafts).find(found.raw) > 0


def test_a_dose_is_worked_out_for_recognised_drugs() -> None:
    timing = {"repeat": {"frequency": 3, "period": 1, "periodUnit": "d"}}
    dosage = [{"timing": timing, "doseAndRate": [{"doseQuantity": {"value": 10, "unit": "mg"}}]}]
    for text, expected in (("baclofen 10 MG Oral Tablet", 30), ("Zzz", None)):
        found = order({**QUININE, "medicationCodeableConcept": {"text": text}}, dosageInstruction=dosage)
        assert found.drug is not None
        assert found.drug.daily_dose_mg == expected


@pytest.mark.parametrize("kind", [["MedicationRequest"], {}, 5, None])
def test_orders_of_a_type_that_is_no_text_are_none(kind: object) -> None:
    assert facts({"resourceType": kind, "entry": []}).orders == ()


def test_orders_in_a_bundle_of_the_bundle_are_read() -> None:
    inner = bundle(QUININE)
    assert [one.reference for one in facts(drafts=bundle(MRI, inner)).orders] == ["ServiceRequest/s", "MedicationRequest/q"]
    assert facts(drafts=bundle(bundle(inner))).sources["orders"].state is SourceState.PARTIAL
    assert facts(drafts=bundle({"resourceType": "Bundle", "entry": 5})).sources["orders"].state is SourceState.PARTIAL


@pytest.mark.parametrize(
    "kind",
    ["medicationrequest", "MedicationDispense", "MedicationStatement", "MedicationAdministration", "MedicationPrescription"],
)
def test_what_may_hold_an_order_and_is_none_is_not_passed_over(kind: str) -> None:
    found = facts(drafts=bundle({**QUININE, "resourceType": kind}, MRI))
    assert found.sources["orders"].note == "1 of 2 draft orders could not be read"


@pytest.mark.parametrize("kind", ["Parameters", "List", "Medication"])
def test_draft_orders_that_are_another_resource_are_no_empty_bundle(kind: str) -> None:
    assert facts(drafts={"resourceType": kind}).sources["orders"].state is SourceState.ERROR
