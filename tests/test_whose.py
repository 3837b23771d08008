from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.facts import SourceState
from cds_service.fhir import Resource
from cds_service.read import FOREIGN
from cds_service.read_orders import WrongPatientError
from cds_service.whose import Owner, Whose
from tests.reading import bundle, condition, facts, observation, patient, prescription, statement, without

SERVER = "https://ehr.example/api/fhir"
OURS, ANOTHERS, NOT_SAID = Whose.THE_PATIENTS, Whose.ANOTHERS, Whose.NOT_SAID


def owner(server: str | None = SERVER) -> Owner:
    return Owner("p1", server, {"u1": Resource(resourceType="Patient", id="p1"), "u2": Resource(resourceType="Patient", id="p2")})


@pytest.mark.parametrize(
    ("reference", "whose"),
    [
        ("Patient/p1", OURS),
        ("p1", OURS),
        ("Patient/p1/_history/7", OURS),
        (f"{SERVER}/Patient/p1", OURS),
        (f"{SERVER}/Patient/p1/_history/7", OURS),
        ("HTTPS://EHR.example:443/api/fhir/Patient/p1", OURS),
        ("http://ehr.example/api/fhir/Patient/p1", OURS),
        ("urn:uuid:p1", OURS),
        ("urn:uuid:u1", OURS),
        ("Patient/p2", ANOTHERS),
        ("p2", ANOTHERS),
        ("Patient/P1", ANOTHERS),
        ("Patient/p1x", ANOTHERS),
        (f"{SERVER}/Patient/p2", ANOTHERS),
        ("https://other.example/api/fhir/Patient/p1", ANOTHERS),
        ("https://ehr.example/api/fhir2/Patient/p1", ANOTHERS),
        ("https://ehr.example/Patient/p1", ANOTHERS),
        ("https://ehr.example:8443/api/fhir/Patient/p1", ANOTHERS),
        ("https://ehr.example:x/api/fhir/Patient/p1", ANOTHERS),
        ("//other.example/api/fhir/Patient/p1", ANOTHERS),
        ("patient/p1", OURS),
        ("patient/p2", ANOTHERS),
        ("Patient/p1/", OURS),
        ("Patient/p2/", ANOTHERS),
        ("urn:uuid:u2", ANOTHERS),
        ("urn:oid:1.2.3", ANOTHERS),
        ("#p1", NOT_SAID),
        ("", NOT_SAID),
        (None, NOT_SAID),
        ("Group/p1", NOT_SAID),
        (f"{SERVER}/Device/p1", NOT_SAID),
    ],
)
def test_a_reference_means_the_patient_or_somebody_else_or_nobody(reference: str | None, whose: Whose) -> None:
    assert owner().meant_by(reference) is whose
    assert owner().meant_by(reference) is whose


def test_where_no_server_is_known_only_ids_are_compared() -> None:
    assert owner(None).meant_by("https://anywhere.example/Patient/p1") is OURS
    assert owner(None).meant_by("https://anywhere.example/Patient/p2") is ANOTHERS


@pytest.mark.parametrize(
    ("fields", "whose"),
    [
        ({"subject": {"reference": "Patient/p1"}}, OURS),
        ({"patient": {"reference": "Patient/p1"}}, OURS),
        ({"patient": "Patient/p1"}, OURS),
        ({"subject": [{"reference": "Patient/p1"}]}, OURS),
        ({"subject": [{"reference": "Patient/p1"}, {"reference": "Patient/p2"}]}, ANOTHERS),
        ({"subject": {"reference": "Patient/p1"}, "patient": {"reference": "Patient/p2"}}, ANOTHERS),
        ({"subject": {"reference": "Group/g"}, "patient": {"reference": "Patient/p1"}}, OURS),
        ({"subject": {"identifier": {"value": "p1"}}}, NOT_SAID),
        ({"subject": {"display": "Zaphod"}}, NOT_SAID),
        ({"subject": []}, NOT_SAID),
        ({}, NOT_SAID),
        ({"resourceType": "Patient", "id": "p1"}, OURS),
        ({"resourceType": "Patient", "id": "p2"}, ANOTHERS),
        ({"resourceType": "Patient"}, NOT_SAID),
    ],
)
def test_a_resource_is_the_patients_or_not(fields: dict[str, Any], whose: Whose) -> None:
    assert owner().whose(msgspec.convert(fields, Resource)) is whose


def test_what_does_not_say_whose_it_is_is_not_used_and_said() -> None:
    nobodys = without(observation(value=2.0), "subject")
    found = facts(labs=bundle(nobodys, observation(value=4.0)))
    assert [lab.value for lab in found.labs["potassium"].results] == [4]
    assert found.sources["labs"].state is SourceState.PARTIAL
    assert found.sources["labs"].note == "1 of 2 entries do not say whose they are"
    alone = facts(labs=bundle(nobodys), patient=without(patient(), "id"))
    assert (alone.labs, alone.patient.birth_date) == ({}, None)
    assert {alone.sources[name].state for name in ("labs", "patient")} == {SourceState.PARTIAL}


def test_an_order_that_does_not_say_whose_it_is_is_the_patients() -> None:
    assert len(facts(bundle(without(prescription(), "subject"))).orders) == 1


@pytest.mark.parametrize("fields", [{"subject": {"reference": "Patient/p2"}}, {"patient": {"reference": "Patient/p2"}}])
def test_an_order_of_somebody_else_is_refused_wherever_it_stands(fields: dict[str, Any]) -> None:
    mixed = [prescription(id=f"o{number}") for number in range(60)] + [{**prescription(), **fields}]
    with pytest.raises(WrongPatientError):
        facts(bundle(*mixed))


def test_a_medication_belongs_to_nobody() -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "Quinine 200 mg"}}
    said = {**without(statement(), "medicationCodeableConcept"), "medicationReference": {"reference": "Medication/m"}}
    found = facts(statements=bundle(said, medication))
    assert found.sources["statements"].state is SourceState.PRESENT
    assert [drug.text for drug in found.drugs] == ["Quinine 200 mg"]


@given(
    st.sampled_from(["labs", "statements", "prescriptions", "problems"]),
    st.integers(0, 4),
    st.sampled_from(["Patient/p2", "p2", "https://ehr.example/fhir/Patient/p2", "Patient/p2/_history/1", "urn:uuid:p2"]),
)
def test_one_foreign_resource_makes_its_source_unknown(source: str, position: int, reference: str) -> None:
    kinds: dict[str, Any] = {"labs": observation, "statements": statement, "prescriptions": prescription, "problems": condition}
    resources = [kinds[source](id=f"r{number}") for number in range(5)]
    resources[position]["subject"] = {"reference": reference}
    given_sources: dict[str, Any] = {name: bundle(make()) for name, make in kinds.items()} | {source: bundle(*resources)}
    found = facts(**given_sources)
    assert (found.sources[source].state, found.sources[source].note) == (SourceState.ERROR, FOREIGN)
    assert all(drug.source != source for drug in found.drugs)
    assert source != "labs" or found.labs == {}
    assert source != "problems" or found.problems == ()
