"""Read from the EHR's FHIR server during one service call.

The token of the call goes nowhere else: every request goes to the base URL as it is registered, and a URL that is not under it is
refused (`base_urls.under`). Whatever the server does, `get` and `search` return a body or raise a FhirError.
"""

from __future__ import annotations

import asyncio
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpx2

from cds_service.gather.fhir_outcome import STATUSES, FhirError, Outcome
from cds_service.outbound.base_urls import FhirBase, under
from cds_service.outbound.checked_network import RequestError
from cds_service.outbound.http_client import HttpClient, Response
from cds_service.outbound.search_support import Quirk, adapted, issues_of, repairs, type_of
from cds_service.telemetry.metrics import FHIR_FETCHES, FHIR_QUIRKS
from cds_service.wire.hook_request import FhirQuery

MAX_RESPONSE_BYTES = 5 * 1024 * 1024
RETRY_SHARE = 0.6  # of the time must be left for a second try

_ABSOLUTE = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*:")
_RETRIED = (Outcome.RESET, Outcome.UNAVAILABLE)
_SERVER_FAILS = {  # what the circuit breaker counts; the other outcomes are about this call, or about what was asked
    *(Outcome.TIMEOUT, Outcome.RESET, Outcome.GARBLED, Outcome.INCOMPLETE, Outcome.TOO_MANY, Outcome.UNAVAILABLE, Outcome.FAILED),
    *(Outcome.NOT_RESOLVED, Outcome.NOT_REACHED, Outcome.TLS),
}
_NOT_SENT = {Outcome.BUSY, Outcome.LEFT_ALONE, Outcome.NO_TIME, Outcome.BAD_TOKEN, Outcome.NOT_PUBLIC}


class FhirClient:
    """Read from the FHIR server of one call, within one `session`, which limits the time of all requests."""

    def __init__(self, http_client: HttpClient, base: FhirBase, token: str | None) -> None:
        """`token` is the bearer token of the call, without "Bearer"."""
        self._http_client = http_client
        self._base = base
        self._token = token
        self._admitted = False
        self._deadline = self._retry_until = 0.0  # of the event loop's clock
        self._answered = self._failed = False
        self._pause = 0.0  # seconds for which the server asks to be left alone (Retry-After)
        self.queries: list[FhirQuery] = []  # that ended, for the log
        self.quirks: dict[Quirk, bool] = {}  # the server's quirks that this call used; True: learned in this call

    @property
    def base_url(self) -> str:
        """Return the base URL, without a slash at the end."""
        return self._base.url

    @contextmanager
    def session(self, seconds: float) -> Iterator[None]:
        """Allow requests for `seconds`, then report to the circuit breaker whether the server answered or failed."""
        self._server = self._http_client.server(self._base.url)
        now = asyncio.get_running_loop().time()
        self._deadline, self._retry_until = now + seconds, now + seconds * (1 - RETRY_SHARE)
        self._admitted = seconds > 0 and self._server.breaker.admit()
        try:
            yield
        finally:
            if self._admitted:
                verdict = True if self._answered else False if self._failed else None
                self._server.breaker.settle(verdict, self._pause)

    def target(self, url: str) -> httpx2.URL:
        """Return the address of `url`, which is relative to the base or absolute under it. Raises FhirError."""
        if "\\" in url:  # which browsers take for a slash
            raise FhirError(Outcome.BAD_ADDRESS)
        try:
            base = httpx2.URL(self._base.url)
            target = httpx2.URL(_joined(base, url))
        except (httpx2.InvalidURL, ValueError):  # ValueError: a host that IDNA can't write
            raise FhirError(Outcome.BAD_ADDRESS) from None
        if not under(base, target):
            raise FhirError(Outcome.ELSEWHERE)
        return base.copy_with(raw_path=target.raw_path)

    async def search(self, query: str) -> bytes:
        """Return the body of the response to a search, which is relative to the base. Raises FhirError.

        The search is adapted to the quirks of the server. Where the server refuses it and says why, it is repaired and sent once
        more, and what helped is remembered.
        """
        known = self._server.quirks.of(query)
        for quirk in known:
            self.quirks.setdefault(quirk, False)
        if any(quirk.kind == "lacks" for quirk in known):
            raise FhirError(Outcome.LACKS)
        try:
            return await self._search_by(query, known)
        except FhirError as error:
            learned = tuple(quirk for quirk in repairs(adapted(query, known), error.status, error.issues) if quirk not in known)
            if not learned:
                raise
            if learned[0].kind == "lacks":
                self.learn(learned)
                raise FhirError(Outcome.LACKS) from None
            FHIR_FETCHES.labels(error.outcome).inc()
        repaired = (*known, *learned)
        try:
            body = await self._search_by(query, repaired)
        except FhirError as error:
            # A server that names one fault at a time now names another: the first is mended, and the next call starts there.
            if any(quirk not in repaired for quirk in repairs(adapted(query, repaired), error.status, error.issues)):
                self.learn(learned)
            raise
        self.learn(learned)
        return body

    async def _search_by(self, query: str, quirks: tuple[Quirk, ...]) -> bytes:
        query = adapted(query, quirks)
        if not any(quirk.kind == "by form" for quirk in quirks):
            return await self.get(self.target(query))
        return await self.get(self.target(f"{type_of(query)}/_search"), query.partition("?")[2].encode())

    async def get(self, target: httpx2.URL, form: bytes | None = None) -> bytes:
        """Return the body of the response to GET `target`, tried again once where that may help. Raises FhirError.

        `target` comes from `target()`. With `form`, the parameters of a search, it is POST.
        """
        try:
            return await self._once(target, form)
        except FhirError as error:
            if error.outcome not in _RETRIED or self._pause or asyncio.get_running_loop().time() > self._retry_until:
                raise
            FHIR_FETCHES.labels(error.outcome).inc()
        return await self._once(target, form)

    def learn(self, quirks: Iterable[Quirk]) -> None:
        """Remember quirks of the server for later calls."""
        for quirk in quirks:
            self._server.quirks.keep([quirk])
            self.quirks[quirk] = True
            FHIR_QUIRKS.labels(quirk.kind).inc()

    def knows(self, quirk: Quirk) -> bool:
        """Say whether the server is known to have this quirk, and count it as used."""
        known = quirk in self._server.quirks.of(f"{quirk.type}?")
        if known:
            self.quirks.setdefault(quirk, False)
        return known

    async def _once(self, target: httpx2.URL, form: bytes | None) -> bytes:
        """Send one request, and note for the circuit breaker whether the server answered or failed."""
        try:
            body = self._body_of(await self._send(target, form))
        except FhirError as error:
            self._failed |= error.outcome in _SERVER_FAILS
            self._answered |= error.outcome not in _SERVER_FAILS and error.outcome not in _NOT_SENT
            raise
        self._answered = True
        return body

    async def _send(self, target: httpx2.URL, form: bytes | None) -> Response:
        if not self._admitted:
            late = asyncio.get_running_loop().time() >= self._deadline
            raise FhirError(Outcome.NO_TIME if late else Outcome.LEFT_ALONE)
        headers, private = self._headers(), self._base.private
        waiting = True
        try:
            async with asyncio.timeout_at(self._deadline), self._server.slots:
                waiting = False
                if form is None:
                    return await self._http_client.get(target, headers, private=private, limit=MAX_RESPONSE_BYTES)
                return await self._http_client.search(target, form, headers, private=private, limit=MAX_RESPONSE_BYTES)
        except TimeoutError:
            raise FhirError(Outcome.BUSY if waiting else Outcome.TIMEOUT) from None
        except RequestError as error:
            raise FhirError(Outcome(error.fault)) from None

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"Accept", b"application/fhir+json")]
        if self._token:
            if not (self._token.isascii() and self._token.isprintable() and " " not in self._token):
                raise FhirError(Outcome.BAD_TOKEN)
            headers.append((b"Authorization", b"Bearer " + self._token.encode()))
        return headers

    def _body_of(self, response: Response) -> bytes:
        status = response.status
        if status in (429, 503) and (seconds := response.headers.get("retry-after", "").strip()).isdecimal():
            self._pause = max(self._pause, float(seconds[:9]))
        if status != 200:
            known = Outcome.REDIRECT if 300 <= status < 400 else Outcome.FAILED if status >= 500 else Outcome.REFUSED
            raise FhirError(STATUSES.get(status, known), status, issues=issues_of(response.body) if response.body else ())
        body = response.body.removeprefix(BOM_UTF8)
        if not body.strip():
            raise FhirError(Outcome.EMPTY)
        if "html" in response.headers.get("content-type", "") or body[:9].lower().startswith((b"<html", b"<!doctype")):
            raise FhirError(Outcome.WEB_PAGE)
        return body


def _joined(base: httpx2.URL, url: str) -> str:
    """Return `url` as an absolute one; what leads out of the base is refused later.

    Not by `urljoin`, which remembers the last URLs, and with them ids of patients.
    """
    if _ABSOLUTE.match(url):
        return url
    if url.startswith("//"):
        return f"{base.scheme}:{url}"
    return f"{base.copy_with(raw_path=b'/')}{url[1:]}" if url.startswith("/") else f"{base}/{url}"
