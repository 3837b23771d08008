"""Gather the data that a service needs: from prefetch, else from the EHR's FHIR server.

Each key ends in one of five states (`facts.SourceState`): sent, sent as empty, partial, failed, not available. All keys are
completed in parallel under one deadline. A key that fails costs the others nothing, and no request is left running when `gather`
returns.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from cds_service.criteria.facts import Source, SourceState
from cds_service.fhir.bundles import gathered, gathered_raw
from cds_service.fhir.gathered import Gathered
from cds_service.fhir.resources import NOT_JSON
from cds_service.gather.concurrency import run_concurrently
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.fhir_requests import FhirRequest, Requested, fetch, result_of
from cds_service.gather.missing_targets import missing_targets
from cds_service.gather.referenced_resources import FindMissing, read_referenced
from cds_service.outbound.search_support import left_out
from cds_service.read.subject import CallPatient
from cds_service.wire.errors import PreconditionFailed
from cds_service.wire.hook_request import Context, HookRequest

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

FHIR_SHARE_MS = 800
RESERVE_MS = 150  # kept for deciding, writing the log and responding

# Both hold medications, and a server may have only one of them (Oracle Health has no MedicationStatement).
_LISTS = (("statements", "prescriptions"), ("prescriptions", "statements"))
_UNAVAILABLE = (SourceState.ABSENT, SourceState.ERROR)
_TOKEN = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_USER_TOKENS = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}


class AbandonedError(Exception):
    """Raised where the client closed the connection during a request. `gathered` holds the data received by then."""

    def __init__(self, gathered: dict[str, Gathered]) -> None:
        super().__init__()
        self.gathered = gathered


async def gather(
    request: HookRequest,
    templates: Mapping[str, str],
    client: FhirClient | None,
    remaining_ms: float,
    client_gone: Callable[[], Awaitable[object]] | None = None,
    terminology: Terminology | None = None,
) -> dict[str, Gathered]:
    """Return the data for each key of `templates`, and under `bundles.TARGETS` the resources that they refer to.

    `remaining_ms` is the time until the response is due; FHIR requests get 800 ms of it, or all but 150 ms where that is less.
    `client` is None where there is no FHIR server to ask. `client_gone` returns when the EHR has closed the connection; it is
    called only where requests are sent. Raises AbandonedError where it returns first. `terminology` decides which references need
    reading; without it none are read.
    """
    results = {key: _prefetched(request, key) for key in templates}
    unfinished = [key for key, result in results.items() if result.next_url or result.source.state in _UNAVAILABLE]
    find = _finder(request, client, terminology)
    if client is None or not (unfinished or (find is not None and find(results).ids)):
        _settle_lists(results)
        return results
    fhir = client

    async def complete(key: str) -> None:
        results[key] = await _complete(key, templates[key], results[key], request.context, fhir)

    async def ask_all() -> None:
        await run_concurrently(complete(key) for key in unfinished)
        _settle_lists(results)
        if find is not None:
            patients = results["patient"].resources if "patient" in results else ()
            call_patient = CallPatient(request.context.patientId or "", request.fhirServer, {}, patients)
            await read_referenced(results, find, fhir, call_patient)

    with fhir.session(min(FHIR_SHARE_MS, remaining_ms - RESERVE_MS) / 1000):
        if client_gone is None:
            await ask_all()
        elif not await _done_before(client_gone, ask_all()):
            raise AbandonedError(results)
    return results


def _finder(request: HookRequest, client: FhirClient | None, terminology: Terminology | None) -> FindMissing | None:
    if client is None or terminology is None:
        return None
    drafts = request.drafts.gathered if request.drafts is not None else None
    return partial(missing_targets, drafts=drafts, base=client.base_url, terminology=terminology)


def _settle_lists(results: dict[str, Gathered]) -> None:
    """Take a list whose type the server lacks for empty where the other list was read."""
    for name, other in _LISTS:
        one = results.get(name)
        if one is not None and one.lacking and other in results and results[other].source.complete:
            results[name] = Gathered(Source(SourceState.EMPTY, one.source.origin, one.source.note))


async def _done_before(client_gone: Callable[[], Awaitable[object]], work: Coroutine[None, None, None]) -> bool:
    """Run `work` until `client_gone` returns, leave neither running, and say whether `work` was done first."""
    working, waiting = asyncio.create_task(work), asyncio.ensure_future(client_gone())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.wait((working, waiting))


def require(sources: Mapping[str, Source]) -> None:
    """Raise PreconditionFailed with every key that was not sent and that no FHIR server could be asked for.

    A request that failed does not count: then a card says that its data could not be checked.
    """
    absent = [key for key, source in sources.items() if source.state is SourceState.ABSENT]
    if absent:
        raise PreconditionFailed(
            f"Not sent in `prefetch`, and no FHIR server to ask for it: {', '.join(f'`{key}`' for key in absent)}. "
            "Send these keys (null where there is nothing), or `fhirServer` with `fhirAuthorization`",
            why=", ".join(f"prefetch.{key}" for key in absent),
        )


def _prefetched(request: HookRequest, key: str) -> Gathered:
    if key not in request.prefetch:
        return Gathered(Source(SourceState.ABSENT))
    value = request.prefetch[key]
    if not isinstance(value, msgspec.Raw):
        return gathered(value, key, "prefetch")
    try:
        return gathered_raw(value, key, "prefetch")
    except NOT_JSON:
        return Gathered(Source(SourceState.ERROR, "prefetch", "could not be read"))


async def _complete(key: str, template: str, sent: Gathered, context: Context, fhir: FhirClient) -> Gathered:
    """Complete the data sent for `key`: fetch further pages, or all of it where nothing usable was sent."""
    requested: Requested = set()
    if sent.source.state not in _UNAVAILABLE:
        if sent.next_url is None:
            return sent
        return result_of(await fetch(fhir, FhirRequest(key, sent.next_url, page=2, exact=True), requested), first=sent)
    query = resolve(template, context)
    if query is None:
        return sent
    found = result_of(await fetch(fhir, FhirRequest(key, query), requested))
    others = left_out(query, fhir.quirks)
    if found.source.state is SourceState.ERROR or others is None:
        return found
    return _merged(found, result_of(await fetch(fhir, FhirRequest(key, others), requested)))


def _merged(first: Gathered, others: Gathered) -> Gathered:
    """Join two searches of one key; the result is partial unless both are complete."""
    known = {one.id for one in first.resources}
    resources = [*first.resources, *(one for one in others.resources if one.id not in known)]
    state = SourceState.PRESENT if resources else SourceState.EMPTY
    if not (first.source.complete and others.source.complete):
        state = SourceState.PARTIAL
    note = others.source.note
    if others.source.state is SourceState.ERROR:
        note = f"only laboratory results could be asked for: {note}"
    quarantined = first.quarantined + others.quarantined
    notes = "; ".join(filter(None, (first.source.note, note)))
    source = Source(state, "fhir", notes, state is SourceState.PARTIAL and not quarantined)
    return Gathered(source, resources, quarantined, None, first.by_url | others.by_url)


def resolve(template: str, context: Context) -> str | None:
    """Fill in and percent-encode the tokens of a prefetch template; return None where one has no value.

    Tokens are those of CDS Hooks 2.0: `{{context.userId}}`, `{{context.patientId}}`, `{{context.encounterId}}` and the ids of the
    user by type, such as `{{userPractitionerId}}`.
    """
    values = {name: _token(name, context) for name in _TOKEN.findall(template)}
    if None in values.values():
        return None
    # Some servers (Tomcat, and so HAPI) refuse a bare "|" in a query, and httpx2 does not encode it.
    return _TOKEN.sub(lambda match: values[match[1]] or "", template).replace("|", "%7C")


def _token(name: str, context: Context) -> str | None:
    if name == "context.patientId":
        value = context.patientId
    elif name == "context.encounterId":
        value = context.encounterId
    elif name == "context.userId":
        return quote(context.userId, safe="/") if context.userId else None  # "Practitioner/123" is a path
    else:
        user_type, _, user_id = (context.userId or "").rpartition("/")
        value = user_id if user_type and _USER_TOKENS.get(name) == user_type else None
    return quote(value, safe="") if value else None
