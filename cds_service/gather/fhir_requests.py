"""Fetch the data of one prefetch key from the FHIR server: a request, its pages, their result."""

from __future__ import annotations

import time

import httpx2
import msgspec

from cds_service.criteria.facts import Source, SourceState
from cds_service.fhir.bundles import gathered_raw
from cds_service.fhir.gathered import Gathered, joined
from cds_service.fhir.resources import NOT_JSON
from cds_service.gather.fhir_client import FhirClient
from cds_service.gather.fhir_outcome import FhirError, Outcome
from cds_service.telemetry.metrics import FHIR_FETCHES
from cds_service.wire.hook_request import FhirQuery

MAX_PAGES = 5  # of one search, the first among them

Requested = set[httpx2.URL]  # the URLs requested for one key, so that its pages can't go round in a circle


class FhirRequest(msgspec.Struct, frozen=True):
    """One request to the FHIR server."""

    key: str  # prefetch key, which says which types of resources the response may hold
    url: str  # relative to the base, or absolute under it
    page: int = 1  # of a search; later pages are requested by the server's links
    exact: bool = False  # send as written, not adapted to the quirks of the server

    def next(self, url: str) -> FhirRequest:
        """Return the request for the page after this one."""
        return FhirRequest(self.key, url, self.page + 1, exact=True)


class FhirResponse(msgspec.Struct, frozen=True):
    """The pages that came, in their order, and the error that ended them, if one did."""

    pages: tuple[Gathered, ...]
    error: FhirError | None = None


async def fetch(fhir: FhirClient, request: FhirRequest, requested: Requested) -> FhirResponse:
    """Send `request` and those for the pages that follow it, up to the fifth page."""
    pages: list[Gathered] = []
    following: FhirRequest | None = request
    while following is not None and following.page <= MAX_PAGES:
        try:
            page = await fetch_page(fhir, following, requested)
        except FhirError as error:
            return FhirResponse(tuple(pages), error)
        pages.append(page)
        following = following.next(page.next_url) if page.next_url else None
    return FhirResponse(tuple(pages))


async def fetch_page(fhir: FhirClient, request: FhirRequest, requested: Requested) -> Gathered:
    """Fetch one page, count its outcome and note it for the log. Raises FhirError."""
    began = time.perf_counter()
    body = b""
    try:
        body = await _body(fhir, request, requested)
        page = _page_in(body, request)
    except FhirError as error:
        FHIR_FETCHES.labels(error.outcome).inc()
        _note(fhir, request, error.outcome, 200 if body else error.status, began, len(body))
        raise
    FHIR_FETCHES.labels(Outcome.OK).inc()
    _note(fhir, request, Outcome.OK, 200, began, len(body))
    return page


def _note(fhir: FhirClient, request: FhirRequest, outcome: Outcome, status: int, began: float, size: int) -> None:
    ms = round((time.perf_counter() - began) * 1000, 3)
    fhir.queries.append(FhirQuery(request.key, outcome.value, status, ms, size, request.page))


async def _body(fhir: FhirClient, request: FhirRequest, requested: Requested) -> bytes:
    target = fhir.target(request.url)
    if target in requested:
        raise FhirError(Outcome.CIRCLE)
    requested.add(target)
    adapt = "?" in request.url and not request.exact
    return await (fhir.search(request.url) if adapt else fhir.get(target))


def _page_in(body: bytes, request: FhirRequest) -> Gathered:
    try:
        page = gathered_raw(body, request.key, "fhir", further=request.page > 1)
    except NOT_JSON:
        raise FhirError(Outcome.NOT_JSON) from None
    if page.source.state is SourceState.ERROR:
        raise FhirError(Outcome.UNUSABLE, note=page.source.note)
    return page


def result_of(response: FhirResponse, first: Gathered | None = None) -> Gathered:
    """Join the pages of a response, behind `first` where that is a page already at hand.

    Without a page the result is an error. With some, it is partial and says why there are no more.
    """
    pages = response.pages if first is None else (first, *response.pages)
    error = response.error
    if not pages:
        note, lacking = str(error), error is not None and error.outcome is Outcome.LACKS
        return Gathered(Source(SourceState.ERROR, "fhir", note), lacking=lacking)
    search = joined(pages)
    if error is not None:
        search.source = msgspec.structs.replace(search.source, note=f"{search.source.note}; {error}")
    return search
