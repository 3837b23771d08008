"""The EHR's FHIR server, as one service call may use it: it is only read, under one base URL, with that call's bearer token.

The token goes nowhere else: every question goes to the base as it is registered, and a URL that is not under it is refused
(`base_urls.under`). Whatever the server does, `get` and `search` end with a body or with a FhirError, whose outcome is one of a
closed list (counted in `metrics.FHIR_FETCHES`) and whose text is for a clinician.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from urllib.parse import urljoin

import httpx2

from cds_service.base_urls import FhirBase, under
from cds_service.checked_network import Fault, RequestError
from cds_service.http_client import HttpClient, Response
from cds_service.metrics import FHIR_FETCHES, FHIR_WAYS
from cds_service.server_ways import Issue, Way, adapted, issues_of, repairs, type_of

MAX_ANSWER_BYTES = 5 * 1024 * 1024
RETRY_SHARE = 0.6  # of the time must be left for a second try


class Outcome(StrEnum):
    """What became of one question."""

    OK = "ok"
    UNUSABLE = "unusable"  # an OperationOutcome, or resources of another type
    NOT_JSON = "not_json"
    WEB_PAGE = "web_page"
    EMPTY = "empty"  # no content, where FHIR has at least an empty Bundle
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    GONE = "gone"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"  # other statuses from 500
    REFUSED = "refused"  # other statuses
    TIMEOUT = "timeout"
    BUSY = "busy"  # other questions were being asked until it was too late
    LEFT_ALONE = "left_alone"  # not asked, because it failed before
    NO_TIME = "no_time"  # not asked
    BAD_TOKEN = "bad_token"  # not asked  # noqa: S105
    BAD_ADDRESS = "bad_address"  # not asked
    ELSEWHERE = "elsewhere"  # not asked
    LACKS = "lacks"  # it has no resources of this type, now or as it said before (then it is not asked)
    CIRCLE = "circle"  # not asked: a page that was read names itself or an earlier one as the next
    NOT_RESOLVED = Fault.NOT_RESOLVED.value
    NOT_PUBLIC = Fault.NOT_PUBLIC.value
    NOT_REACHED = Fault.NOT_REACHED.value
    TLS = Fault.TLS.value
    RESET = Fault.RESET.value
    GARBLED = Fault.GARBLED.value
    INCOMPLETE = Fault.INCOMPLETE.value
    ENCODED = Fault.ENCODED.value
    TOO_LONG = Fault.TOO_LONG.value


_NOTES = {
    Outcome.NOT_JSON: "the FHIR server's answer is not FHIR JSON",
    Outcome.WEB_PAGE: "the FHIR server sent a web page in place of data",
    Outcome.EMPTY: "the FHIR server's answer is empty",
    Outcome.REDIRECT: "the FHIR server pointed to another address, which is not followed (status {status})",
    Outcome.UNAUTHORIZED: "the FHIR server did not accept the access that this call was given (status 401)",
    Outcome.FORBIDDEN: "the FHIR server does not let this service read it (status 403)",
    Outcome.NOT_FOUND: "the FHIR server does not have it (status 404)",
    Outcome.GONE: "the FHIR server does not have it any more (status 410)",
    Outcome.TOO_MANY: "the FHIR server was asked too often (status 429)",
    Outcome.UNAVAILABLE: "the FHIR server is not available at the moment (status 503)",
    Outcome.FAILED: "the FHIR server failed (status {status})",
    Outcome.REFUSED: "the FHIR server answered with status {status}",
    Outcome.TIMEOUT: "the FHIR server did not answer in time",
    Outcome.BUSY: "the FHIR server was too busy with other questions",
    Outcome.LEFT_ALONE: "the FHIR server failed shortly before and is not asked for some seconds",
    Outcome.NO_TIME: "no time was left to ask the FHIR server",
    Outcome.BAD_TOKEN: "the access that this call was given can't be used",
    Outcome.BAD_ADDRESS: "the address of the data can't be used",
    Outcome.ELSEWHERE: "the data is on another server, which is not asked",
    Outcome.LACKS: "the FHIR server has no data of this kind",
    Outcome.CIRCLE: "the pages of the search go round in a circle",
    Outcome.NOT_RESOLVED: "the FHIR server could not be found",
    Outcome.NOT_PUBLIC: "the FHIR server is at an address that may not be asked",
    Outcome.NOT_REACHED: "the FHIR server could not be reached",
    Outcome.TLS: "no secure connection to the FHIR server was possible",
    Outcome.RESET: "the FHIR server broke off the connection",
    Outcome.GARBLED: "the FHIR server's answer could not be understood",
    Outcome.INCOMPLETE: "the FHIR server's answer broke off",
    Outcome.ENCODED: "the FHIR server's answer is compressed, which was not asked for",
    Outcome.TOO_LONG: "the FHIR server's answer is too long",
}
_STATUSES = {
    204: Outcome.EMPTY,
    401: Outcome.UNAUTHORIZED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    410: Outcome.GONE,
    429: Outcome.TOO_MANY,
    503: Outcome.UNAVAILABLE,
}
_RETRIED = (Outcome.RESET, Outcome.UNAVAILABLE)
_SERVER_FAILS = {  # what the breaker counts; what is left is about this call, or about what was asked
    *(Outcome.TIMEOUT, Outcome.RESET, Outcome.GARBLED, Outcome.INCOMPLETE, Outcome.TOO_MANY, Outcome.UNAVAILABLE, Outcome.FAILED),
    *(Outcome.NOT_RESOLVED, Outcome.NOT_REACHED, Outcome.TLS),
}
_NOT_ASKED = {Outcome.BUSY, Outcome.LEFT_ALONE, Outcome.NO_TIME, Outcome.BAD_TOKEN, Outcome.NOT_PUBLIC}

for _outcome in Outcome:
    FHIR_FETCHES.labels(_outcome)  # shown as 0 from the start


class FhirError(Exception):
    """The FHIR server gave no usable answer. The text is for a clinician and holds nothing of the answer or the address."""

    def __init__(self, outcome: Outcome, status: int = 0, note: str = "", issues: tuple[Issue, ...] = ()) -> None:
        """`issues`: what the server said, which decides how it is asked again and goes nowhere else."""
        super().__init__(note or _NOTES[outcome].format(status=status))
        self.outcome = outcome
        self.status = status
        self.issues = issues


class FhirClient:
    """The FHIR server of one service call. Questions are asked within one `session`, which has the time for all of them."""

    def __init__(self, http_client: HttpClient, base: FhirBase, token: str | None) -> None:
        """`token` without "Bearer"."""
        self._http_client = http_client
        self._base = base
        self._token = token
        self._admitted = False
        self._deadline = self._retry_until = 0.0  # of the event loop's clock
        self._answered = self._failed = False
        self._pause = 0.0  # seconds that the server asks for
        self.ways: dict[Way, bool] = {}  # of the server, that were used in this call; True: they were learned in it

    @property
    def base_url(self) -> str:
        """Without a slash at the end."""
        return self._base.url

    @contextmanager
    def session(self, seconds: float) -> Iterator[None]:
        """The time in which questions may be asked. How it went decides whether the next calls ask this server at all."""
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
        """The address of `url`, which is relative to the base, or absolute under it. Raises FhirError."""
        if "\\" in url:  # which browsers take for a slash
            raise FhirError(Outcome.BAD_ADDRESS)
        try:
            base, target = httpx2.URL(self._base.url), httpx2.URL(urljoin(f"{self._base.url}/", url))
        except (httpx2.InvalidURL, ValueError):  # ValueError: urljoin on a broken IPv6 address, a host that IDNA can't write
            raise FhirError(Outcome.BAD_ADDRESS) from None
        if not under(base, target):
            raise FhirError(Outcome.ELSEWHERE)
        return base.copy_with(raw_path=target.raw_path)

    async def search(self, query: str) -> bytes:
        """The body of the answer to a query relative to the base, in the server's own ways. Raises FhirError.

        Where the server refuses a search and says why, it is asked once more as it wants to be, and that is remembered.
        """
        known = self._server.ways.of(query)
        for way in known:
            self.ways.setdefault(way, False)
        if any(way.kind == "lacks" for way in known):
            raise FhirError(Outcome.LACKS)
        try:
            return await self._searched(query, known)
        except FhirError as error:
            learned = tuple(way for way in repairs(adapted(query, known), error.status, error.issues) if way not in known)
            if not learned:
                raise
            if learned[0].kind == "lacks":
                self.learn(learned)
                raise FhirError(Outcome.LACKS) from None
            FHIR_FETCHES.labels(error.outcome).inc()
        repaired = (*known, *learned)
        try:
            body = await self._searched(query, repaired)
        except FhirError as error:
            # A server that names one fault at a time has another now: the first is mended, and the next call starts there.
            if any(way not in repaired for way in repairs(adapted(query, repaired), error.status, error.issues)):
                self.learn(learned)
            raise
        self.learn(learned)
        return body

    def learn(self, ways: Iterable[Way]) -> None:
        """Remembers ways of the server for the calls to come."""
        for way in ways:
            self._server.ways.keep([way])
            self.ways[way] = True
            FHIR_WAYS.labels(way.kind).inc()

    def knows(self, way: Way) -> bool:
        """Whether the server is known to have this way; then it counts as used."""
        known = way in self._server.ways.of(f"{way.type}?")
        if known:
            self.ways.setdefault(way, False)
        return known

    async def _searched(self, query: str, ways: tuple[Way, ...]) -> bytes:
        query = adapted(query, ways)
        if not any(way.kind == "by form" for way in ways):
            return await self.get(self.target(query))
        return await self.get(self.target(f"{type_of(query)}/_search"), query.partition("?")[2].encode())

    async def get(self, target: httpx2.URL, form: bytes | None = None) -> bytes:
        """The body of the answer to GET `target` (see there), asked again once where that may help. Raises FhirError.

        `form`: POST of a search, whose parameters are in it.
        """
        try:
            return await self._once(target, form)
        except FhirError as error:
            if error.outcome not in _RETRIED or self._pause or asyncio.get_running_loop().time() > self._retry_until:
                raise
            FHIR_FETCHES.labels(error.outcome).inc()
        return await self._once(target, form)

    async def _once(self, target: httpx2.URL, form: bytes | None) -> bytes:
        try:
            body = await self._asked(target, form)
        except FhirError as error:
            self._failed |= error.outcome in _SERVER_FAILS
            self._answered |= error.outcome not in _SERVER_FAILS and error.outcome not in _NOT_ASKED
            raise
        self._answered = True
        return body

    async def _asked(self, target: httpx2.URL, form: bytes | None) -> bytes:
        if not self._admitted:
            late = asyncio.get_running_loop().time() >= self._deadline
            raise FhirError(Outcome.NO_TIME if late else Outcome.LEFT_ALONE)
        headers = [(b"Accept", b"application/fhir+json")]
        if self._token:
            if not (self._token.isascii() and self._token.isprintable() and " " not in self._token):
                raise FhirError(Outcome.BAD_TOKEN)
            headers.append((b"Authorization", b"Bearer " + self._token.encode()))
        waiting = True
        try:
            async with asyncio.timeout_at(self._deadline), self._server.slots:
                waiting = False
                private, limit = self._base.private, MAX_ANSWER_BYTES
                if form is None:
                    reply = await self._http_client.get(target, headers, private=private, limit=limit)
                else:
                    reply = await self._http_client.search(target, form, headers, private=private, limit=limit)
        except TimeoutError:
            raise FhirError(Outcome.BUSY if waiting else Outcome.TIMEOUT) from None
        except RequestError as error:
            raise FhirError(Outcome(error.fault)) from None
        return self._body_of(reply)

    def _body_of(self, reply: Response) -> bytes:
        status = reply.status
        if status in (429, 503) and (seconds := reply.headers.get("retry-after", "").strip()).isdecimal():
            self._pause = max(self._pause, float(seconds[:9]))
        if status != 200:
            known = Outcome.REDIRECT if 300 <= status < 400 else Outcome.FAILED if status >= 500 else Outcome.REFUSED
            raise FhirError(_STATUSES.get(status, known), status, issues=issues_of(reply.body) if reply.body else ())
        if not reply.body.strip():
            raise FhirError(Outcome.EMPTY)
        if "html" in reply.headers.get("content-type", "") or reply.body[:9].lower().startswith((b"<html", b"<!doctype")):
            raise FhirError(Outcome.WEB_PAGE)
        return reply.body
