from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cds_service.criteria.facts import FOREIGN_NOTE, SourceState
from cds_service.fhir.resources import Resource
from cds_service.read.draft_orders import WrongPatientError
from cds_service.read.subject import CallPatient, Ownership, entries_by_url
from tests import proofs
from tests.reading import bundle, condition, facts, observation, patient, prescription, statement, without

SERVER = "https://ehr.example/api/fhir"
CONTAINED = {"resourceType": "Patient", "id": "c", "identifier": {"system": "urn:mrn", "value": "77"}}
OURS, OTHER_PATIENT, UNSTATED = Ownership.PATIENT, Ownership.OTHER_PATIENT, Ownership.UNSTATED


def call_patient(server: str | None = SERVER) -> CallPatient:
    ours, another = Resource(resourceType="Patient", id="p1"), Resource(resourceType="Patient", id="p2")
    first = {"u1": ours, "u2": another, "twice": ours, "group": Resource(resourceType="Group", id="p1")}
    second = {"TWICE": another, **{f"{server}/shared/entry/{number}": one for number, one in ((1, ours), (2, another))}}
    second = {url.replace("/api/fhir", ""): one for url, one in second.items()}
    return CallPatient("p1", server, entries_by_url([first, second]), [prefetched()])


def prefetched() -> Resource:
    """The Patient of the call with the identifiers that it was sent with."""
    record = {"type": {"coding": [{"code": "MR"}]}, "value": "R5"}
    return msgspec.convert(
        patient(identifier=[{"system": "urn:mrn", "value": "77"}, record, {"value": "nameless"}, "odd", None]), Resource
    )


@pytest.mark.parametrize(
    ("reference", "ownership"),
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
        ("Patient/p2", OTHER_PATIENT),
        ("p2", OTHER_PATIENT),
        ("Patient/P1", OTHER_PATIENT),
        ("Patient/p1x", OTHER_PATIENT),
        (f"{SERVER}/Patient/p2", OTHER_PATIENT),
        ("https://other.example/api/fhir/Patient/p1", OTHER_PATIENT),
        ("https://ehr.example/api/fhir2/Patient/p1", OTHER_PATIENT),
        ("https://ehr.example/Patient/p1", OTHER_PATIENT),
        ("https://ehr.example:8443/api/fhir/Patient/p1", OTHER_PATIENT),
        ("https://ehr.example:x/api/fhir/Patient/p1", OTHER_PATIENT),
        ("//other.example/api/fhir/Patient/p1", OTHER_PATIENT),
        ("patient/p1", OURS),
        ("patient/p2", OTHER_PATIENT),
        ("Patient/p1/", OURS),
        ("Patient/p2/", OTHER_PATIENT),
        ("urn:uuid:u2", OTHER_PATIENT),
        ("URN:UUID:U1", OURS),
        (" Patient/p1 ", OURS),
        ("/Patient/p1", OURS),
        ("Patient/%70%31", OURS),
        ("Patient/p%32", OTHER_PATIENT),
        ("https://ehr.example/api%2Ffhir/Patient/p1", OURS),
        ("https://ehr.example/shared/entry/1", OURS),
        ("https://ehr.example/shared/entry/2", OTHER_PATIENT),
        ("https://ehr.example/shared/entry/3", UNSTATED),
        ("urn:oid:1.2.3", UNSTATED),
        ("urn:uuid:p2", UNSTATED),
        ("urn:uuid:group", UNSTATED),
        ("urn:uuid:twice", UNSTATED),
        ("urn:", UNSTATED),
        ("urn:uuid:Group/p1", UNSTATED),
        ("urn:uuid:#p1", UNSTATED),
        ("Patient", UNSTATED),
        ("Patient/", UNSTATED),
        ("Patient/..", UNSTATED),
        ("Patient/_history/7", UNSTATED),
        ("Patient/a/b/c", UNSTATED),
        ("Patient/p1/b/c", UNSTATED),
        ("Patient/a/Patient/p1", UNSTATED),
        ("https://ehr.example/api/fhir/Patient/a/b", UNSTATED),
        ("Patient/p1/_history/7/8", UNSTATED),
        ("Patient/p1|2", UNSTATED),
        ("Patient/p1?_format=json", UNSTATED),
        ("Patient/p1#name", UNSTATED),
        ("Patient/p%2F1", UNSTATED),
        ("Patient/ p1", UNSTATED),
        ("./Patient/p1", UNSTATED),
        ("ftp://ehr.example/api/fhir/Patient/p1", UNSTATED),
        ("Patient?name=p1", UNSTATED),
        ("Patient?identifier=urn:mrn|9", UNSTATED),
        ("Patient?identifier=urn:mrn|77", OURS),
        ("Zaphod Beeblebrox", UNSTATED),
        ("see chart", UNSTATED),
        ("#p1", UNSTATED),
        ("", UNSTATED),
        (None, UNSTATED),
        ("Group/p1", UNSTATED),
        (f"{SERVER}/Device/p1", UNSTATED),
    ],
)
def test_a_reference_means_the_patient_another_one_or_none(reference: str | None, ownership: Ownership) -> None:
    assert call_patient().by_reference(reference) is ownership
    assert call_patient().by_reference(reference) is ownership


def test_where_no_server_is_known_only_ids_are_compared() -> None:
    assert call_patient(None).by_reference("https://anywhere.example/Patient/p1") is OURS
    assert call_patient(None).by_reference("https://anywhere.example/Patient/p2") is OTHER_PATIENT


@pytest.mark.parametrize(
    ("fields", "ownership"),
    [
        ({"subject": {"reference": "Patient/p1"}}, OURS),
        ({"patient": {"reference": "Patient/p1"}}, OURS),
        ({"patient": "Patient/p1"}, OURS),
        ({"subject": [{"reference": "Patient/p1"}]}, OURS),
        ({"subject": [{"reference": "Patient/p1"}, {"reference": "Patient/p2"}]}, OTHER_PATIENT),
        ({"subject": {"reference": "Patient/p1"}, "patient": {"reference": "Patient/p2"}}, OTHER_PATIENT),
        ({"subject": {"reference": "Group/g"}, "patient": {"reference": "Patient/p1"}}, OURS),
        ({"subject": {"identifier": {"value": "p1"}}}, UNSTATED),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "77"}}}, OURS),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": " 77 "}, "reference": "urn:uuid:nowhere"}}, OURS),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "77"}, "type": "Patient"}}, OURS),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "77"}, "type": "Group"}}, UNSTATED),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "77"}, "reference": "Patient/p2"}}, OTHER_PATIENT),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "78"}, "reference": "Patient/p1"}}, OURS),
        ({"subject": {"identifier": {"system": "urn:mrn", "value": "78"}}}, UNSTATED),
        ({"subject": {"identifier": {"system": "urn:other", "value": "77"}}}, UNSTATED),
        ({"subject": {"identifier": {"value": "77"}}}, UNSTATED),
        ({"subject": {"identifier": {"value": "nameless"}}}, UNSTATED),
        ({"subject": {"identifier": {"type": {"coding": [{"code": "MR"}]}, "value": "R5"}}}, OURS),
        ({"subject": {"identifier": {"type": {"coding": {"code": "MR"}}, "value": "R5"}}}, OURS),
        ({"subject": {"identifier": {"type": {"coding": [{"code": "AN"}]}, "value": "R5"}}}, UNSTATED),
        ({"subject": {"identifier": {"type": {"coding": [{"code": "MR"}]}, "value": "77"}}}, UNSTATED),
        ({"subject": {"identifier": ["odd"]}}, UNSTATED),
        ({"subject": {"reference": "p1", "type": "Group"}}, UNSTATED),
        ({"subject": {"reference": "p1", "type": "http://hl7.org/fhir/StructureDefinition/Patient"}}, OURS),
        ({"subject": {"reference": "#c"}, "contained": [CONTAINED]}, OURS),
        ({"subject": {"reference": "#d"}, "contained": [CONTAINED]}, UNSTATED),
        ({"subject": {"reference": "#p1"}, "contained": [{"resourceType": "Patient", "id": "p1"}]}, UNSTATED),
        ({"subject": [{"reference": "Group/g"}, {"reference": "Patient/p2"}]}, OTHER_PATIENT),
        ({"resourceType": "Patient", "id": "urn:uuid:p1"}, OURS),
        ({"resourceType": "Patient", "id": "urn:uuid:p2"}, UNSTATED),
        ({"subject": {"display": "Zaphod"}}, UNSTATED),
        ({"subject": []}, UNSTATED),
        ({}, UNSTATED),
        ({"resourceType": "Patient", "id": "p1"}, OURS),
        ({"resourceType": "Patient", "id": "p2"}, OTHER_PATIENT),
        ({"resourceType": "Patient"}, UNSTATED),
    ],
)
def test_a_resource_is_the_patients_or_not(fields: dict[str, Any], ownership: Ownership) -> None:
    assert call_patient().ownership(msgspec.convert(fields, Resource)) is ownership


def test_what_does_not_say_whose_it_is_is_not_used_and_said() -> None:
    nobodys = without(observation(value=2.0), "subject")
    found = facts(labs=bundle(nobodys, observation(value=4.0)))
    assert [lab.value for lab in found.labs["potassium"].results] == [4]
    assert found.sources["labs"].state is SourceState.PARTIAL
    assert found.sources["labs"].note == "1 of 2 entries do not say whose they are"
    alone = facts(labs=bundle(nobodys), patient=without(patient(), "id"))
    assert (alone.labs, alone.patient.birth_date) == ({}, None)
    assert {alone.sources[name].state for name in ("labs", "patient")} == {SourceState.PARTIAL}


@pytest.mark.parametrize("subject", [None, {}, [], {"reference": ""}, {"display": "Zaphod"}])
def test_an_order_without_a_subject_is_the_patients(subject: Any) -> None:
    assert len(facts(bundle({**prescription(), "subject": subject})).orders) == 1


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Group/p1"},
        {"reference": "Patient/a/b/c"},
        {"reference": "urn:uuid:nowhere"},
        {"reference": "#nobody"},
        {"reference": "p1", "type": "Group"},
        {"identifier": {"system": "urn:mrn", "value": "1"}},
        [{"reference": "Group/p1"}],
    ],
)
def test_an_order_with_an_unclear_subject_is_left_out_and_the_response_says_so(subject: Any) -> None:
    found = facts(bundle(prescription(), {**prescription(id="rx2"), "subject": subject}))
    assert [order.reference for order in found.orders] == ["MedicationRequest/rx1"]
    source = found.sources["orders"]
    assert (source.state, source.note) == (SourceState.PARTIAL, "1 of 2 draft orders do not say whose they are")
    selected = facts(bundle({**prescription(), "subject": subject}), ["MedicationRequest/rx1"], "order-select")
    assert selected.sources["orders"].note == "1 of 1 draft orders do not say whose they are"


def test_a_patient_in_any_bundle_of_the_call_tells_whose_a_urn_is() -> None:
    own, another = {"fullUrl": "urn:uuid:AB", "resource": patient()}, {"fullUrl": "urn:uuid:AB", "resource": patient(id="p2")}
    nameless = {"fullUrl": "urn:uuid:AB", "resource": without(patient(), "id")}
    result = {"resource": observation(subject={"reference": "urn:uuid:ab"})}
    order = prescription(subject={"reference": "urn:uuid:ab"})

    def states(drafts: list[Any], labs: list[Any]) -> tuple[int, str, int]:
        given_labs = {"resourceType": "Bundle", "entry": [*labs, result]}
        found = facts({"resourceType": "Bundle", "entry": [*drafts, {"resource": order}]}, labs=given_labs, patient=patient())
        return len(found.orders), found.sources["labs"].note, len(found.labs)

    assert states([own], []) == states([], [own]) == states([own], [own]) == states([nameless], [own]) == (1, "", 1)
    unsaid = (0, "1 of 1 entries do not say whose they are", 0)
    assert states([], []) == states([nameless], []) == states([], [nameless]) == states([another], [own]) == unsaid
    for drafts, labs in (([another], []), ([], [another])):
        with pytest.raises(WrongPatientError):
            states(drafts, labs)


def test_a_document_whose_patient_has_no_id_is_not_used_in_silence() -> None:
    document = {
        "resourceType": "Bundle",
        "type": "document",
        "entry": [
            {"fullUrl": "urn:uuid:1", "resource": without(patient(), "id")},
            {"fullUrl": "urn:uuid:2", "resource": observation(subject={"reference": "urn:uuid:1"})},
        ],
    }
    found = facts(labs=document, patient=document)
    assert found.patient.birth_date is None
    assert found.labs == {}
    assert {found.sources[name].note for name in ("labs", "patient")} == {"1 of 1 entries do not say whose they are"}
    known = facts(labs=document, patient=document, patient_id="1")
    assert (len(known.labs), known.patient.birth_date is not None) == (1, True)


@pytest.mark.parametrize("fields", [{"subject": {"reference": "Patient/p2"}}, {"patient": {"reference": "Patient/p2"}}])
def test_an_order_of_another_patient_is_refused_wherever_it_stands(fields: dict[str, Any]) -> None:
    mixed = [prescription(id=f"o{number}") for number in range(60)] + [{**prescription(), **fields}]
    with pytest.raises(WrongPatientError):
        facts(bundle(*mixed))


def test_a_medication_needs_no_patient() -> None:
    medication = {"resourceType": "Medication", "id": "m", "code": {"text": "Quinine 200 mg"}}
    said = {**without(statement(), "medicationCodeableConcept"), "medicationReference": {"reference": "Medication/m"}}
    found = facts(statements=bundle(said, medication))
    assert found.sources["statements"].state is SourceState.PRESENT
    assert [drug.text for drug in found.drugs] == ["Quinine 200 mg"]


@given(
    st.sampled_from(["labs", "statements", "prescriptions", "problems"]),
    st.integers(0, 4),
    st.sampled_from(["Patient/p2", "p2", "https://ehr.example/fhir/Patient/p2", "Patient/p2/_history/1", "patient/p%32"]),
)
def test_one_foreign_resource_makes_its_source_unknown(source: str, position: int, reference: str) -> None:
    kinds: dict[str, Any] = {"labs": observation, "statements": statement, "prescriptions": prescription, "problems": condition}
    resources = [kinds[source](id=f"r{number}") for number in range(5)]
    resources[position]["subject"] = {"reference": reference}
    given_sources: dict[str, Any] = {name: bundle(make()) for name, make in kinds.items()} | {source: bundle(*resources)}
    found = facts(**given_sources)
    assert (found.sources[source].state, found.sources[source].note) == (SourceState.ERROR, FOREIGN_NOTE)
    assert all(drug.source != source for drug in found.drugs)
    assert source != "labs" or found.labs == {}
    assert source != "problems" or found.problems == ()


PIECES = [
    "Patient",
    "Group",
    "p1",
    "p2",
    "/",
    "/",
    "//",
    "_history",
    "7",
    "#",
    "?",
    "|",
    "%31",
    "urn:uuid:",
    "u1",
    "..",
    " ",
    SERVER,
]


@pytest.mark.proof
@settings(max_examples=proofs.examples("CDS_REFERENCES", 300, 3000))
@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
@example("https://ehr.example/api/fhir|/Patient/Patient")
def test_only_a_readable_reference_is_anybodys(reference: str) -> None:
    """The patient's only where it ends in the patient's id behind no other type; another's only where it has an id at all."""
    ownership = call_patient().by_reference(reference)
    said = unquote(re.split("/_history(?:/|$)", reference.strip())[0]).rstrip("/")
    if ownership is UNSTATED:
        return
    assert not set("#?|") & set(reference)
    tail = said.rpartition("/")[2].rpartition(":")[2]
    if ownership is OURS:
        assert tail in ("p1", "u1")
        assert "Group" not in reference.split("/")
    else:
        assert re.search("[A-Za-z0-9]", tail)
        assert tail != "Patient" or "Patient/Patient" in reference
        assert tail != "p1" or "//" in reference


SUBJECTS: list[tuple[Any, Ownership]] = [
    ({"reference": "Patient/p1"}, OURS),
    ({"reference": "urn:uuid:1f"}, OURS),
    ({"identifier": {"system": "urn:mrn", "value": "77"}}, OURS),
    ({"reference": "Patient?identifier=urn:mrn|77"}, OURS),
    ([{"reference": "Patient/p1/_history/2"}], OURS),
    ({"reference": "Patient/p2"}, OTHER_PATIENT),
    ({"reference": "urn:uuid:2f"}, OTHER_PATIENT),
    ([{"reference": "Patient/p1"}, {"reference": "p2"}], OTHER_PATIENT),
    ({"reference": "Patient/p1/x/y"}, UNSTATED),
    ({"reference": "urn:uuid:3f"}, UNSTATED),
    ({"reference": "Group/p1"}, UNSTATED),
    ({"reference": "#p1"}, UNSTATED),
    ({"identifier": {"system": "urn:mrn", "value": "78"}}, UNSTATED),
]
SUBJECT = st.sampled_from(SUBJECTS)


@pytest.mark.proof
@settings(max_examples=proofs.examples("CDS_SUBJECTS", 100, 1000))
@given(
    st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=4), st.lists(st.sampled_from(SUBJECTS), max_size=3), st.booleans()
)
def test_any_mix_is_used_refused_or_said(
    labs: list[tuple[Any, Ownership]], drafts: list[tuple[Any, Ownership]], in_drafts: bool
) -> None:
    """What is the patient's is used, another's spoils its source or ends the call, and all else is counted."""
    patients = [{"fullUrl": f"urn:uuid:{n}F", "resource": patient(id=f"p{n}")} for n in (1, 2)]
    results = [{"resource": observation(value=4 + n, id=f"k{n}", subject=one)} for n, (one, _) in enumerate(labs)]
    orders = [{"resource": prescription(id=f"o{n}", subject=one)} for n, (one, _) in enumerate(drafts)]
    sent: dict[str, Any] = {
        "drafts": {"resourceType": "Bundle", "entry": [*(patients if in_drafts else ()), *orders]},
        "labs": {"resourceType": "Bundle", "entry": [*(() if in_drafts else patients), *results]},
        "patient": patient(identifier=[{"system": "urn:mrn", "value": "77"}]),
    }
    if OTHER_PATIENT in {ownership for _, ownership in drafts}:
        with pytest.raises(WrongPatientError):
            facts(**sent)
        return
    found = facts(**sent)
    assert len(found.orders) == sum(ownership is OURS for _, ownership in drafts)
    assert (found.sources["orders"].state is SourceState.PARTIAL) is any(ownership is UNSTATED for _, ownership in drafts)
    told = [ownership for _, ownership in labs]
    if OTHER_PATIENT in told:
        assert (found.sources["labs"].note, found.labs) == (FOREIGN_NOTE, {})
    else:
        used = found.labs["potassium"].results if found.labs else ()
        assert len(used) == told.count(OURS)
        assert found.sources["labs"].complete is (UNSTATED not in told)
