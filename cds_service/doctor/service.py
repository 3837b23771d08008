"""Check a running service from outside, as an EHR would, and say what to change.

Every check is one `Finding`. Calls are about a patient who does not exist and carry no data; the service's alert log records each
as a call by the user `Practitioner/cds-service-doctor`. Tokens are made and sent, and never part of a finding.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import msgspec

from cds_service.clock import utc_now
from cds_service.doctor.address import address, certificate
from cds_service.doctor.finding import Finding
from cds_service.doctor.token import Signer

CLOCK_LIMIT = 5.0  # seconds
LATENCY_LIMIT = 500.0  # ms; CDS Hooks 2.0: "on the order of 500 ms"
_TEST_ID = "cds-service-doctor"  # id of the patient, user and order in test calls; it exists nowhere
_NEEDED_HEADERS = {"authorization", "content-type"}
_HOOKS = ("patient-view", "order-select", "order-sign")
_WHY_REFUSED = "compare iss, aud, kid, alg and the key with the registration of the client; the service's log has the reason"
_GIVE_KEY = "give --key, --iss and --kid of a registered client"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Name the service to check, and how to call it.

    `url` is its base, without /cds-services and without a slash at the end.
    """

    url: str
    public_url: str = ""
    origin: str = ""  # of a web page that calls the service; "": browsers do not call it
    signer: Signer | None = None
    calls: int = 10  # to measure the latency with


def base_of(url: str) -> str:
    """Return the base URL, given the base or the address of discovery."""
    return url.rstrip("/").removesuffix("/cds-services").rstrip("/")


class Checkup:
    """Examine one service: `findings` runs the checks, `templates` are the prefetch templates found."""

    def __init__(self, target: Target, http: httpx2.Client, trust: ssl.SSLContext) -> None:
        self._target = target
        self._http = http
        self._trust = trust
        self._url = f"{target.url}/cds-services"
        self._document: Any = None
        self._date = ""  # the Date header of a response, and our time then
        self._at = utc_now()
        self._services: list[dict[str, Any]] = []
        self._refuses_unsigned = False  # it refuses unsigned calls, and we have no key to sign one

    @property
    def templates(self) -> dict[str, str]:
        """Return the prefetch templates of all services, by key."""
        return {key: text for one in self._services for key, text in one.get("prefetch", {}).items()}

    def findings(self) -> Iterator[Finding]:
        """Run every check in turn; skip the later ones where the service cannot be reached."""
        yield from address(self._target.url, self._target.public_url)
        if urlsplit(self._target.url).scheme == "https":
            yield certificate(self._target.url, self._trust)
        yield from self._guarded("discovery", self._reach)
        if self._document is None:
            return
        yield from self._discovery()
        if not self._services:
            return
        yield self._clock()
        yield from self._guarded("health", self._health)
        if self._target.origin:
            yield from self._guarded("CORS", self._browsers)
        yield from self._guarded("unsigned call", self._unsigned)
        if self._refuses_unsigned:
            yield Finding("signed call", "warning", "calls, feedback and latency were not checked", _GIVE_KEY)
            return
        yield from self._guarded("call", self._calls)
        yield from self._guarded("feedback", self._feedback)
        yield from self._guarded("latency", self._latency)

    def _guarded(self, check: str, make: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        try:
            yield from make()
        except httpx2.HTTPError as error:
            yield Finding(check, "FAIL", f"no response ({type(error).__name__})", "check that the service runs, and the address")

    def _send(self, method: str, url: str, *, signed: bool = True, **options: Any) -> httpx2.Response:
        headers = dict(options.pop("headers", {}))
        if signed and self._target.signer is not None:
            headers["authorization"] = f"Bearer {self._target.signer.token(self._audience(url))}"
        return self._http.request(method, url, headers=headers, **options)

    def _audience(self, url: str) -> str:
        """Return the URL under which EHRs call `url`: below the public URL, where that is another one."""
        return self._target.public_url.rstrip("/") + url.removeprefix(self._target.url) if self._target.public_url else url

    def _reach(self) -> Iterator[Finding]:
        answer = self._send("GET", self._url, headers={"accept": "application/json"})
        self._date, self._at = answer.headers.get("date", ""), utc_now()
        if answer.status_code == 401:
            mend = _GIVE_KEY if self._target.signer is None else _WHY_REFUSED
            yield Finding("discovery", "FAIL", "401: it requires a token of a registered client", mend)
        elif answer.is_redirect:
            yield Finding("discovery", "FAIL", "it redirects", "give the address it redirects to; EHRs need not follow redirects")
        elif answer.status_code == 200 and (document := _json(answer)) is not None:
            self._document = document
            yield Finding("discovery", "ok", "status 200")
        else:
            mend = "give the address whose /cds-services returns JSON"
            yield Finding("discovery", "FAIL", f"status {answer.status_code} without a JSON document", mend)

    def _discovery(self) -> Iterator[Finding]:
        services = self._document.get("services") if isinstance(self._document, dict) else None
        if not isinstance(services, list) or not services:
            yield Finding("services", "FAIL", "the document lists no services", "check that it is a CDS Hooks service")
            return
        whole = [one for one in services if _is_service(one)]
        self._services = [one for one in whole if one["hook"] in _HOOKS]
        if len(whole) < len(services):
            yield Finding(
                "services",
                "FAIL",
                "a service lacks id, hook or description, or its prefetch is malformed",
                "correct its discovery document",
            )
        else:
            yield Finding("services", "ok", ", ".join(f"{one['id']} ({one['hook']})" for one in whole))
        keys = {key for one in whole for key in one.get("prefetch", {})}
        if keys:
            yield Finding("prefetch", "ok", f"requests {', '.join(sorted(keys))}")
        else:
            yield Finding("prefetch", "warning", "requests nothing", "without prefetch every call needs a FHIR server")

    def _clock(self) -> Finding:
        """Compare its clock with ours; the Date header has whole seconds."""
        try:
            ahead = (parsedate_to_datetime(self._date) - self._at).total_seconds()
        except ValueError:
            return Finding("clock", "warning", "its responses have no Date header", "compare the clocks by hand")
        if abs(ahead) > CLOCK_LIMIT:
            mend = "synchronise both clocks with NTP; tokens are refused when clocks differ"
            return Finding("clock", "warning", f"it is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}", mend)
        return Finding("clock", "ok", f"the same as here, to within {CLOCK_LIMIT:.0f} s")

    def _health(self) -> Iterator[Finding]:
        answer = self._send("GET", f"{self._target.url}/health", signed=False)
        if answer.status_code == 404:  # on another port, for operators; this one tells only whether calls should be sent
            answer = self._send("GET", f"{self._target.url}/health/ready", signed=False)
            if answer.status_code == 200:
                yield Finding("health", "ok", "it is ready; details are not on this address")
                return
        document = _json(answer)
        status = document.get("status") if isinstance(document, dict) else None
        if answer.status_code == 200 and status == "ok":
            yield Finding("health", "ok", "it reports ok")
        elif answer.status_code == 200 and status == "degraded":
            yield Finding("health", "warning", "it reports degraded", "read /health and its log")
        else:
            mend = "read it from inside the network, if it is not meant to be public"
            yield Finding("health", "warning", f"/health: status {answer.status_code} without a state", mend)

    def _browsers(self) -> Iterator[Finding]:
        """Check CORS for the origin.

        Sends a preflight for every path that is called, and reads the header of a response.
        """
        paths = [self._url, *(f"{self._url}/{one['id']}{end}" for one in self._services for end in ("", "/feedback"))]
        preflight = {"origin": self._target.origin, "access-control-request-headers": ", ".join(sorted(_NEEDED_HEADERS))}
        wrong = ""
        for path in paths:
            method = "GET" if path == self._url else "POST"
            answer = self._send("OPTIONS", path, signed=False, headers={**preflight, "access-control-request-method": method})
            wrong = wrong or self._preflight_fault(answer)
        mend = f"allow the origin {self._target.origin}, with the headers authorization and content-type"
        yield Finding(
            "CORS, preflight", "FAIL" if wrong else "ok", wrong or f"{len(paths)} paths may be called", mend if wrong else ""
        )
        answer = self._send("GET", self._url, headers={"origin": self._target.origin})
        if self._allows(answer):
            yield Finding("CORS, response", "ok", "may be read by the page")
        else:
            yield Finding("CORS, response", "FAIL", "may not be read by the page", mend)

    def _preflight_fault(self, answer: httpx2.Response) -> str:
        allowed = {name.strip().lower() for name in answer.headers.get("access-control-allow-headers", "").split(",")}
        if not answer.is_success:
            return f"OPTIONS returns status {answer.status_code}"
        if not self._allows(answer):
            return "the origin is not allowed"
        if missing := _NEEDED_HEADERS - allowed:
            return f"the header {' and '.join(sorted(missing))} is not allowed"  # `*` does not stand for authorization
        return ""

    def _allows(self, answer: httpx2.Response) -> bool:
        return answer.headers.get("access-control-allow-origin") in ("*", self._target.origin)

    def _unsigned(self) -> Iterator[Finding]:
        status = self._call(self._services[0], signed=False).status_code
        if status == 401:
            self._refuses_unsigned = self._target.signer is None
            yield Finding("unsigned call", "ok", "refused with 401")
        else:
            mend = "CDS_PROFILE=dev is for machines without patient data; elsewhere, production with registered clients"
            yield Finding("unsigned call", "warning", f"status {status}: it answers every caller", mend)

    def _calls(self) -> Iterator[Finding]:
        name = "signed call" if self._target.signer is not None else "call"
        for service in self._services:
            yield _call_finding(f"{name}, {service['hook']}", self._call(service))

    def _call(self, service: dict[str, Any], *, signed: bool = True) -> httpx2.Response:
        context: dict[str, Any] = {"userId": f"Practitioner/{_TEST_ID}", "patientId": _TEST_ID}
        if service["hook"] != "patient-view":
            context["draftOrders"] = {"resourceType": "Bundle", "type": "collection"}
        if service["hook"] == "order-select":
            context["selections"] = [f"MedicationRequest/{_TEST_ID}"]
        prefetch = dict.fromkeys(service.get("prefetch", {}))  # null: nothing there, so the service fetches nothing
        body = {"hook": service["hook"], "hookInstance": str(uuid4()), "context": context, "prefetch": prefetch}
        return self._send("POST", f"{self._url}/{service['id']}", signed=signed, json=body)

    def _feedback(self) -> Iterator[Finding]:
        """Send feedback on a card that does not exist; the service should accept it.

        CDS Hooks does not say that such feedback may be refused, and EHRs send old feedback again.
        """
        now = utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
        item = {"card": str(uuid4()), "outcome": "overridden", "outcomeTimestamp": now}
        answer = self._send("POST", f"{self._url}/{self._services[0]['id']}/feedback", json={"feedback": [item]})
        if answer.is_success:
            yield Finding("feedback", "ok", f"accepted with status {answer.status_code}")
        else:
            mend = (
                _WHY_REFUSED
                if answer.status_code == 401
                else "without feedback the service does not learn of overrides; read its log"
            )
            yield Finding("feedback", "FAIL", f"refused with status {answer.status_code}", mend)

    def _latency(self) -> Iterator[Finding]:
        """Measure the median time of a few calls without data; calls with data take longer."""
        took = []
        for _ in range(self._target.calls):
            started = time.perf_counter()
            self._call(self._services[0])
            took.append((time.perf_counter() - started) * 1000)
        found = f"median of {len(took)} calls {median(took):.0f} ms, slowest {max(took):.0f} ms"
        if median(took) > LATENCY_LIMIT:
            yield Finding("latency", "warning", found, "clinicians would wait; check network, proxy and machine")
        else:
            yield Finding("latency", "ok", found)


def _is_service(one: Any) -> bool:
    """Return whether an entry of discovery has what CDS Hooks requires.

    That is id, hook, description, and prefetch as texts.
    """
    if not isinstance(one, dict) or not isinstance(one.get("prefetch", {}), dict):
        return False
    return all(
        isinstance(text, str)
        for text in (one.get("id"), one.get("hook"), one.get("description"), *one.get("prefetch", {}).values())
    )


def _call_finding(check: str, answer: httpx2.Response) -> Finding:
    if answer.status_code == 401:
        return Finding(check, "FAIL", "401: the token was not accepted", _WHY_REFUSED)
    document = _json(answer)
    cards = document.get("cards") if isinstance(document, dict) else None
    if answer.status_code != 200 or not isinstance(cards, list):
        mend = "read its log; the trace in the body of the response leads to the line"
        return Finding(check, "FAIL", f"status {answer.status_code} without cards", mend)
    return Finding(check, "ok", f"status 200, cards: {len(cards)}")


def _json(answer: httpx2.Response) -> Any:
    try:
        return msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, RecursionError):
        return None
