"""The shorthand of cases: what each line stands for, and what is said about a line that can't be expanded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from cds_service.authoring.shorthand import HOOKS, ShorthandError, request_from_case
from cds_service.criteria.facts import SOURCES

NOW = datetime(2025, 12, 1, 9, 0, tzinfo=UTC)


def expand(*lines: str, hook: str = "order-sign") -> dict[str, Any]:
    """The request of these lines, as it would arrive; every resource in it is valid R4B."""
    request: dict[str, Any] = json.loads(json.dumps(request_from_case(list(lines), hook, NOW)))
    for resource in resources(request):
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return request


def resources(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in [*request["prefetch"].values(), request["context"].get("draftOrders")]:
        if value is not None:
            yield value


def only(source: str, *lines: str) -> dict[str, Any]:
    """The single resource of a source."""
    entries = expand(*lines)["prefetch"][source]["entry"]
    assert len(entries) == 1
    resource: dict[str, Any] = entries[0]["resource"]
    return resource


def order(line: str) -> dict[str, Any]:
    resource: dict[str, Any] = expand(line)["context"]["draftOrders"]["entry"][0]["resource"]
    return resource


def test_a_case_without_lines_is_a_woman_of_fifty_with_nothing_in_any_source() -> None:
    request = expand(hook="patient-view")
    assert request["context"] == {"userId": "Practitioner/practitioner-1", "patientId": "patient-1"}
    assert set(request["prefetch"]) == set(SOURCES)
    assert request["prefetch"].pop("patient") == {
        "resourceType": "Patient",
        "id": "patient-1",
        "gender": "female",
        "birthDate": "1975-11-01",
    }
    assert set(request["prefetch"].values()) == {None}
    assert "fhirServer" not in request


@pytest.mark.parametrize(
    ("line", "gender", "birth_date"),
    [
        ("patient: female, 58 years", "female", "1967-11-01"),
        ("Patient: 58 years old, FEMALE", "female", "1967-11-01"),
        ("patient: male, born 1967-03-01", "male", "1967-03-01"),
        ("patient: unknown age", None, None),
        ("patient: 9 years", None, "2016-11-01"),
        ("patient: 6 months", None, "2025-05-01"),
    ],
)
def test_a_patient_has_sex_and_age(line: str, gender: str | None, birth_date: str | None) -> None:
    patient = expand(line)["prefetch"]["patient"]
    assert (patient.get("gender"), patient.get("birthDate")) == (gender, birth_date)


def test_all_resources_are_about_the_patient_of_the_request() -> None:
    request = expand("patient: male, id p9", "LOINC#2823-3 K 3 mmol/L", "allergy: quinine", "order: quinine", "problem: cramp")
    assert request["context"]["patientId"] == request["prefetch"]["patient"]["id"] == "p9"
    assert request["prefetch"]["allergies"]["entry"][0]["resource"]["patient"] == {"reference": "Patient/p9"}
    assert request["prefetch"]["labs"]["entry"][0]["resource"]["subject"] == {"reference": "Patient/p9"}
    assert request["context"]["draftOrders"]["entry"][0]["resource"]["subject"] == {"reference": "Patient/p9"}


def test_a_result_has_code_value_unit_and_date() -> None:
    assert only("labs", "LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28") == {
        "resourceType": "Observation",
        "id": "observation-1",
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}], "text": "Potassium"},
        "subject": {"reference": "Patient/patient-1"},
        "effectiveDateTime": "2025-11-28",
        "valueQuantity": {"value": 2.4, "unit": "mmol/L"},
    }


def test_the_options_of_a_result_stand_in_any_order() -> None:
    options = ['note "Specimen haemolysed, twice"', "issued 2025-11-28T12:00:00Z", "id k1", "preliminary", "range 1.5-2.4"]
    line = "LOINC#19123-9 Magnesium 1.4 mg/dL at 2025-11-28T08:00:00Z"
    resource = only("labs", ", ".join([line, *options]))
    assert resource == only("labs", ", ".join([line, *reversed(options)]))
    assert resource["note"] == [{"text": "Specimen haemolysed, twice"}]
    assert resource["issued"] == "2025-11-28T12:00:00Z"
    assert (resource["id"], resource["status"]) == ("k1", "preliminary")
    assert resource["referenceRange"] == [{"low": {"value": 1.5, "unit": "mg/dL"}, "high": {"value": 2.4, "unit": "mg/dL"}}]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("Magnesium 0.9", "valueQuantity", {"value": 0.9}),
        ("Potassium < 2.0 mmol/L", "valueQuantity", {"value": 2.0, "comparator": "<", "unit": "mmol/L"}),
        ("Potassium >=10 mmol/L", "valueQuantity", {"value": 10, "comparator": ">=", "unit": "mmol/L"}),
        ("eGFR CKD-EPI 2021 85 mL/min/{1.73_m2}", "valueQuantity", {"value": 85, "unit": "mL/min/{1.73_m2}"}),
        ("2.4 mmol/L", "valueQuantity", {"value": 2.4, "unit": "mmol/L"}),
        ('Kell "Positive"', "valueString", "Positive"),
        (
            "Pregnancy status SNOMED#77386006",
            "valueCodeableConcept",
            {"coding": [{"system": "http://snomed.info/sct", "code": "77386006"}]},
        ),
    ],
)
def test_a_result_has_a_number_a_text_or_a_code(text: str, field: str, value: object) -> None:
    for date in ("", " at 2025-11-20", ", at 2025-11-20"):
        resource = only("labs", f"LOINC#1234-5 {text}{date}")
        assert resource[field] == value
        assert resource["effectiveDateTime"] == ("2025-11-20" if date else "2025-11-28")


def test_a_cancelled_result_needs_no_value() -> None:
    resource = only("labs", "LOINC#2823-3 Potassium, cancelled")
    assert resource["status"] == "cancelled"
    assert not [field for field in resource if field.startswith("value")]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("3 days ago", "2025-11-28"),
        ('"3 days ago"', "2025-11-28"),
        ("2 weeks ago", "2025-11-17"),
        ("1 month ago", "2025-11-01"),
        ("2 years ago", "2023-12-01"),
        ("5 hours ago", "2025-12-01T04:00:00Z"),
        ("today", "2025-12-01"),
        ("yesterday", "2025-11-30"),
        ("08:00", "2025-12-01T08:00:00Z"),
        ("2025-11", "2025-11"),
        ("2025-11-28T08:00:00+01:00", "2025-11-28T08:00:00+01:00"),
    ],
)
def test_a_date_is_absolute_or_relative_to_now(text: str, date: str) -> None:
    assert only("labs", f"LOINC#2823-3 Potassium 2.4 mmol/L at {text}")["effectiveDateTime"] == date


def test_a_month_before_the_last_of_march_is_the_last_of_february() -> None:
    now = datetime(2025, 3, 31, tzinfo=UTC)
    request = request_from_case(["LOINC#2823-3 K 3 mmol/L at 1 month ago"], "patient-view", now)
    assert request["prefetch"]["labs"]["entry"][0]["resource"]["effectiveDateTime"] == "2025-02-28"


def test_a_problem_is_active_and_confirmed_where_nothing_else_is_said() -> None:
    resource = only("problems", "ICD10#R25.2 Cramp and spasm")
    assert resource["code"] == {
        "coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "R25.2"}],
        "text": "Cramp and spasm",
    }
    assert resource["clinicalStatus"]["coding"][0]["code"] == "active"
    assert resource["verificationStatus"]["coding"][0]["code"] == "confirmed"


def test_a_problem_has_dates_a_state_and_a_severity() -> None:
    resource = only("problems", "SNOMED#55300003 Muscle cramp, onset 2023-01-01, resolved, recorded 2025-11-20, severe")
    assert (resource["onsetDateTime"], resource["recordedDate"]) == ("2023-01-01", "2025-11-20")
    assert resource["clinicalStatus"]["coding"][0]["code"] == "resolved"
    assert resource["severity"]["text"] == "severe"
    assert "clinicalStatus" not in only("problems", "problem: leg cramps, entered-in-error")
    assert only("problems", "problem: leg cramps, refuted")["code"] == {"text": "leg cramps"}


def test_a_drug_code_is_a_prescription() -> None:
    resource = only("prescriptions", "RXNORM#313988 furosemide 40 MG Oral Tablet, active, since 2025-11-29")
    assert resource["resourceType"] == "MedicationRequest"
    assert (resource["status"], resource["intent"], resource["authoredOn"]) == ("active", "order", "2025-11-29")
    assert resource["medicationCodeableConcept"] == {
        "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "313988"}],
        "text": "furosemide 40 MG Oral Tablet",
    }
    assert only("prescriptions", "ATC#P01BC01 quinine, stopped")["status"] == "stopped"
    prescribed = only("prescriptions", "prescribed: SNOMED#387342009 DMD#6102009 baclofen, dose 10 mg TID, route intrathecal")
    assert prescribed["dosageInstruction"] == [{"text": "10 mg TID", "route": {"text": "intrathecal"}}]
    assert [c["system"] for c in prescribed["medicationCodeableConcept"]["coding"]] == [
        "http://snomed.info/sct",
        "https://dmd.nhs.uk",
    ]


def test_what_a_patient_takes_is_a_statement() -> None:
    resource = only("statements", "takes: tonic water with quinine, 1 glass nightly")
    assert resource["resourceType"] == "MedicationStatement"
    assert resource["medicationCodeableConcept"] == {"text": "tonic water with quinine"}
    assert resource["dosage"] == [{"text": "1 glass nightly"}]
    quoted = only(
        "statements", 'takes: "tonic water with quinine, a glass nightly", completed, for leg cramps, since 2025-01, until today'
    )
    assert quoted["medicationCodeableConcept"] == {"text": "tonic water with quinine, a glass nightly"}
    assert quoted["reasonCode"] == [{"text": "leg cramps"}]
    assert quoted["effectivePeriod"] == {"start": "2025-01", "end": "2025-12-01"}


def test_an_allergy_has_substance_and_reaction() -> None:
    resource = only("allergies", "allergy: SNOMED#373497008 quinine, reaction thrombocytopenic purpura")
    assert resource["code"]["coding"] == [{"system": "http://snomed.info/sct", "code": "373497008"}]
    assert resource["reaction"] == [{"manifestation": [{"text": "thrombocytopenic purpura"}]}]
    assert only("allergies", "allergy: quinine, refuted")["verificationStatus"]["coding"][0]["code"] == "refuted"


def test_an_order_is_a_draft() -> None:
    resource = order(
        "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for ICD10#B50.9 malaria, dose 10 mg TID, "
        "status stopped, replaces MedicationRequest/x, id order-1"
    )
    assert (resource["id"], resource["status"], resource["intent"]) == ("order-1", "stopped", "order")
    assert resource["reasonCode"][0]["coding"][0]["code"] == "B50.9"
    assert resource["dosageInstruction"] == [{"text": "10 mg TID"}]
    assert resource["priorPrescription"] == {"reference": "MedicationRequest/x"}
    assert order("order: quinine")["status"] == "draft"


def test_a_service_is_ordered_too() -> None:
    resource = order("order: service: basic metabolic panel, for leg cramps")
    assert resource["resourceType"] == "ServiceRequest"
    assert resource["code"] == {"text": "basic metabolic panel"}
    assert resource["reasonCode"] == [{"text": "leg cramps"}]


def test_all_orders_are_selected_unless_said_otherwise() -> None:
    lines = ("order: quinine, not selected", "order: baclofen", "order: service: magnesium, id m")
    context = expand(*lines, hook="order-select")["context"]
    assert context["selections"] == ["MedicationRequest/medicationrequest-2", "ServiceRequest/m"]
    assert len(context["draftOrders"]["entry"]) == 3
    assert "selections" not in expand(*lines, hook="order-sign")["context"]


def test_ids_that_are_written_are_not_given_to_others() -> None:
    request = expand("LOINC#2823-3 K 3 mmol/L", "LOINC#2823-3 K 4 mmol/L, id observation-1")
    assert [e["resource"]["id"] for e in request["prefetch"]["labs"]["entry"]] == ["observation-2", "observation-1"]


def test_a_source_with_resources_is_a_complete_searchset() -> None:
    bundle = expand("LOINC#2823-3 K 3 mmol/L", "LOINC#2823-3 K 4 mmol/L")["prefetch"]["labs"]
    assert (bundle["type"], bundle["total"], "link" in bundle) == ("searchset", 2, False)
    assert bundle["entry"][0]["fullUrl"].endswith("/Observation/observation-1")


def test_a_source_can_be_in_each_of_its_states() -> None:
    prefetch = expand(
        "source labs: error",
        "source statements: absent",
        "source prescriptions: null",
        "source problems: empty",
        "source allergies: partial",
        "allergy: quinine",
    )["prefetch"]
    assert prefetch["labs"]["issue"][0]["severity"] == "error"
    assert "statements" not in prefetch
    assert prefetch["prescriptions"] is None
    assert prefetch["problems"] == {"resourceType": "Bundle", "type": "searchset", "total": 0}
    assert prefetch["allergies"]["link"][0]["relation"] == "next"
    assert prefetch["allergies"]["total"] == 2
    assert expand("source patient: absent")["context"]["patientId"] == "patient-1"
    assert "patient" not in expand("source patient: absent")["prefetch"]


def test_the_lines_may_be_written_in_yaml_without_quotes() -> None:
    lines = yaml.safe_load(
        "- patient: male, 58 years\n- LOINC#2823-3 Potassium 2.4 mmol/L\n- source labs: partial\n- source problems: null\n"
    )
    text = ["patient: male, 58 years", "LOINC#2823-3 Potassium 2.4 mmol/L", "source labs: partial", "source problems: null"]
    assert request_from_case(lines, "patient-view", NOW) == request_from_case(text, "patient-view", NOW)


def test_the_same_lines_give_the_same_request_and_others_another_instance() -> None:
    first = expand("order: quinine")
    assert first == expand("order: quinine")
    assert first["hookInstance"] != expand("order: quinine", hook="order-select")["hookInstance"]


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        ("RXNORM#1292 baclofen, stoped", 23, "'stoped' is not known here; allowed: active, on-hold"),
        ("potassium 2.4", 1, "'potassium' cannot begin a line; allowed: patient:"),
        ("NDC#123 quinine", 1, "'NDC#123' cannot begin a line"),
        ("order: NDC#123 quinine", 8, "'NDC' is not a code system; allowed: LOINC#"),
        ("LOINC# Potassium 2.4", 1, "no code follows LOINC#"),
        ("LOINC#2823-3 Potassium", 14, "there is no value here; allowed: 2.4 mmol/L"),
        ("LOINC#2823-3 Potassium 2.4 mmol/L at noon", 38, "'noon' is not a date; allowed: 2025-11-28"),
        ("LOINC#2823-3 Potassium 2.4 mmol/L at 2025-02-30", 38, "is not a date"),
        ("LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28T08:00:00", 38, "a time needs its zone"),
        ("LOINC#2823-3 Potassium 2.4 mmol/L, issued 2025-11-28", 43, "a time of day is needed"),
        ("LOINC#2823-3 Potassium 2.4 mmol/L, range high", 42, "'high' is not a range"),
        ("LOINC#2823-3 Potassium 2.4 at today, at yesterday", 41, "a second date"),
        ("LOINC#2823-3 Potassium 2.4, final, preliminary", 36, "a second status"),
        ('LOINC#2823-3 Potassium 2.4, note "x', 34, "is never closed"),
        ("LOINC#2823-3 Potassium 2.4,, final", 28, "there is nothing before the comma"),
        ("LOINC#2823-3 Potassium 2.4, id a b", 32, "is not an id"),
        ("patient: femal", 10, "'femal' is not known here; allowed: female"),
        ("patient: female, male", 18, "a second gender"),
        ("patient:", 9, "nothing follows patient:"),
        ("", 1, "there is nothing here"),
        ("source lab: error", 8, "'lab' is not a source; allowed: patient, labs"),
        ("source labs: broken", 14, "'broken' is not a state of a source; allowed: error"),
        ("source patient: partial", 17, "is not a state of a source; allowed: error, absent, null"),
        ("order: quinine, status stoped", 24, "'stoped' is not a status"),
        ('order: ""', 8, "a code or a name is needed"),
    ],
)
def test_a_line_that_cannot_be_expanded_names_its_place_and_what_is_allowed(line: str, column: int, problem: str) -> None:
    with pytest.raises(ShorthandError) as caught:
        request_from_case(["problem: cramp", line], "order-sign", NOW)
    assert (caught.value.line, caught.value.column) == (2, column)
    assert str(caught.value).startswith(f"line 2, character {column}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["patient: male", "patient: female"], "a second patient"),
        (["problem: cramp, id a", "problem: cramp, id a"], "a second Condition/a"),
        (["problem: cramp", "source problems: null"], "other lines already give what problems holds"),
        (["source labs: null", "source labs: error"], "a second state of labs"),
        (["problem: cramp", {"patient": "male", "order": "quinine"}], "a line holds one item"),
    ],
)
def test_lines_that_contradict_each_other_are_refused(lines: list[Any], problem: str) -> None:
    with pytest.raises(ShorthandError, match=problem) as caught:
        request_from_case(lines, "order-sign", NOW)
    assert caught.value.line == 2


def test_patient_view_has_no_orders_and_other_hooks_do_not_exist() -> None:
    with pytest.raises(ShorthandError, match="patient-view has no orders; allowed: order-select, order-sign"):
        request_from_case(["order: quinine"], "patient-view", NOW)
    with pytest.raises(ShorthandError, match="allowed: patient-view, order-select, order-sign"):
        request_from_case([], "order-dispatch", NOW)


PIECES = (
    "patient: ",
    "order: ",
    "takes: ",
    "LOINC#2823-3 ",
    "SNOMED#1 ",
    "source labs: ",
    ", ",
    '"',
    "at ",
    "2025-11-28",
    "3 days ago",
    "id ",
)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6).map("".join), st.sampled_from(HOOKS))
def test_any_text_is_expanded_or_refused_with_its_place(line: str, hook: str) -> None:
    try:
        json.dumps(request_from_case([line], hook, NOW))
    except ShorthandError as error:
        assert 1 <= error.column <= len(line) + 1  # noqa: PT017 - either outcome is right
