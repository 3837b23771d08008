"""Whose a resource is: that of the patient of the call, somebody else's, or not said.

A reference means the call's patient where it names the same id as "123", "Patient/123", "Patient/123/_history/4", or as one of
these under the call's `fhirServer`; as `urn:uuid:…` where that is the id, or the fullUrl of the call's patient in a Bundle.
Ids are unique within a server only: the same id under another base is another patient. Host, port and path of a base count, its
scheme doesn't, because EHRs behind a proxy mix both. Where a call names no server, only ids can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from urllib.parse import urlsplit

from cds_service.fhir import Resource, Subject, bare_id, listed

_PORTS = {"http": 80, "https": 443}


class Whose(Enum):
    THE_PATIENTS = "the patient's"
    ANOTHERS = "another's"
    NOT_SAID = "not said"  # no reference, one that names nobody (an identifier, a contained resource), or none to a patient


class Owner:
    """The patient of one call, as resources may refer to it."""

    def __init__(self, patient_id: str, fhir_server: str | None, by_url: Mapping[str, Resource]) -> None:
        """`by_url`: resources by the bare id of a `urn:` fullUrl that is not their own id."""
        self.id = bare_id(patient_id)
        self._base = _base(fhir_server) if fhir_server else None
        self._by_url = by_url
        self._known = {f"Patient/{self.id}": Whose.THE_PATIENTS}  # references that were looked at

    def whose(self, resource: Resource) -> Whose:
        """Whose `resource` is. Of several references one to somebody else decides."""
        if resource.resourceType == "Patient":
            sent = resource.id
            return Whose.NOT_SAID if not sent else Whose.THE_PATIENTS if bare_id(sent) == self.id else Whose.ANOTHERS
        if resource.patient is None and isinstance(resource.subject, Subject):  # as nearly always
            return self.meant_by(resource.subject.reference)
        meant = {
            self.meant_by(one.reference if isinstance(one, Subject) else one)
            for one in (*listed(resource.subject), resource.patient)
            if one is not None
        }
        return next((whose for whose in (Whose.ANOTHERS, Whose.THE_PATIENTS) if whose in meant), Whose.NOT_SAID)

    def meant_by(self, reference: str | None) -> Whose:
        """Who is meant by the text of a reference to a patient, or by a bare id."""
        if not reference:
            return Whose.NOT_SAID
        known = self._known.get(reference)
        if known is None:
            known = self._known[reference] = self._meant_by(reference)
        return known

    def _meant_by(self, reference: str) -> Whose:
        if reference.startswith("#"):
            return Whose.NOT_SAID
        reference = reference.rstrip("/")
        key = bare_id(reference)
        base = ""
        if reference.startswith("urn:"):
            target = self._by_url.get(key)
            key = bare_id(target.id) if target is not None and target.resourceType == "Patient" else key
        else:
            base, _, kind = reference.partition("/_history")[0].rpartition("/")[0].rpartition("/")
            if kind.lower() not in ("", "patient"):
                return Whose.NOT_SAID
        elsewhere = "//" in base and self._base is not None and _base(base) != self._base
        return Whose.ANOTHERS if key != self.id or elsewhere else Whose.THE_PATIENTS


def _base(url: str) -> tuple[str, int | None, str]:
    """Host, port and path of a FHIR base; what can't be read is equal to nothing but itself."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port != _PORTS.get(parts.scheme) else None
        return (parts.hostname or "").lower(), port, parts.path.strip("/")
    except ValueError:
        return url, None, ""
