"""Resources as EHRs send them, and what the reader makes of them, for the tests of reading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.criteria.facts import Drug, Facts, Lab, LabSeries
from cds_service.fhir.bundles import gathered_raw
from cds_service.fhir.draft_entries import DraftEntries, draft_entries
from cds_service.fhir.gathered import EXPECTED, Gathered
from cds_service.read.chart import own_chart
from cds_service.read.reader import read_chart
from cds_service.terminology.terminology import Terminology

NOW = datetime(2025, 12, 1, 9, 0, tzinfo=UTC)
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
Json = dict[str, Any]


@cache
def terminology() -> Terminology:
    """The value sets that the service ships."""
    return Terminology.load(Path(__file__).parent.parent / "cards" / "value_sets")


def read(
    sources: Mapping[str, Gathered],
    entries: DraftEntries | None,
    selections: list[str] | None,
    *,
    hook: str,
    patient_id: str,
    now: datetime,
    jurisdiction: Literal["US", "GB"],
    terminology: Terminology,
    fhir_server: str | None = None,
) -> Facts:
    """The facts in what was gathered, as `evaluate` reads them."""
    chart = own_chart(sources, entries, selections, hook=hook, patient_id=patient_id, now=now, fhir_server=fhir_server)
    return read_chart(chart, hook=hook, now=now, jurisdiction=jurisdiction, terminology=terminology)


def as_json(value: object) -> bytes:
    return msgspec.json.encode(value)


def bundle(*resources: Json, **more: Any) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources], **more}


def without(resource: Json, *names: str) -> Json:
    return {name: value for name, value in resource.items() if name not in names}


def concept(code: str = "", system: str = "", text: str = "") -> Json:
    coding = [{"system": system, "code": code} if system else {"code": code}] if code else []
    return {**({"coding": coding} if coding else {}), **({"text": text} if text else {})}


OURS = {"reference": "Patient/p1"}  # the patient of `facts`


def observation(loinc: str = "2823-3", value: object = 3.2, unit: str | None = "mmol/L", **more: Any) -> Json:
    """A potassium of 3.2 mmol/L, drawn on 2025-11-28, unless something else is asked for."""
    quantity = {"value": value, **({"unit": unit} if unit is not None else {})}
    return {
        "resourceType": "Observation",
        "id": "k1",
        "subject": OURS,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "effectiveDateTime": "2025-11-28T08:00:00Z",
        "valueQuantity": quantity,
        **more,
    }


def prescription(text: str = "Baclofen 10 mg oral tablet", code: str = "", system: str = RXNORM, **more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "rx1",
        "subject": OURS,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": concept(code, system, text),
        **more,
    }


def statement(text: str = "Baclofen 10 mg oral tablet", **more: Any) -> Json:
    return {
        "resourceType": "MedicationStatement",
        "id": "ms1",
        "subject": OURS,
        "status": "active",
        "medicationCodeableConcept": {"text": text},
        **more,
    }


def condition(code: str = "R25.2", system: str = "http://hl7.org/fhir/sid/icd-10-cm", text: str = "", **more: Any) -> Json:
    return {
        "resourceType": "Condition",
        "id": "c1",
        "subject": OURS,
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "verificationStatus": concept("confirmed", "http://terminology.hl7.org/CodeSystem/condition-ver-status"),
        "code": concept(code, system, text),
        **more,
    }


def patient(**more: Any) -> Json:
    return {"resourceType": "Patient", "id": "p1", "birthDate": "1960-03-04", "gender": "female", **more}


def facts(
    drafts: object = None,
    selections: list[str] | None = None,
    hook: str = "order-sign",
    patient_id: str = "p1",
    **sources: object,
) -> Facts:
    """What `read` makes of raw values by source; sources that are not given are known to be empty."""
    return read(
        {name: gathered_raw(as_json(sources.get(name)), name, "prefetch") for name in EXPECTED},
        None if drafts is None else draft_entries(as_json(drafts)),
        selections,
        hook=hook,
        patient_id=patient_id,
        now=NOW,
        jurisdiction="US",
        terminology=terminology(),
    )


def series(*observations: Json, analyte: str = "potassium") -> LabSeries:
    return facts(labs=bundle(*observations)).labs.get(analyte, LabSeries())


def result(resource: Json, analyte: str = "potassium") -> Lab:
    """The one usable result that an Observation becomes."""
    found = series(resource, analyte=analyte)
    assert found.unusable == ()
    (lab,) = found.results
    return lab


def reason(resource: Json, analyte: str = "potassium") -> str:
    """Why an Observation can't be used; "" where it left no trace at all."""
    found = series(resource, analyte=analyte)
    assert found.results == ()
    return found.unusable[0].reason if found.unusable else ""


def active(*resources: Json) -> tuple[Drug, ...]:
    """The active drugs among statements and prescriptions; a Medication may stand among them."""
    statements = [one for one in resources if one["resourceType"] == "MedicationStatement"]
    others = [one for one in resources if one["resourceType"] != "MedicationStatement"]
    return facts(statements=bundle(*statements), prescriptions=bundle(*others)).drugs
