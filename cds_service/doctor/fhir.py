"""Checks a FHIR server as this service asks it where data was not sent: what it is, and each prefetch template of the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from cds_service.doctor.finding import Finding


def examine_fhir(base: str, templates: Mapping[str, str], patient: str, token: str, http: httpx.Client) -> Iterator[Finding]:
    """Its capabilities and, about `patient` (an id, "" for none), each template. `token` is sent and never part of a finding."""
    headers = {"accept": "application/fhir+json", **({"authorization": f"Bearer {token}"} if token else {})}

    def get(path: str) -> tuple[int, Any]:
        try:
            answer = http.get(f"{base.rstrip('/')}/{path}", headers=headers)
            return answer.status_code, msgspec.json.decode(answer.content)
        except httpx.HTTPError:
            return 0, None
        except msgspec.DecodeError:
            return answer.status_code, None

    status, found = get("metadata")
    if not isinstance(found, dict) or found.get("resourceType") != "CapabilityStatement":
        mend = "give the base URL of the FHIR server, the part before /metadata"
        yield Finding("FHIR server", "FAIL", f"metadata: {_said(status)}", mend)
        return
    yield _version(str(found.get("fhirVersion")))
    if not patient:
        yield Finding(
            "FHIR data", "warning", "not asked for", "give --patient, the id of a test patient, to try each prefetch query"
        )
        return
    for key, template in templates.items():
        filled = template.replace("{{context.patientId}}", quote(patient, safe=""))
        if "{{" not in filled:
            yield _answered(key, *get(filled), search="?" in filled)


def _version(version: str) -> Finding:
    if version.startswith("4."):
        return Finding("FHIR server", "ok", f"FHIR {version}")
    return Finding("FHIR server", "warning", f"FHIR {version}", "the service is made for R4; see what it reads of other versions")


def _answered(key: str, status: int, found: Any, *, search: bool) -> Finding:
    kind = found.get("resourceType") if isinstance(found, dict) else None
    if status == 200 and (kind == "Bundle") == search and kind not in (None, "OperationOutcome"):
        entries = len(found.get("entry", [])) if search else 1
        return Finding(f"FHIR {key}", "ok", f"{entries} found on the first page" if search else f"a {kind}")
    mend = "see whether the token's scopes cover it" if status in (401, 403) else "see whether the server knows this query"
    return Finding(f"FHIR {key}", "FAIL", _said(status), mend)


def _said(status: int) -> str:
    return f"status {status}, and not what was asked for" if status else "no answer"
