"""Checks a FHIR server as this service asks it where data was not sent: what it is, each prefetch template, and search quirks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from cds_service.doctor.finding import Finding
from cds_service.outbound.search_support import Quirk, adapted, issues_of, repairs, type_of

_LISTS = {"MedicationStatement": "MedicationRequest", "MedicationRequest": "MedicationStatement"}


class _Reply(NamedTuple):
    status: int  # 0: there was no answer
    found: Any  # JSON, or None
    quirks: tuple[Quirk, ...] = ()  # how it was asked again


def examine_fhir(base: str, templates: Mapping[str, str], patient: str, token: str, http: httpx2.Client) -> Iterator[Finding]:
    """Its capabilities and, about `patient` (an id, "" for none), each template. `token` is sent and never part of a finding."""
    server = _FhirServer(base, token, http)
    status, found, _ = server.ask("metadata")
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
    medications: list[str] = []
    for key, template in templates.items():
        filled = template.replace("{{context.patientId}}", quote(patient, safe=""))
        if "{{" not in filled:
            reply = server.ask(filled)
            medications += _medications_of(reply.found)
            yield _answered(key, reply, search="?" in filled)
    if medications:
        yield _referenced(server, list(dict.fromkeys(medications))[:2])


_MOST_QUIRKS = 4  # with which a search is asked again; a server that names one fault at a time needs as many calls


class _FhirServer:
    def __init__(self, base: str, token: str, http: httpx2.Client) -> None:
        self._base = base.rstrip("/")
        self._headers = {"accept": "application/fhir+json", **({"authorization": f"Bearer {token}"} if token else {})}
        self._http = http

    def ask(self, query: str, quirks: tuple[Quirk, ...] = ()) -> _Reply:
        """The answer; where a search is refused, that to the search as the service asks it again, from call to call."""
        asked = adapted(query, quirks)
        try:
            if any(quirk.kind == "by form" for quirk in quirks):
                form = {"content-type": "application/x-www-form-urlencoded"}
                url, parameters = f"{self._base}/{type_of(asked)}/_search", asked.partition("?")[2]
                answer = self._http.post(url, headers=self._headers | form, content=parameters.encode())
            else:
                answer = self._http.get(f"{self._base}/{asked}", headers=self._headers)
        except httpx2.HTTPError:
            return _Reply(0, None, quirks)
        told = repairs(asked, answer.status_code, issues_of(answer.content)) if len(quirks) < _MOST_QUIRKS else ()
        again = tuple(quirk for quirk in told if quirk not in quirks)
        if again and again[0].kind != "lacks":
            return self.ask(query, (*quirks, *again))
        try:
            return _Reply(answer.status_code, msgspec.json.decode(answer.content), quirks or again)
        except msgspec.DecodeError:
            return _Reply(answer.status_code, None, quirks or again)


def _version(version: str) -> Finding:
    if version.startswith("4."):
        return Finding("FHIR server", "ok", f"FHIR {version}")
    return Finding("FHIR server", "warning", f"FHIR {version}", "the service is made for R4; see what it reads of other versions")


def _answered(key: str, reply: _Reply, *, search: bool) -> Finding:
    kind = reply.found.get("resourceType") if isinstance(reply.found, dict) else None
    if reply.status == 200 and (kind == "Bundle") == search and kind not in (None, "OperationOutcome"):
        entries = len(reply.found.get("entry", [])) if search else 1
        told = f"{entries} found on the first page" if search else f"a {kind}"
        own = f"; search quirks: {', '.join(map(str, reply.quirks))}" if reply.quirks else ""
        return Finding(f"FHIR {key}", "ok", told + own)
    lacking = next((quirk.type for quirk in reply.quirks if quirk.kind == "lacks"), "")
    if lacking in _LISTS:
        mend = f"nothing, where {_LISTS[lacking]} is read; without both, every medication is unknown"
        return Finding(f"FHIR {key}", "warning", f"the server has no {lacking}", mend)
    mend = "see whether the token's scopes cover it" if reply.status in (401, 403) else "see whether the server knows this query"
    return Finding(f"FHIR {key}", "FAIL", _said(reply.status), mend)


def _medications_of(found: Any) -> Iterator[str]:
    """The ids of the Medications on the server that a search's results refer to."""
    entries = found.get("entry") if isinstance(found, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        target = resource.get("medicationReference") if isinstance(resource, dict) else None
        kind, _, key = str(target.get("reference") if isinstance(target, dict) else "").rpartition("/")
        if kind.rpartition("/")[2] == "Medication":
            yield key


def _referenced(server: _FhirServer, ids: list[str]) -> Finding:
    """Whether Medications that are only referred to can be read, by a list of ids or one by one."""
    listed = server.ask(f"Medication?_id={','.join(quote(one, safe='') for one in ids)}")
    if listed.status == 200 and isinstance(listed.found, dict) and len(listed.found.get("entry", [])) >= len(ids):
        return Finding("FHIR medications", "ok", "those that are only referred to are read by a list of ids")
    single = server.ask(f"Medication/{quote(ids[0], safe='')}")
    if single.status == 200:
        return Finding("FHIR medications", "ok", "those that are only referred to are read one by one")
    mend = "let the token read Medication; until then these drugs are unknown"
    return Finding("FHIR medications", "FAIL", f"prescriptions only refer to them: {_said(single.status)}", mend)


def _said(status: int) -> str:
    return f"status {status}, and not what was asked for" if status else "no answer"
