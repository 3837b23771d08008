"""Check a FHIR server as the service queries it: version, each prefetch template, its quirks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from cds_service.doctor.finding import Finding
from cds_service.outbound.search_support import Quirk, adapted, issues_of, repairs, type_of

_OTHER_LIST = {"MedicationStatement": "MedicationRequest", "MedicationRequest": "MedicationStatement"}


class _Reply(NamedTuple):
    status: int  # 0: no response
    found: Any  # JSON, or None
    quirks: tuple[Quirk, ...] = ()  # how the search had to be changed


def examine_fhir(base: str, templates: Mapping[str, str], patient: str, token: str, http: httpx2.Client) -> Iterator[Finding]:
    """Check the capabilities of the server at `base` and, for `patient`, each prefetch template.

    `patient` is an id, "" for none. `token` is sent and never part of a finding.
    """
    server = _FhirServer(base, token, http)
    status, found, _ = server.get("metadata")
    if not isinstance(found, dict) or found.get("resourceType") != "CapabilityStatement":
        mend = "give the base URL of the FHIR server, the part before /metadata"
        yield Finding("FHIR server", "FAIL", f"metadata: {_status_text(status)}", mend)
        return
    yield _version_finding(str(found.get("fhirVersion")))
    if not patient:
        yield Finding(
            "FHIR data", "warning", "not checked", "give --patient, the id of a test patient, to try each prefetch query"
        )
        return
    medications: list[str] = []
    for key, template in templates.items():
        filled = template.replace("{{context.patientId}}", quote(patient, safe=""))
        if "{{" not in filled:
            reply = server.get(filled)
            medications += _medications_of(reply.found)
            yield _query_finding(key, reply, search="?" in filled)
    if medications:
        yield _references_finding(server, list(dict.fromkeys(medications))[:2])


_MOST_QUIRKS = 4  # changes to one search; a server that reports one fault at a time needs as many calls


class _FhirServer:
    def __init__(self, base: str, token: str, http: httpx2.Client) -> None:
        self._base = base.rstrip("/")
        self._headers = {"accept": "application/fhir+json", **({"authorization": f"Bearer {token}"} if token else {})}
        self._http = http

    def get(self, query: str, quirks: tuple[Quirk, ...] = ()) -> _Reply:
        """Send a query.

        A search that the server refuses is changed and sent again, as the service does it.
        """
        changed = adapted(query, quirks)
        try:
            if any(quirk.kind == "by form" for quirk in quirks):
                form = {"content-type": "application/x-www-form-urlencoded"}
                url, parameters = f"{self._base}/{type_of(changed)}/_search", changed.partition("?")[2]
                answer = self._http.post(url, headers=self._headers | form, content=parameters.encode())
            else:
                answer = self._http.get(f"{self._base}/{changed}", headers=self._headers)
        except httpx2.HTTPError:
            return _Reply(0, None, quirks)
        suggested = repairs(changed, answer.status_code, issues_of(answer.content)) if len(quirks) < _MOST_QUIRKS else ()
        again = tuple(quirk for quirk in suggested if quirk not in quirks)
        if again and again[0].kind != "lacks":
            return self.get(query, (*quirks, *again))
        try:
            return _Reply(answer.status_code, msgspec.json.decode(answer.content), quirks or again)
        except msgspec.DecodeError:
            return _Reply(answer.status_code, None, quirks or again)


def _version_finding(version: str) -> Finding:
    if version.startswith("4."):
        return Finding("FHIR server", "ok", f"FHIR {version}")
    return Finding(
        "FHIR server", "warning", f"FHIR {version}", "the service is made for R4; shapes of STU3 and DSTU2 are read too"
    )


def _query_finding(key: str, reply: _Reply, *, search: bool) -> Finding:
    kind = reply.found.get("resourceType") if isinstance(reply.found, dict) else None
    if reply.status == 200 and (kind == "Bundle") == search and kind not in (None, "OperationOutcome"):
        entries = len(reply.found.get("entry", [])) if search else 1
        result = f"{entries} found on the first page" if search else f"a {kind}"
        quirks = f"; search quirks: {', '.join(map(str, reply.quirks))}" if reply.quirks else ""
        return Finding(f"FHIR {key}", "ok", result + quirks)
    lacking = next((quirk.type for quirk in reply.quirks if quirk.kind == "lacks"), "")
    if lacking in _OTHER_LIST:
        mend = f"nothing to do while {_OTHER_LIST[lacking]} can be read; without both, every medication is unknown"
        return Finding(f"FHIR {key}", "warning", f"the server has no {lacking}", mend)
    mend = "check that the token's scopes cover it" if reply.status in (401, 403) else "check that the server supports this query"
    return Finding(f"FHIR {key}", "FAIL", _status_text(reply.status), mend)


def _medications_of(found: Any) -> Iterator[str]:
    """Yield the ids of the Medications that the results of a search refer to."""
    entries = found.get("entry") if isinstance(found, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        target = resource.get("medicationReference") if isinstance(resource, dict) else None
        kind, _, key = str(target.get("reference") if isinstance(target, dict) else "").rpartition("/")
        if kind.rpartition("/")[2] == "Medication":
            yield key


def _references_finding(server: _FhirServer, ids: list[str]) -> Finding:
    """Check that referenced Medications can be read, together or one by one."""
    listed = server.get(f"Medication?_id={','.join(quote(one, safe='') for one in ids)}")
    if listed.status == 200 and isinstance(listed.found, dict) and len(listed.found.get("entry", [])) >= len(ids):
        return Finding("FHIR medications", "ok", "referenced ones are read by a list of ids")
    single = server.get(f"Medication/{quote(ids[0], safe='')}")
    if single.status == 200:
        return Finding("FHIR medications", "ok", "referenced ones are read one by one")
    mend = "give the token the scope to read Medication; until then these drugs are unknown"
    return Finding("FHIR medications", "FAIL", f"prescriptions only refer to them: {_status_text(single.status)}", mend)


def _status_text(status: int) -> str:
    return f"status {status}, without the expected resource" if status else "no response"
