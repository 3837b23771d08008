"""Make a FHIR R4 DetectedIssue of each card that fired, with the clinician's response as its mitigation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cds_service.exports.card_rows import ExportedRow
from cds_service.exports.fhir_bundles import Resource, concept, device, logical, resource_id, system

_SEVERITY = {"critical": "high", "warning": "moderate", "info": "low"}


def detected_issue(row: ExportedRow) -> Resource:
    """Return the DetectedIssue of a row of cards. Where nobody saw the card it is preliminary."""
    one = row.members
    seen = one["mode"] == "live" and one["state"] == "shown"
    made: Resource = {
        "resourceType": "DetectedIssue",
        "id": resource_id(one["call"], one["cardId"], one["nth"], one["cardUuid"], "DetectedIssue"),
        "identifier": [{"system": system("card-uuid"), "value": one["cardUuid"]}],
        "status": "final" if seen else "preliminary",
        "code": concept("card", one["cardId"], version=one["version"]),
        "identifiedDateTime": one["receivedAt"],
        "author": device(one["serviceVersion"]),
        "detail": f"{one['mode']}, {one['state']}",
    }
    if one["indicator"] in _SEVERITY:
        made["severity"] = _SEVERITY[one["indicator"]]
    if one["patientKey"]:
        made["patient"] = logical(one["patientKey"], "Patient")
    if one["orderKey"]:
        made["implicated"] = [logical(one["orderKey"])]
    if evidence := [found for item in _decoded(one["evidence"]) if (found := _evidence(item))]:
        made["evidence"] = evidence
    if one["feedback"]:
        made["mitigation"] = [_mitigation(item) for item in one["feedback"]]
    return made


def _decoded(evidence: msgspec.Raw | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [] if evidence is None else msgspec.json.decode(evidence)
    return found


def _evidence(item: Mapping[str, Any]) -> Resource:
    """Return what was found, as a code or words, and the hashed reference of the resource that said so."""
    code_system, _, code = str(item.get("code", "")).rpartition("|")
    label = str(item.get("analyte") or item.get("drug") or item.get("text") or "")
    text = " ".join(one for one in (label, str(item.get("reported", ""))) if one)
    found: Resource = {"text": text} if text else {}
    if code_system and code:
        found["coding"] = [{"system": code_system, "code": code}]
    made: Resource = {"code": [found]} if found else {}
    if item.get("ref"):
        made["detail"] = [logical(str(item["ref"]))]
    return made


def _mitigation(item: Mapping[str, Any]) -> Resource:
    """Return one item of feedback."""
    coding: list[Resource] = [{"system": system("outcome"), "code": item["outcome"]}]
    reason = item["reason"] or {}
    if reason.get("code"):
        coding.append({name: reason[name] for name in ("system", "code", "display") if reason.get(name)})
    return {"action": {"coding": coding, "text": item["outcome"]}, "date": item["receivedAt"]}
