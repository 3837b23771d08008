"""Decide whether a resource belongs to the call's patient or to another, or does not state it.

A reference means the call's patient where it names the same id as "123", "Patient/123", "Patient/123/_history/4", or as one of
these under the call's `fhirServer`; as `urn:uuid:…` where that is the id, or the fullUrl of the call's patient in any Bundle of
the call. Without such a reference, an identifier that is one of the prefetched Patient's means the patient as well.

Another patient is meant only where another id can be read. A reference of any other form (`Patient/1/2`, a `urn:` that no Bundle
holds, a Group, an identifier that the Patient does not have) leaves the patient unstated: such data are not used, and the
response says so.

Ids are unique within a server only: the same id under another base is another patient. Host, port and path of a base count, its
scheme doesn't, because EHRs behind a proxy mix both. Where a call names no server, only ids can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from cds_service.fhir.resources import Resource, Subject, bare_id, is_urn, listed
from cds_service.short_cache import short_cache

_PORTS = {"http": 80, "https": 443}
# FHIR's ids have up to 64 characters without "_"; EHRs use more of both. Neither dots alone nor a stray "_history" are an id.
ID = re.compile(r"(?!_history$)(?=[._-]*[A-Za-z0-9])[A-Za-z0-9._-]{1,255}")
_REST = re.compile(  # "[base/]Patient/id[/_history[/version]]" (FHIR R4, "References"), and with a slash at the end
    r"(?:(?P<base>(?:https?:)?//[^\s?#|]+?)?/)?patient/(?P<id>[^\s/?#|]+)(?:/_history(?:/[^\s/?#|]+)?)?/*", re.IGNORECASE
)
_URN = re.compile(r"urn:[^\s/?#|]+", re.IGNORECASE)
_CONDITIONAL = re.compile(r"patient\?identifier=(?P<system>[^\s&|]+)\|(?P<value>[^\s&|]+)", re.IGNORECASE)
_RECORD_NUMBER = "MR"  # HL7 v2-0203: the number of a patient's record, which one organisation gives once


class Ownership(Enum):
    """Which patient a resource belongs to."""

    PATIENT = "patient"
    OTHER_PATIENT = "other patient"
    UNSTATED = "unstated"  # no reference, or none that leads to one patient


PATIENT, UNSTATED = (
    Ownership.PATIENT,
    Ownership.UNSTATED,
)  # as module names too, because looking a member up in its enumeration is slow


class CallPatient:
    """The patient of one call, with all that resources may refer to it by."""

    def __init__(
        self, patient_id: str, fhir_server: str | None, by_url: Mapping[str, Resource], patients: Sequence[Resource] = ()
    ) -> None:
        """Take the id and base of the call.

        `by_url`: entries by the fullUrl that a reference may repeat, see `entries_by_url`; `patients`: Patients as sent.
        """
        self.id = bare_id(patient_id)
        self._base = _base(fhir_server) if fhir_server else None
        self._by_url = by_url
        self._patients = patients
        self._known = {f"Patient/{self.id}": Ownership.PATIENT}  # references read so far

    def ownership(self, resource: Resource) -> Ownership:
        """Return which patient `resource` belongs to; of several references, one to another patient decides."""
        if resource.resourceType == "Patient":
            return self._is_patient(resource.id)
        subject = resource.subject
        if resource.patient is None and isinstance(subject, Subject) and subject.type is None:  # as nearly always
            ownership = self.by_reference(subject.reference)
            if ownership is not UNSTATED:
                return ownership
        meant = {self.by_reference(one) if isinstance(one, str) else self._named_by(one, resource) for one in subjects(resource)}
        return next(
            (ownership for ownership in (Ownership.OTHER_PATIENT, Ownership.PATIENT) if ownership in meant), Ownership.UNSTATED
        )

    def by_reference(self, reference: str | None) -> Ownership:
        """Return which patient the text of a reference, or a bare id, means."""
        if not reference:
            return UNSTATED
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._read_reference(reference.strip())
        return known

    def _is_patient(self, sent: str | None) -> Ownership:
        if not sent:
            return Ownership.UNSTATED
        if is_urn(sent):  # a Patient without an id, by its fullUrl
            return Ownership.PATIENT if bare_id(sent) == self.id else Ownership.UNSTATED
        return Ownership.PATIENT if bare_id(sent) == self.id else Ownership.OTHER_PATIENT

    def _named_by(self, subject: Subject, resource: Resource) -> Ownership:
        if subject.type is not None and not _is_type_patient(subject.type):
            return Ownership.UNSTATED
        ownership = self.by_reference(subject.reference)
        if ownership is Ownership.UNSTATED:
            contained = _contained(resource, subject.reference) if subject.reference else ()
            if any(self._has(one) for one in (subject.identifier, *contained)):
                return Ownership.PATIENT
        return ownership

    def _read_reference(self, reference: str) -> Ownership:
        if _URN.fullmatch(reference):
            return Ownership.PATIENT if (key := bare_id(reference)) == self.id else self._is_entry(key)
        if (rest := _REST.fullmatch(reference)) is not None:
            return self._at(rest["base"] or "", unquote(rest["id"]))
        if (search := _CONDITIONAL.fullmatch(reference)) is not None:
            wanted = {"system": unquote(search["system"]), "value": unquote(search["value"])}
            return Ownership.PATIENT if self._has(wanted) else Ownership.UNSTATED
        if "/" not in reference and reference.lower() != "patient":
            return self._at("", unquote(reference))
        return self._is_entry(reference)

    def _at(self, base: str, key: str) -> Ownership:
        """Return which patient has the id `key` on the server `base`; "" is the server of the call."""
        if base and self._base is None and "/Patient/" in f"{base}/":
            return Ownership.UNSTATED  # "…/Patient/1/Patient/2", and no base is known that could look like this
        if key != self.id:
            return Ownership.OTHER_PATIENT if ID.fullmatch(key) else Ownership.UNSTATED
        return Ownership.OTHER_PATIENT if base and self._base is not None and _base(base) != self._base else Ownership.PATIENT

    def _is_entry(self, url: str) -> Ownership:
        """Return which patient the entry with this fullUrl is; UNSTATED for another type."""
        entry = self._by_url.get(url.lower())
        return self._is_patient(entry.id) if entry is not None and entry.resourceType == "Patient" else Ownership.UNSTATED

    def _has(self, identifier: Any) -> bool:
        """Tell whether the patient has this identifier, by system and value, or as record number."""
        return not self._identifiers.isdisjoint(_spellings(identifier))

    @cached_property
    def _identifiers(self) -> frozenset[tuple[str, str]]:
        ours = [one for one in self._patients if self._is_patient(one.id) is Ownership.PATIENT]
        return frozenset(spelling for one in ours for number in listed(one.identifier) for spelling in _spellings(number))


def subjects(resource: Resource) -> Iterator[Subject | str]:
    """Yield the references of `resource` to its patient; a name alone does not count, as names are not unique."""
    for one in (*listed(resource.subject), resource.patient):
        if one and (isinstance(one, str) or one.reference or one.identifier):
            yield one


def entries_by_url(maps: Iterable[Mapping[str, Resource]]) -> Mapping[str, Resource]:
    """Join the entries of several Bundles by fullUrl in lower case; one that means two patients leads to neither."""
    found: dict[str, Resource] = {}
    for by_url in maps:
        for url, one in by_url.items():
            key = url.lower()
            before = found.get(key)
            if before is None or before.id is None or is_urn(before.id):
                found[key] = one
            elif before.id != one.id and one.id is not None and not is_urn(one.id):
                found[key] = Resource(id=before.id)
    return found


def _contained(resource: Resource, reference: str) -> Iterator[Any]:
    """Yield the identifiers of the contained Patient that the fragment `reference` names."""
    if reference.startswith("#") and (key := reference[1:]):
        for one in listed(resource.contained):
            if one.resourceType == "Patient" and (one.id or "").removeprefix("#") == key:
                yield from listed(one.identifier)


def _is_type_patient(sent: Any) -> bool:
    """Tell whether `Reference.type` is Patient, by name or by URL of the definition, or is not a text."""
    return not isinstance(sent, str) or sent.rpartition("/")[2].lower() in ("patient", "")


def _spellings(identifier: Any) -> Iterator[tuple[str, str]]:
    """Yield the keys of an Identifier: (system, value), and (type, value) of a record number."""
    if not isinstance(identifier, dict):
        return
    system, value = (one.strip() if isinstance(one := identifier.get(name), str) else "" for name in ("system", "value"))
    if not value:
        return
    if system:
        yield system, value
    kind = identifier.get("type")
    codings = listed(kind.get("coding")) if isinstance(kind, dict) else []
    if any(isinstance(coding, dict) and coding.get("code") == _RECORD_NUMBER for coding in codings):
        yield _RECORD_NUMBER, value


@short_cache(256)  # the servers of a site's clients
def _base(url: str) -> tuple[str, int | None, str]:
    """Return host, port and path of a FHIR base; a text that can't be read stands for itself."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port != _PORTS.get(parts.scheme) else None
        return (parts.hostname or "").lower(), port, unquote(parts.path).strip("/")
    except ValueError:
        return url, None, ""
