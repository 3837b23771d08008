"""What the EHR would have been asked for with other value sets is part of the answer."""

from __future__ import annotations

from pathlib import Path
from random import Random

from cds_service.criteria.facts import Facts
from cds_service.evaluate import Engine
from cds_service.present.cards import Presenter
from cds_service.replay.inputs import Reading
from tests.core import knowledge
from tests.replay.changed_knowledge import changed
from tests.replay.test_truth import recorded
from tests.replay.truth_calls import END, SentCall

BODY = b"""{"hookInstance": "h", "hook": "patient-view", "fhirServer": "https://ehr.example/fhir",
    "context": {"userId": "Practitioner/1", "patientId": "p"},
    "prefetch": {"prescriptions": {"resourceType": "Bundle", "entry": [{"resource": {
        "resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p"},
        "medicationReference": {"reference": "Medication/1", "display": "Zebrafin 5 mg"}}}]}}}"""


def named(folder: Path, _: Random) -> None:
    """Let a brand name more mean quinine, so that nobody needs to ask what the medication is."""
    path = folder / "value_sets/drugs/quinine.yaml"
    path.write_text(path.read_text().replace("also: [", "also: [Zebrafin, ", 1))


def test_a_candidate_that_would_ask_for_other_resources_is_not_answered(tmp_path: Path) -> None:
    base = knowledge()
    kept = recorded(SentCall(END, "patient-view", "", BODY), Engine(base, Presenter(base)))
    assert kept is not None
    assert kept.inputs is not None
    assert kept.inputs.may_ask
    assert isinstance(Reading(base.terminology, base.terminology).facts(kept.facts, kept.inputs), Facts)
    (candidate,) = changed(tmp_path, named, 1, base)
    assert Reading(base.terminology, candidate.terminology).facts(kept.facts, kept.inputs) == "references"
