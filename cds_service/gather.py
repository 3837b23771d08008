"""All the data that a service asks for: what the EHR sent along where that is good, else what its FHIR server says.

Every key ends in one of five states (`facts.SourceState`), and they are five different things: sent, sent as empty, seen in part,
failed, never to be had. All keys are worked on in parallel under one deadline; a key that fails costs nobody else anything, and
no query is left running when `gather` returns.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx2
import msgspec

from cds_service.concurrency import together
from cds_service.criteria.facts import Source, SourceState
from cds_service.decode import Gathered, gathered, gathered_raw, joined
from cds_service.errors import PreconditionFailed
from cds_service.fhir import NOT_JSON
from cds_service.fhir_client import FhirClient, FhirError, Outcome
from cds_service.metrics import FHIR_FETCHES
from cds_service.missing_targets import missing_targets
from cds_service.protocol import Context, HookRequest
from cds_service.referenced import FindMissing, read_referenced
from cds_service.server_ways import Way, left_out
from cds_service.whose import Owner

if TYPE_CHECKING:
    from cds_service.terminology import Terminology

MAX_PAGES = 5  # of one search, the first among them
FHIR_SHARE_MS = 800
RESERVE_MS = 150  # kept for deciding, writing the log and answering

# Either holds medications, so that a server may have only one of them (Oracle Health has no MedicationStatement).
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
    """The client ended the call while the FHIR server was being asked. `gathered` is what was known by then."""

    def __init__(self, gathered: dict[str, Gathered]) -> None:
        super().__init__()
        self.gathered = gathered


async def gather(
    request: HookRequest,
    templates: Mapping[str, str],
    ehr: FhirClient | None,
    remaining_ms: float,
    gone: Callable[[], Awaitable[object]] | None = None,
    terminology: Terminology | None = None,
) -> dict[str, Gathered]:
    """What is known for each key of `templates`, and under the keys of `decode.TARGETS` what was read because they refer to it.

    `remaining_ms` is the time until the answer is due; FHIR queries get 800 ms of it, or all but 150 ms where that is less.
    `ehr` is None when there is no FHIR server to ask. `gone` ends when the client has ended the call; it is called only where
    there is something to ask. Raises AbandonedError when it ends first. `terminology` says what needs to be read of what others
    refer to; without it nothing is.
    """
    results = {key: _prefetched(request, key) for key in templates}
    unfinished = [key for key, result in results.items() if result.next_url or result.source.state in _UNAVAILABLE]
    find = _finder(request, ehr, terminology)
    if ehr is None or not (unfinished or (find is not None and find(results).ids)):
        _settle_lists(results)
        return results
    queries = _Queries(request.context, ehr)

    async def complete(key: str) -> None:
        results[key] = await queries.complete(key, templates[key], results[key])

    async def ask() -> None:
        await together(complete(key) for key in unfinished)
        _settle_lists(results)
        if find is not None:
            patients = results["patient"].resources if "patient" in results else ()
            owner = Owner(request.context.patientId or "", request.fhirServer, {}, patients)
            await read_referenced(results, find, queries, owner)

    with ehr.session(min(FHIR_SHARE_MS, remaining_ms - RESERVE_MS) / 1000):
        if gone is None:
            await ask()
        elif not await _done_before(gone, ask()):
            raise AbandonedError(results)
    return results


def _finder(request: HookRequest, ehr: FhirClient | None, terminology: Terminology | None) -> FindMissing | None:
    if ehr is None or terminology is None:
        return None
    drafts = request.drafts.gathered if request.drafts is not None else None
    return partial(missing_targets, drafts=drafts, base=ehr.base_url, terminology=terminology)


def _settle_lists(results: dict[str, Gathered]) -> None:
    """A list of medications that the server has no type for is empty where the other list was read."""
    for name, other in _LISTS:
        one = results.get(name)
        if one is not None and one.lacking and other in results and results[other].source.complete:
            results[name] = Gathered(Source(SourceState.EMPTY, one.source.origin, one.source.note))


async def _done_before(gone: Callable[[], Awaitable[object]], work: Coroutine[None, None, None]) -> bool:
    """Whether `work` was done before `gone` ended. Nothing of either is left running."""
    working, waiting = asyncio.create_task(work), asyncio.ensure_future(gone())
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
    """Raises PreconditionFailed naming every key that was neither sent nor could be asked for.

    A query that failed is not meant: what could not be seen then is said on a card.
    """
    absent = [f"`{key}`" for key, source in sources.items() if source.state is SourceState.ABSENT]
    if absent:
        raise PreconditionFailed(
            f"Not sent in `prefetch`, and no FHIR server to ask for it: {', '.join(absent)}. "
            "Send these keys (null where there is nothing), or `fhirServer` with `fhirAuthorization`"
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


class _Queries:
    """The queries of one call, which share a server and the time to ask it."""

    def __init__(self, context: Context, ehr: FhirClient) -> None:
        self._context = context
        self._ehr = ehr

    async def complete(self, key: str, template: str, result: Gathered) -> Gathered:
        """`result`, or what the FHIR server says where the key is absent or failed, with its further pages."""
        asked: list[httpx2.URL] = []
        if result.source.state in _UNAVAILABLE:
            query = resolve(template, self._context)
            if query is None:
                return result
            try:
                result = await self._page(key, query, asked)
            except FhirError as error:
                lacking = error.outcome is Outcome.LACKS
                return Gathered(Source(SourceState.ERROR, "fhir", str(error)), lacking=lacking)
            result = await self._with_next_pages(key, result, asked)
            others = left_out(query, self._ehr.ways)
            return result if others is None else await self._with_others(key, result, others, asked)
        return await self._with_next_pages(key, result, asked)

    async def by_ids(self, key: str, kind: str, ids: list[str]) -> Gathered:
        asked: list[httpx2.URL] = []
        listed = ",".join(quote(one, safe="") for one in ids)
        return await self._with_next_pages(key, await self._page(key, f"{kind}?_id={listed}", asked, plain=True), asked)

    async def one(self, key: str, kind: str, id: str) -> Gathered:  # noqa: A002 (FHIR's word)
        return await self._page(key, f"{kind}/{quote(id, safe='')}", [], plain=True)

    def takes_ids(self, kind: str) -> bool:
        return not self._ehr.knows(Way("one by one", kind))

    def takes_single_reads_only(self, kind: str) -> None:
        self._ehr.learn([Way("one by one", kind)])

    async def _with_others(self, key: str, first: Gathered, query: str, asked: list[httpx2.URL]) -> Gathered:
        """`first`, and what `query` finds beside it; known in part only where that can't be had."""
        try:
            others = await self._with_next_pages(key, await self._page(key, query, asked), asked)
        except FhirError as error:
            others = Gathered(Source(SourceState.ERROR, "fhir", f"only laboratory results could be asked for: {error}"))
        known = {one.id for one in first.resources}
        resources = [*first.resources, *(one for one in others.resources if one.id not in known)]
        state = SourceState.PRESENT if resources else SourceState.EMPTY
        if not (first.source.complete and others.source.complete):
            state = SourceState.PARTIAL
        note = "; ".join(filter(None, (first.source.note, others.source.note)))
        quarantined = first.quarantined + others.quarantined
        source = Source(state, "fhir", note, state is SourceState.PARTIAL and not quarantined)
        return Gathered(source, resources, quarantined, None, first.by_url | others.by_url)

    async def _with_next_pages(self, key: str, first: Gathered, asked: list[httpx2.URL]) -> Gathered:
        """All pages of a search, or those that could be had, with a note that says why there are not all."""
        pages, note = [first], ""
        while (url := pages[-1].next_url) and len(pages) < MAX_PAGES and not note:
            try:
                pages.append(await self._page(key, url, asked, plain=True, further=True))
            except FhirError as error:
                note = str(error)
        search = joined(pages)
        if note:
            search.source = msgspec.structs.replace(search.source, note=f"{search.source.note}; {note}")
        return search

    async def _page(self, key: str, url: str, asked: list[httpx2.URL], *, plain: bool = False, further: bool = False) -> Gathered:
        """One answer. `plain`: exactly this is asked, not in the server's own ways; `further`: it is a later page of a search."""
        try:
            page = await self._asked(key, url, asked, plain, further)
        except FhirError as error:
            FHIR_FETCHES.labels(error.outcome).inc()
            raise
        FHIR_FETCHES.labels(Outcome.OK).inc()
        return page

    async def _asked(self, key: str, url: str, asked: list[httpx2.URL], plain: bool, further: bool) -> Gathered:
        target = self._ehr.target(url)
        if target in asked:
            raise FhirError(Outcome.CIRCLE)
        asked.append(target)
        body = await (self._ehr.get(target) if plain or "?" not in url else self._ehr.search(url))
        try:
            page = gathered_raw(body, key, "fhir", further=further)
        except NOT_JSON:
            raise FhirError(Outcome.NOT_JSON) from None
        if page.source.state is SourceState.ERROR:
            raise FhirError(Outcome.UNUSABLE, note=page.source.note)
        return page


def resolve(template: str, context: Context) -> str | None:
    """The query of `template` for this call, its tokens filled in and percent-encoded; None where one can't be filled.

    Tokens are those of CDS Hooks 2.0: `{{context.userId}}`, `{{context.patientId}}`, `{{context.encounterId}}` and the ids of the
    user by type, such as `{{userPractitionerId}}`.
    """
    values = {name: _token(name, context) for name in _TOKEN.findall(template)}
    if None in values.values():
        return None
    # Some servers (Tomcat, so HAPI) refuse a bare "|" in a query, and httpx2 leaves it as it is.
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
