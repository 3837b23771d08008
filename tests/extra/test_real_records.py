"""Records and requests of other systems (CDS_SHARED/ehr, CDS_SHARED/protocol/payloads) go through the reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from cds_service.criteria.facts import SOURCES
from cds_service.fhir.gathered import EXPECTED
from cds_service.fhir.resources import Resource, Subject, bare_id, first
from cds_service.read.draft_orders import WrongPatientError
from tests.reading import facts

KINDS = set(SOURCES.values())
SHARED = Path(os.environ.get("CDS_SHARED", ""))


def documents(*folders: str) -> Iterator[tuple[Path, Any]]:
    for folder in folders:
        for path in sorted((SHARED / folder).rglob("*.json")):
            yield path, msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))


def patient_in(document: Any) -> str:
    """The first patient that anything in a record is about."""
    resources = [entry.get("resource") or {} for entry in document.get("entry", [])] or [document]
    for one in resources:
        if one.get("resourceType") in KINDS:
            resource = msgspec.convert(one, Resource, strict=False)
            subject = first(resource.subject) or resource.patient
            if resource.resourceType == "Patient" and resource.id:
                return resource.id
            if isinstance(subject, Subject) and subject.reference and "Group/" not in subject.reference:
                return bare_id(subject.reference)
    return "p1"


def test_every_record_is_read_and_no_resource_of_it_is_quarantined() -> None:
    read, bad, low = 0, [], []
    for path, document in documents("ehr"):
        if "resourceType" not in document:
            continue  # a request
        everywhere: dict[str, Any] = dict.fromkeys(EXPECTED, document)
        found = facts(patient_id=patient_in(document), **everywhere)
        read += 1
        bad += [(path.name, one) for one in found.quarantined]
        potassium = found.labs.get("potassium")
        low += [path.name for lab in potassium.results if lab.value < Decimal("3.5") and not lab.unconfirmed] if potassium else []
    assert read > 800
    assert bad == []
    assert low == []  # the only low ones are of unknown status


def test_every_prefetch_value_of_a_request_is_read_as_any_source() -> None:
    read = 0
    for _, document in documents("protocol/payloads"):
        prefetch = document.get("prefetch") if isinstance(document, dict) else None
        for value in prefetch.values() if isinstance(prefetch, dict) else ():
            everywhere: dict[str, Any] = dict.fromkeys(EXPECTED, value)
            context = document.get("context", {})
            with suppress(WrongPatientError):  # seen in the wild, and refused
                facts(context.get("draftOrders"), ["x"], "order-select", bare_id(str(context.get("patientId"))), **everywhere)
            read += 1
    assert read > 50
