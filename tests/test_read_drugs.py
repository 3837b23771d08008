from __future__ import annotations

import pytest

from cds_service.facts import Drug
from tests.reading import OURS, RXNORM, SNOMED, Json, active, bundle, concept, condition, facts, prescription, statement, without

GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
EXCLUDED = [{"url": "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit", "valueCode": "A"}]


def drug(*resources: Json) -> Drug:
    (only,) = active(*resources)
    return only


def test_a_prescription_is_read_with_all_that_a_card_shows() -> None:
    found = drug(
        prescription(
            "Quinine sulfate 324 MG Oral Capsule",
            "997010",
            authoredOn="2025-11-01",
            reasonCode=[{"text": "Leg Cramps"}],
            dosageInstruction=[{"text": "1 capsule at night", "route": {"text": "Oral"}}],
        )
    )
    assert found.classes == {"quinine"}
    assert (found.recognised_by, found.code, found.route, found.identified) == ("rxnorm", f"{RXNORM}|997010", "oral", True)
    assert (found.text, found.reference, found.source) == (
        "Quinine sulfate 324 MG Oral Capsule",
        "MedicationRequest/rx1",
        "prescriptions",
    )
    assert found.started is not None
    assert found.started.day == "2025-11-01"
    assert found.reasons == {"cramp_reason"}
    assert found.daily_dose_mg is None  # read of orders only


def test_a_statement_is_read_by_its_text() -> None:
    found = drug(statement("Baclofen 10 mg TID"))
    assert found.classes == {"baclofen"}
    assert (found.recognised_by, found.source) == ("text", "statements")


@pytest.mark.parametrize(
    "status", ["completed", "entered-in-error", "intended", "stopped", "on-hold", "not-taken", "unknown", "draft", None]
)
def test_only_active_statements_and_prescriptions_count(status: str | None) -> None:
    assert active(statement(status=status), prescription(status=status)) == ()


@pytest.mark.parametrize("sign", [{"wasNotTaken": True}, {"taken": "n"}, {"effectivePeriod": {"end": "2025-11-30"}}])
def test_a_drug_that_is_not_taken_or_no_longer_taken_does_not_count(sign: Json) -> None:
    assert active(statement(**sign)) == ()


@pytest.mark.parametrize(
    "sign", [{"wasNotTaken": False}, {"taken": "y"}, {"taken": "unk"}, {"effectivePeriod": {"end": "2025-12-01"}}]
)
def test_a_drug_that_is_still_taken_counts(sign: Json) -> None:
    assert drug(statement(**sign)).classes == {"baclofen"}


@pytest.mark.parametrize("intent", ["proposal", "plan", "option"])
def test_an_idea_of_a_prescription_does_not_count(intent: str) -> None:
    assert active(prescription(intent=intent)) == ()


@pytest.mark.parametrize("intent", ["order", "original-order", "reflex-order", "filler-order", "instance-order", None])
def test_an_order_by_any_name_counts(intent: str | None) -> None:
    assert drug(prescription(intent=intent))


def until(*ends: str | None) -> list[Json]:
    return [{"timing": {"repeat": {"boundsPeriod": {"end": end}}}} for end in ends]


@pytest.mark.parametrize(
    "sign",
    [
        {"doNotPerform": True},
        {"dateEnded": "2025-11-30"},
        {"dosageInstruction": until("2025-11-30")},
        {"dosageInstruction": until("2025-11", "2025-10")},
    ],
)
def test_a_prescription_that_is_over_or_forbids_does_not_count(sign: Json) -> None:
    assert active(prescription(**sign)) == ()


@pytest.mark.parametrize(
    "sign",
    [
        {"doNotPerform": False},
        {"dosageInstruction": until("2025-11-30", "2026-01-01")},
        {"dosageInstruction": until("2025-11-30", None)},
    ],
)
def test_a_prescription_of_which_some_part_goes_on_counts(sign: Json) -> None:
    assert drug(prescription(**sign))


@pytest.mark.parametrize("other", ["MedicationAdministration", "MedicationDispense"])
def test_administrations_and_dispenses_are_not_read(other: str) -> None:
    assert active({**prescription(), "resourceType": other}, prescription("Quinine")) == active(prescription("Quinine"))


MEDICATION: Json = {"resourceType": "Medication", "id": "m1", "code": {"text": "Quinine sulfate 200 mg tablets"}}


@pytest.mark.parametrize(
    "reference",
    ["Medication/m1", "https://ehr.example/fhir/Medication/m1", "Medication/m1/_history/3", "m1", "urn:uuid:m1"],
)
def test_a_medication_of_the_same_bundle_is_found_however_it_is_referred_to(reference: str) -> None:
    asked = without(prescription(medicationReference={"reference": reference}), "medicationCodeableConcept")
    assert drug(asked, MEDICATION).classes == {"quinine"}


def test_a_medication_is_found_by_the_full_url_of_its_entry() -> None:
    asked = without(statement(medicationReference={"reference": "urn:uuid:77"}), "medicationCodeableConcept")
    sent = {"resourceType": "Bundle", "entry": [{"resource": asked}, {"fullUrl": "urn:uuid:77", "resource": MEDICATION}]}
    (found,) = facts(statements=sent).drugs
    assert found.classes == {"quinine"}


@pytest.mark.parametrize("contained_id", ["med", "#med"])
def test_a_contained_medication_is_found(contained_id: str) -> None:
    asked = without(
        prescription(contained=[{**MEDICATION, "id": contained_id}], medicationReference={"reference": "#med"}),
        "medicationCodeableConcept",
    )
    assert drug(asked).classes == {"quinine"}


@pytest.mark.parametrize(
    "content",
    [
        {"ingredient": [{"itemCodeableConcept": {"text": "quinine"}}]},
        {"ingredient": {"itemCodeableConcept": concept("373497008", SNOMED)}},
        {"ingredient": [{"itemReference": {"display": "Quinine"}}]},
        {"product": {"ingredient": [{"item": {"display": "Quinine"}}]}},
    ],
)
def test_a_medication_without_a_code_is_known_by_its_ingredients(content: Json) -> None:
    medication = {"resourceType": "Medication", "id": "m1", **content}
    asked = without(prescription(medicationReference={"reference": "Medication/m1"}), "medicationCodeableConcept")
    assert drug(asked, medication).classes == {"quinine"}


def test_a_reference_that_leads_nowhere_is_known_by_its_display() -> None:
    asked = without(
        prescription(medicationReference={"reference": "Medication/9", "display": "Quinine 200 mg"}), "medicationCodeableConcept"
    )
    assert drug(asked).classes == {"quinine"}


def test_a_drug_without_code_and_text_is_not_identified() -> None:
    asked = without(prescription(medicationReference={"reference": "Medication/9"}), "medicationCodeableConcept")
    found = drug(asked)
    assert (found.identified, found.text, found.classes) == (False, "", frozenset())


def test_a_numeric_rxnorm_code_is_read() -> None:
    asked = prescription()
    asked["medicationCodeableConcept"] = {"coding": [{"system": RXNORM, "code": 997010}]}
    assert drug(asked).classes == {"quinine"}


def test_quinidine_is_not_quinine_and_losartan_potassium_no_supplement() -> None:
    assert all("quinine" not in one.classes for one in active(prescription("Quinidine sulfate 300 MG Oral Tablet", "852913")))
    assert all("potassium_supplement" not in one.classes for one in active(prescription("Losartan potassium 50 mg")))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"text": "PO"}, "oral"),
        ({"coding": [{"system": SNOMED, "code": "26643006"}]}, "oral"),
        ({"coding": [{"display": "Intrathecal route"}]}, "intrathecal"),
    ],
)
def test_the_route_of_the_dosage_counts(route: Json, expected: str) -> None:
    assert drug(prescription("Baclofen", dosageInstruction=[{"route": route}])).route == expected


@pytest.mark.parametrize(
    ("times", "day"),
    [
        (
            {
                "authoredOn": "2025-11-05",
                "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": "2025-11-10"}}}}],
            },
            "2025-11-10",
        ),
        ({"authoredOn": "2025-11-05"}, "2025-11-05"),
        ({"dateWritten": "2025-11-06"}, "2025-11-06"),
        ({"dateAsserted": "2025-11-07", "effectiveDateTime": "2025-10-01"}, "2025-10-01"),
        ({"dateAsserted": "2025-11-07", "effectivePeriod": {"start": "2025-09-01"}}, "2025-09-01"),
        ({"dateAsserted": "2025-11-07"}, "2025-11-07"),
    ],
)
def test_the_start_of_the_therapy_comes_before_the_date_of_the_record(times: Json, day: str) -> None:
    found = drug(prescription(**times))
    assert found.started is not None
    assert found.started.day == day


@pytest.mark.parametrize(
    "why",
    [
        {"reasonCode": [{"text": "Leg CRAMPS"}]},
        {"reasonCode": {"coding": [{"code": "x", "display": "Leg cramps"}]}},
        {"reasonCodeableConcept": {"text": "leg cramps"}},
        {"reasonForUseCodeableConcept": {"text": "leg cramps"}},
        {"reasonReference": [{"reference": "Condition/9", "display": "Leg cramps"}]},
        {"reasonForUseReference": {"display": "Leg cramps"}},
        {"note": [{"text": "for leg cramps"}]},
        {"note": "leg cramps"},
        {"dosageInstruction": [{"text": "one at night for leg cramps"}]},
        {"dosageInstruction": {"patientInstruction": "for leg cramps"}},
        {"dosageInstruction": [{"additionalInstruction": [{"text": "for leg cramps"}]}]},
        {"dosageInstruction": [{"asNeededCodeableConcept": {"text": "leg cramps"}}]},
    ],
)
def test_the_reason_is_found_wherever_it_is_written(why: Json) -> None:
    assert drug(prescription(**why)).reasons == {"cramp_reason"}


def test_coded_reasons_and_referenced_conditions_lead_to_problem_sets() -> None:
    coded = prescription(reasonCode=[concept("B50.9", "http://hl7.org/fhir/sid/icd-10-cm")])
    assert drug(coded).reason_sets == {"malaria"}
    referring = prescription(reasonReference=[{"reference": "https://ehr.example/fhir/Condition/c9"}])
    problem = condition("R25.2", text="Cramp and spasm", id="c9")
    (found,) = facts(prescriptions=bundle(referring), problems=bundle(problem)).drugs
    assert found.reason_sets == {"muscle_cramp"}
    assert found.reasons == {"cramp_reason"}


REFERRING = prescription(reasonReference=[{"reference": "Condition/c9"}])


@pytest.mark.parametrize(
    "denied",
    [
        {"verificationStatus": "refuted"},
        {"verificationStatus": concept("entered-in-error")},
        {"code": {"coding": [{"system": GM, "code": "R25.2", "extension": EXCLUDED}]}},
    ],
)
def test_a_condition_that_is_denied_is_no_reason(denied: Json) -> None:
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(condition(id="c9") | denied)).drugs
    assert (found.reason_sets, found.reasons, found.reason_unread) == (frozenset(), frozenset(), False)


def test_a_condition_that_is_over_is_still_the_reason_that_was_stated() -> None:
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(condition(id="c9", clinicalStatus="resolved"))).drugs
    assert found.reason_sets == {"muscle_cramp"}


def test_a_contained_condition_and_one_by_its_full_url_are_found() -> None:
    contained = prescription(reasonReference=[{"reference": "#c"}], contained=[condition("B54", id="c")])
    assert drug(contained).reason_sets == {"malaria"}
    url = "urn:uuid:6f1c2a56-0000-4000-8000-000000000001"
    by_url = prescription(reasonReference=[{"reference": url}])
    listed = bundle(condition("B54", id="c9"))
    listed["entry"][0]["fullUrl"] = url
    (found,) = facts(prescriptions=bundle(by_url), problems=listed).drugs
    assert (set(found.reason_sets), found.reason_unread) == ({"malaria"}, False)


def test_a_condition_that_is_not_at_hand_or_carries_a_modifier_is_unread() -> None:
    assert drug(REFERRING).reason_unread
    modified = condition(id="c9", modifierExtension=[{"url": "urn:negated"}])
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(modified)).drugs
    assert (found.reason_unread, found.reason_sets) == (True, frozenset())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("leg cramps; had malaria in 1998", False),
        ("history of malaria", False),
        ("prior falciparum malaria", False),
        ("malaria 20 years ago", False),
        ("malaria", True),
        ("take prior to meals; for malaria", True),
        ("uncomplicated falciparum malaria", True),
    ],
)
def test_past_malaria_is_no_reason(text: str, found: bool) -> None:
    assert ("malaria_reason" in drug(prescription(reasonCode=[{"text": text}])).reasons) is found
    assert ("malaria" in drug(prescription(reasonCode=[{"text": text}])).reason_sets) is found


@pytest.mark.parametrize(
    ("why", "stated"),
    [
        ({"reasonCode": [{"text": "jet lag"}]}, True),
        ({"reasonCode": [concept("Z00.0", "http://hl7.org/fhir/sid/icd-10-cm")]}, True),
        ({"reasonForUseCodeableConcept": {"text": "jet lag"}}, True),
        ({"reasonReference": [{"reference": "Condition/unknown"}]}, True),
        ({"reasonForUseReference": {"reference": "Condition/unknown"}}, True),
        ({"dosageInstruction": [{"asNeededCodeableConcept": {"text": "sleep"}}]}, True),
        ({"reasonCode": []}, False),
        ({"reasonCode": [{}]}, False),
        ({"note": [{"text": "for leg cramps"}]}, False),
        ({"dosageInstruction": [{"text": "one at night"}]}, False),
        ({}, False),
    ],
)
def test_a_reason_is_stated_only_where_a_reason_belongs(why: Json, stated: bool) -> None:
    assert drug(prescription(**why)).reason_stated is stated


def test_the_dose_of_a_drug_that_is_taken_is_read_only_where_its_class_says_so() -> None:
    assert drug(prescription(dosageInstruction=[{"text": "10 mg three times a day"}])).daily_dose_mg is None
    assert drug(statement("acetaminophen", dosage=[{"text": "1 g three times a day"}])).daily_dose_mg == 3000


def test_stu3_and_dstu2_spellings_are_read() -> None:
    order = {
        "resourceType": "MedicationOrder",
        "id": "o1",
        "status": "active",
        "patient": OURS,
        "dateWritten": "2025-11-01",
        "medicationCodeableConcept": {"text": "Quinine 200 mg"},
        "dosageInstruction": [{"text": "1 nocte", "doseQuantity": {"value": 1, "unit": "tablet"}}],
    }
    assert drug(order).reference == "MedicationOrder/o1"
    said = statement(
        "Quinine 200 mg", dosage=[{"text": "1 nocte", "quantityQuantity": {"value": 1, "unit": "tablet"}}], wasNotTaken=False
    )
    assert drug(said).classes == {"quinine"}


def test_an_unreadable_end_does_not_end_a_drug() -> None:
    assert drug(statement(effectivePeriod={"end": "soon"})).classes == {"baclofen"}
