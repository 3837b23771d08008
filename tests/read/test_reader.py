from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.criteria.facts import SOURCES, SourceState
from cds_service.read.draft_orders import WrongPatientError
from tests.fhir.test_bundles import VALUES
from tests.reading import (
    NOW,
    OURS,
    Json,
    bundle,
    condition,
    facts,
    observation,
    patient,
    prescription,
    read,
    statement,
    terminology,
)


def test_everything_about_a_patient_comes_together() -> None:
    found = facts(
        drafts=bundle(prescription("Quinine", id="q")),
        patient=patient(),
        labs=bundle(observation()),
        statements=bundle(statement()),
        prescriptions=bundle(prescription()),
        problems=bundle(condition()),
        allergies=bundle({"resourceType": "AllergyIntolerance", "patient": OURS, "code": {"text": "Quinine"}}),
    )
    assert found.patient.birth_date == date(1960, 3, 4)
    assert (found.patient.sex, found.patient.reference, found.age_years) == ("female", "Patient/p1", 65)
    assert set(found.labs) == {"potassium"}
    assert [drug.source for drug in found.drugs] == ["statements", "prescriptions"]
    assert (len(found.problems), len(found.allergies), len(found.orders)) == (1, 1, 1)
    assert {name: source.state for name, source in found.sources.items()} == dict.fromkeys(
        [*SOURCES, "orders"], SourceState.PRESENT
    )
    assert (found.hook, found.jurisdiction, found.now, found.quarantined) == ("order-sign", "US", NOW, ())


@pytest.mark.parametrize(
    ("text", "born"),
    [
        ("1960-03-04", date(1960, 3, 4)),
        ("1960-03", date(1960, 3, 1)),
        ("1960", date(1960, 1, 1)),
        ("1960-03-04T00:00:00Z", date(1960, 3, 4)),
        ("04.03.1960", None),
        ("", None),
        (None, None),
    ],
)
def test_a_birth_date_may_be_partial_and_a_bad_one_is_unknown(text: str | None, born: date | None) -> None:
    assert facts(patient=patient(birthDate=text)).patient.birth_date == born


@pytest.mark.parametrize(
    ("said", "deceased"),
    [
        ({"deceasedBoolean": True}, True),
        ({"deceasedBoolean": "true"}, True),
        ({"deceasedBoolean": False}, False),
        ({"deceasedDateTime": "2025-11-30"}, True),
        ({"deceasedDateTime": "2025"}, True),
        ({"deceasedDateTime": "last week"}, False),
        ({"deceasedDateTime": "2026-03-01"}, False),
        ({}, False),
    ],
)
def test_a_death_is_read_in_both_forms_and_hides_nothing_before_its_day(said: dict[str, Any], deceased: bool) -> None:
    assert facts(patient=patient(**said)).patient.deceased is deceased


@pytest.mark.parametrize(
    ("gender", "sex"),
    [("female", "female"), ("Male", "male"), ("F", "female"), ("M", "male"), ("other", None), ("unknown", None), (None, None)],
)
def test_the_sex_is_female_male_or_unknown(gender: str | None, sex: str | None) -> None:
    assert facts(patient=patient(gender=gender)).patient.sex == sex


@pytest.mark.parametrize("patient_id", ["p1", "Patient/p1", "https://ehr.example/fhir/Patient/p1", "urn:uuid:p1"])
def test_the_patient_is_the_one_of_the_hook_by_its_bare_id(patient_id: str) -> None:
    assert facts(patient_id=patient_id).patient.id == "p1"


def test_a_source_that_was_never_had_is_absent() -> None:
    found = read({}, None, None, hook="patient-view", patient_id="p1", now=NOW, jurisdiction="GB", terminology=terminology())
    assert all(found.sources[name].state is SourceState.ABSENT for name in SOURCES)
    assert (found.patient.birth_date, found.labs, found.drugs) == (None, {}, ())


def test_quarantined_resources_of_all_sources_are_listed() -> None:
    found = facts(
        drafts=bundle({**prescription(), "id": 3}),
        labs=bundle({**observation(), "id": 3}),
        problems=bundle(condition(), {**condition(), "id": 3}),
    )
    assert [(bad.source, bad.position) for bad in found.quarantined] == [("labs", 0), ("problems", 1), ("draftOrders", 0)]


@given(
    st.sampled_from([observation(), statement(), prescription(), condition(), patient()]),
    st.dictionaries(st.text(min_size=1, max_size=3), VALUES),
    VALUES,
)
def test_no_resource_can_make_reading_raise(base: Json, odd: dict[str, Any], value: Any) -> None:
    for name in (*base, "note", "effectivePeriod", "dosageInstruction", "reasonCode", "contained", "medicationReference"):
        broken = bundle({**base, **odd, name: value})
        everywhere: dict[str, Any] = dict.fromkeys(SOURCES, broken)
        try:
            found = facts(drafts=broken, **everywhere)
        except WrongPatientError:
            continue  # an order for somebody else is refused
        assert found.patient.id == "p1"


@given(st.decimals() | st.text(max_size=6), st.sampled_from(["mmol/L", "mg/dL", "", "%"]), st.text(max_size=25))
def test_no_value_unit_or_date_can_make_reading_raise(value: object, unit: str, time: str) -> None:
    sent = observation("2160-0", str(value), unit, issued=time, referenceRange=[{"low": {"value": str(value)}}])
    found = facts(labs=bundle(sent, {**sent, "effectiveDateTime": time}), patient=patient(birthDate=time or "1960"))
    assert all(lab.value > 0 for series in found.labs.values() for lab in series.results if lab.analyte == "creatinine")


# Resources under another key

ALLERGY: Json = {"resourceType": "AllergyIntolerance", "id": "a", "patient": OURS, "code": {"text": "quinine"}}


def test_what_came_under_another_key_is_read_by_the_reader_of_its_type() -> None:
    mixed = bundle(observation(), prescription("Quinine 300 mg"), condition(), ALLERGY)
    for key in ("labs", "statements", "prescriptions", "problems", "allergies"):
        sent: Any = {key: mixed}
        found = facts(**sent)
        assert found.labs["potassium"].results, key
        assert [one.classes for one in found.drugs] == [{"quinine"}], key
        assert [one.sets for one in found.problems] == [{"muscle_cramp"}], key
        assert [one.classes for one in found.allergies] == [{"quinine"}], key


def test_what_came_under_its_own_key_too_is_read_once() -> None:
    found = facts(labs=bundle(observation(), prescription()), prescriptions=bundle(prescription(), observation()))
    assert len(found.drugs) == 1
    assert len(found.labs["potassium"].results) == 1


def test_a_resource_under_another_key_of_another_or_unstated_patient_is_not_read() -> None:
    for subject in ({"subject": {"reference": "Patient/p2"}}, {"subject": None}):
        assert facts(labs=bundle(observation(), prescription(**subject))).drugs == ()


def test_a_medication_is_no_evidence_by_itself_under_any_key() -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "Quinine 300 mg"}}
    for key in ("labs", "statements", "prescriptions", "problems", "allergies"):
        sent: Any = {key: bundle(medication)}
        found = facts(**sent)
        assert (found.drugs, found.allergies, found.problems, found.labs) == ((), (), (), {}), key
