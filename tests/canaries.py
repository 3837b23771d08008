"""Canaries: texts that occur nowhere else, in every place of a request that holds a secret or says who somebody is.

They are put where EHRs put names, notes, ids, tokens and addresses. Names of drugs, problems and reactions are left as they are:
they are the evidence, and the alert log keeps them on purpose.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

Json = dict[str, Any]
CANARY = re.compile(rb"kanarie[0-9]+[a-z]+", re.IGNORECASE)

_numbers = count(100_000)
_NOTES = ("note", "comment", "text", "patientInstruction")


def canary(place: str) -> str:
    """A new one; `place` (letters only) says in a failing test where it was."""
    return f"Kanarie{next(_numbers)}{place}"


def with_canaries(request: Json, base: str = "") -> Json:
    """The request about somebody whose every id, name and note is a canary, with a token, on the FHIR server `base`."""
    made = copy.deepcopy(request)
    old = made["context"]["patientId"]
    patient = canary("patient")
    _renamed(made, {old: patient, f"Patient/{old}": f"Patient/{patient}"})
    made["context"] |= {"userId": f"Practitioner/{canary('user')}", "encounterId": canary("encounter")}
    made["fhirAuthorization"] = {
        "access_token": canary("token"),
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": f"user/{canary('scope')}.read",
        "subject": canary("subject"),
        "patient": patient,
    }
    made["extension"] = {canary("member"): canary("extension")}
    if base:
        made["fhirServer"] = f"{base}/{canary('server')}"
    for resource in _resources(made):
        _filled(resource)
    return made


def headers_with_canaries() -> dict[str, str]:
    return {
        "authorization": f"Bearer {canary('jwt')}",
        "cookie": f"session={canary('cookie')}",
        "user-agent": canary("agent"),
        "x-request-id": canary("header"),
        "tracestate": f"vendor={canary('tracestate')}",
        "baggage": f"user={canary('baggage')}",
    }


def feedback_with_canaries(card: str) -> Json:
    return {
        "feedback": [
            {
                "card": card,
                "outcome": "overridden",
                "overrideReason": {"userComment": f"because {canary('comment')} said so"},
                "outcomeTimestamp": "2026-03-01T10:05:31Z",
                canary("member"): canary("feedback"),
            }
        ]
    }


def found(outputs: Mapping[str, bytes]) -> dict[str, set[bytes]]:
    """The canaries in each output that has any."""
    hits = {name: set(CANARY.findall(output)) for name, output in outputs.items()}
    return {name: some for name, some in hits.items() if some}


def _resources(request: Json) -> Iterable[Json]:
    for value in [*request.get("prefetch", {}).values(), request["context"].get("draftOrders")]:
        if isinstance(value, dict):
            yield from (entry["resource"] for entry in value["entry"]) if "entry" in value else [value]


def _filled(resource: Json) -> None:
    resource["identifier"] = [{"system": "http://hospital.example/mrn", "value": canary("identifier")}]
    resource["text"] = {"status": "generated", "div": f"<div>{canary('narrative')}</div>"}
    resource["note"] = [{"authorString": canary("author"), "text": f"called {canary('note')} at home"}]
    if resource["resourceType"] == "Patient":
        resource["name"] = [{"family": canary("family"), "given": [canary("given")]}]
        resource["telecom"] = [{"system": "phone", "value": canary("phone")}]
        resource["address"] = [{"line": [canary("street")], "city": canary("city")}]
    else:
        resource["performer" if resource["resourceType"] == "Observation" else "recorder"] = {"display": canary("performer")}


def _renamed(value: Any, names: Mapping[str, str]) -> None:
    """Replaces texts by others throughout."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, str) and item in names:
                value[key] = names[item]
            else:
                _renamed(item, names)
