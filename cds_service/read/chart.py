"""Sort out what was gathered: the resources that are the patient's, before any code is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

import msgspec

from cds_service.criteria.facts import FOREIGN_NOTE, SOURCES, Patient, Quarantined, Source, SourceState
from cds_service.fhir.dates import when
from cds_service.fhir.draft_entries import DraftEntries
from cds_service.fhir.gathered import HOMES, TARGETS, Gathered
from cds_service.fhir.panels import flattened, out_of_reach
from cds_service.fhir.resources import Resource, bare_id
from cds_service.read.conditions import unnamed
from cds_service.read.draft_orders import OwnDraft, own_drafts
from cds_service.read.reference_targets import Targets
from cds_service.read.subject import PATIENT, UNSTATED, CallPatient, Ownership, entries_by_url

_SEX: dict[str, Literal["female", "male"]] = {"female": "female", "f": "female", "male": "male", "m": "male"}
_ABSENT = Gathered(Source(SourceState.ABSENT))


class Chart(msgspec.Struct, frozen=True):
    """The patient's resources and draft orders of one call, and how complete each source is."""

    patient: Patient
    given: dict[str, Gathered]  # by the names in `facts.SOURCES`
    targets: Targets
    drafts: list[OwnDraft]
    sources: dict[str, Source]
    quarantined: tuple[Quarantined, ...]


def own_chart(
    sources: Mapping[str, Gathered],
    entries: DraftEntries | None,
    selections: list[str] | None,
    *,
    hook: str,
    patient_id: str,
    now: datetime,
    fhir_server: str | None = None,
) -> Chart:
    """Return what belongs to the patient `patient_id` of the server with the base `fhir_server`.

    A source that holds anything of another patient counts as one that failed. A resource that does not state its
    patient is not used, and its source is known in part only; this holds for draft orders too. A draft order without any subject
    counts as the patient's, because orders are part of the call and not the result of a search.

    `sources`: by the names in `facts.SOURCES`; a missing one counts as absent. `entries`: the draft orders, None where none were
    sent. Raises WrongPatientError for a draft order of another patient, and nothing else, whatever the data.
    """
    patient_id = bare_id(patient_id)
    by_url = entries_by_url([*(source.by_url for source in sources.values()), *([entries.by_url] if entries else [])])
    call_patient = CallPatient(patient_id, fhir_server, by_url, sources["patient"].resources if "patient" in sources else ())
    sent = {name: sources.get(name, _ABSENT) for name in SOURCES}
    sent["labs"] = _each_result(sent["labs"], sources.get("members"), by_url)
    given = {name: _of_patient(call_patient, one) for name, one in sent.items()}
    if any(source.misplaced for source in sources.values()):
        given = _with_misplaced(call_patient, given)
    for name in ("problems", "allergies"):
        given[name] = _without_unnamed(given[name])
    referenced = {name: sources[name] for name in TARGETS if name in sources}
    drafts = own_drafts(entries, selections, hook, call_patient)
    return Chart(
        patient=read_patient(given["patient"].resources, patient_id, now),
        given=given,
        targets=Targets([*given.values(), *referenced.values(), *([entries.gathered] if entries else [])]),
        drafts=drafts.orders,
        sources={name: one.source for name, one in (given | referenced).items()} | {"orders": drafts.source},
        quarantined=tuple(bad for one in given.values() for bad in one.quarantined) + drafts.quarantined,
    )


def _each_result(labs: Gathered, members: Gathered | None, by_url: Mapping[str, Resource]) -> Gathered:
    """Add the results inside panels and reports as single results; `members`: those that were requested."""
    resources = labs.resources if members is None else [*labs.resources, *members.resources]
    flat = flattened(resources, by_url)
    if flat is labs.resources:
        return labs
    source = labs.source
    if source.complete and (count := out_of_reach(resources, by_url)):
        note = f"{count} results that panels and reports refer to were not sent"
        source = msgspec.structs.replace(source, state=SourceState.PARTIAL, note="; ".join(filter(None, (source.note, note))))
    return msgspec.structs.replace(labs, resources=flat, source=source)


def _of_patient(call_patient: CallPatient, gathered: Gathered) -> Gathered:
    """Return the part of a source that is about the patient; a failed source where anything in it is about another patient."""
    kept = []
    for resource in gathered.resources:
        if resource.resourceType != "Medication":  # a product, without a patient
            ownership = call_patient.ownership(resource)
            if ownership is UNSTATED:
                continue
            if ownership is not PATIENT:
                return Gathered(Source(SourceState.ERROR, gathered.source.origin, FOREIGN_NOTE))
        kept.append(resource)
    count = len(gathered.resources)
    if len(kept) == count:
        return gathered
    note = f"{count - len(kept)} of {count} entries do not say whose they are"
    source = gathered.source
    source = Source(SourceState.PARTIAL, source.origin, "; ".join(filter(None, (source.note, note))), more=True)
    return msgspec.structs.replace(gathered, source=source, resources=kept)


def _with_misplaced(call_patient: CallPatient, given: dict[str, Gathered]) -> dict[str, Gathered]:
    """Add the patient's resources that came under another key to the source that reads them, each once."""
    home = {name: list(one.resources) for name, one in given.items()}
    seen = {f"{one.resourceType}/{one.id}" for resources in home.values() for one in resources if one.id}
    for source in given.values():
        for resource in source.misplaced:
            key = f"{resource.resourceType}/{resource.id}"
            if key not in seen:
                for one in flattened([resource], {}):
                    if call_patient.ownership(one) is Ownership.PATIENT:
                        home[HOMES[one.resourceType or ""]].append(one)
                seen |= {key} if resource.id else set()
    return {name: msgspec.structs.replace(one, resources=home[name]) for name, one in given.items()}


def _without_unnamed(gathered: Gathered) -> Gathered:
    """Mark a source as known in part only where an entry in it has neither a name nor a code."""
    if not (count := unnamed(gathered.resources)):
        return gathered
    source = gathered.source
    note = f"{count} of {len(gathered.resources)} entries have neither a name nor a code"
    state = SourceState.PARTIAL if source.complete else source.state
    source = msgspec.structs.replace(source, state=state, note="; ".join(filter(None, (source.note, note))))
    return msgspec.structs.replace(gathered, source=source)


def read_patient(resources: list[Resource], patient_id: str, now: datetime) -> Patient:
    """Read the patient of the call: id, and birth date, sex and death where a Patient resource states them readably."""
    sent = next((resource for resource in resources if resource.resourceType == "Patient"), Resource())
    key = bare_id(patient_id) or bare_id(sent.id)
    reference = f"Patient/{key}" if key else ""
    return Patient(key, _birth_date(sent.birthDate), _SEX.get((sent.gender or "").lower()), reference, _deceased(sent, now))


def _deceased(patient: Resource, now: datetime) -> bool:
    """Tell whether the patient has died; a death in the future or with an unreadable date does not count."""
    if patient.deceasedDateTime:
        died = when(patient.deceasedDateTime)
        return died is not None and died.start <= now
    said = patient.deceasedBoolean
    return said is True or (isinstance(said, str) and said.lower() == "true")


def _birth_date(text: str | None) -> date | None:
    born = when(text[:10] if text else None)
    return None if born is None else born.start.date()
