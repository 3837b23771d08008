"""Make a request of FHIR resources that are not one: a Bundle, a single resource, a prefetch object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from cds_service.criteria.facts import SOURCES
from cds_service.fhir.draft_entries import ORDERS
from cds_service.wire.errors import BadRequest

Json = dict[str, Any]
_HOMES = {kind: key for key, kind in SOURCES.items()} | {
    "Medication": "prescriptions", "MedicationOrder": "prescriptions", "DiagnosticReport": "labs",
}  # fmt: skip
_LARGEST_LIST = 6  # types that a note names


def from_bundle(bundle: Json) -> tuple[Json, list[str]]:
    """Return a request about the patient of a Bundle, and notes on what it took and left.

    Raises BadRequest where no patient is in it.
    """
    entries = [entry for entry in _list(bundle.get("entry")) if isinstance(entry, dict)]
    resources = [entry["resource"] for entry in entries if isinstance(entry.get("resource"), dict)]
    urls = {
        entry["fullUrl"]: one
        for entry in entries
        if isinstance(one := entry.get("resource"), dict) and isinstance(entry.get("fullUrl"), str)
    }
    return _request(resources, urls, f"a Bundle of {len(resources)} resources")


def from_prefetch(prefetch: Json) -> tuple[Json, list[str]]:
    """Return a request with a prefetch object, and notes. Keys of other names are sorted by the types of their resources."""
    known = {key: value for key, value in prefetch.items() if key in SOURCES}
    others = {key: value for key, value in prefetch.items() if key not in SOURCES}
    request, notes = _request(list(_resources(prefetch.values())), {}, f"a prefetch object with {len(prefetch)} keys")
    request["prefetch"] |= known
    if others:
        notes.append(f"{len(others)} keys have names of their own; their resources were sorted by type.")
    return request, notes


def _request(resources: list[Json], urls: Mapping[str, Json], what: str) -> tuple[Json, list[str]]:
    patient, patient_id = _patient(resources)
    names = {patient_id, f"Patient/{patient_id}", *(url for url, one in urls.items() if one is patient)}
    taken: dict[str, list[Json]] = {key: [] for key in SOURCES if key != "patient"}
    drafts: list[Json] = []
    ignored: Counter[str] = Counter()
    of_others = 0
    for resource in resources:
        kind = str(resource.get("resourceType", "a resource without a type"))
        if resource is patient:
            continue
        subject = _subject(resource)
        if subject and subject not in names and not subject.endswith(f"/Patient/{patient_id}"):
            of_others += 1
        elif kind in ORDERS and resource.get("status") == "draft":
            drafts.append(_about(resource, patient_id))
        elif kind in _HOMES and kind != "Patient":
            taken[_HOMES[kind]].append(_about(resource, patient_id))
        else:
            ignored[kind] += 1
    context: Json = {"userId": "Practitioner/playground", "patientId": patient_id}
    if drafts:
        for number, draft in enumerate(drafts, 1):
            draft.setdefault("id", f"draft-{number}")
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in drafts]}
    prefetch: Json = {"patient": patient} | {key: _searchset(found) for key, found in taken.items()}
    request = {
        "hookInstance": str(uuid4()),
        "hook": "order-sign" if drafts else "patient-view",
        "context": context,
        "prefetch": prefetch,
    }
    return request, list(_notes(what, taken, drafts, ignored, of_others, patient is not None))


def _notes(
    what: str, taken: Mapping[str, list[Json]], drafts: list[Json], ignored: Counter[str], of_others: int, has_patient: bool
) -> Iterable[str]:
    found = [f"{len(some)} {SOURCES[key]}" for key, some in taken.items() if some]
    found += [f"{len(drafts)} draft orders"] if drafts else []
    yield f"Imported from {what}: {', '.join(found) or 'nothing that cards read'}."
    if not has_patient:
        yield "It has no Patient: age and sex are not known."
    if none := [SOURCES[key] for key, some in taken.items() if not some]:
        yield f"None of it, taken as none on record: {', '.join(none)}."
    if ignored:
        named = [f"{count} {kind}" for kind, count in ignored.most_common(_LARGEST_LIST)]
        rest = len(ignored) - len(named)
        yield f"Ignored, because no card reads it: {', '.join(named)}{f' and {rest} other types' if rest > 0 else ''}."
    if of_others:
        yield f"Ignored, because it is about another patient than the first: {of_others} resources."


def _patient(resources: Iterable[Json]) -> tuple[Json | None, str]:
    """Return the first Patient and its id; without one, the id that most resources refer to."""
    for resource in resources:
        if resource.get("resourceType") == "Patient":
            resource.setdefault("id", "patient-1")
            return resource, str(resource["id"])
    subjects = Counter(subject for one in resources if (subject := _subject(one)))
    if not subjects:
        raise BadRequest("No Patient is in it, and no resource names its patient")
    return None, subjects.most_common(1)[0][0].rpartition("/")[2]


def _subject(resource: Json) -> str:
    for name in ("subject", "patient"):
        reference = resource.get(name)
        if isinstance(reference, dict) and isinstance(text := reference.get("reference"), str):
            return text
    return ""


def _about(resource: Json, patient_id: str) -> Json:
    """Return a resource that refers to its patient by type and id, where it did so by an address in its Bundle."""
    name = "patient" if "patient" in resource and "subject" not in resource else "subject"
    return resource | {name: {"reference": f"Patient/{patient_id}"}} if _subject(resource) else resource


def _searchset(resources: list[Json]) -> Json | None:
    if not resources:
        return None
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def _resources(values: Iterable[Any]) -> Iterable[Json]:
    for value in values:
        if isinstance(value, dict) and value.get("resourceType") == "Bundle":
            yield from (entry["resource"] for entry in _list(value.get("entry")) if isinstance(_resource(entry), dict))
        elif isinstance(value, dict):
            yield value


def _resource(entry: Any) -> Any:
    return entry.get("resource") if isinstance(entry, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
