"""Make a FHIR R4 GuidanceResponse of each evaluation that applied."""

from __future__ import annotations

import msgspec

from cds_service.exports.card_rows import FIRED, ExportedRow
from cds_service.exports.fhir_bundles import Resource, concept, device, logical, resource_id, system

# https://hl7.org/fhir/R4/valueset-guidance-response-status.html
_STATUS = {"not_fired": "success", "could_not_check": "data-required", "failed": "failure", **dict.fromkeys(FIRED, "success")}


def guidance_response(row: ExportedRow) -> Resource | None:
    """Return the GuidanceResponse of a row of evaluations; None where the card was about an order of which there was none."""
    one = row.members | {"missing": msgspec.json.decode(row.members["missing"])}
    if one["applies"] == "no" or one["outcome"] not in _STATUS:
        return None
    made: Resource = {
        "resourceType": "GuidanceResponse",
        "id": resource_id(one["call"], one["cardId"], one["nth"], "GuidanceResponse"),
        "identifier": [{"system": system("evaluation"), "value": f"{one['call']}/{one['cardId']}/{one['nth']}"}],
        "moduleCodeableConcept": concept("card", one["cardId"], version=one["version"]),
        "status": _STATUS[one["outcome"]],
        "occurrenceDateTime": one["receivedAt"],
        "performer": device(one["serviceVersion"]),
        "reasonCode": [concept("outcome", one["outcome"])],
    }
    if one["patientKey"]:
        made["subject"] = logical(one["patientKey"], "Patient")
    if one["encounterKey"]:
        made["encounter"] = logical(one["encounterKey"], "Encounter")
    if issues := _issues(one):
        made["contained"] = [{"resourceType": "OperationOutcome", "id": "why", "issue": issues}]
        made["evaluationMessage"] = [{"reference": "#why"}]
    if required := [_requirement(item) for item in one["missing"] if "allowed_days" in item]:
        made["dataRequirement"] = required
    return made


def _issues(one: Resource) -> list[Resource]:
    """Return what was missing or went wrong, as issues of an OperationOutcome."""
    severity = {"failed": "error", "could_not_check": "warning"}.get(one["outcome"], "information")
    found = [
        ("incomplete", ": ".join(text for text in (item["name"], item["cause"], item["note"]) if text)) for item in one["missing"]
    ]
    if one["why"]:
        found.append(("exception" if one["outcome"] == "failed" else "incomplete", one["why"]))
    return [{"severity": severity, "code": code, "diagnostics": text} for code, text in found]


def _requirement(item: Resource) -> Resource:
    """Return the requirement of a laboratory result that was missing; the criterion's name says which."""
    return {
        "type": "Observation",
        "codeFilter": [{"path": "code", "code": [{"system": system("criterion"), "code": item["name"]}]}],
    }
