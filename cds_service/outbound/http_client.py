"""Send HTTP requests to other servers; no other module of the service does.

Requests change nothing: they are GET, and POST of a search that is too long for a URL.

- Addresses are checked before connecting (`checked_network`). One that is not public needs a base that is registered as private;
  private and public bases share no connection.
- No redirects, proxies, cookies, user names or decompression: the connections of httpcore2 have none of these. The caller gives
  the headers.
- Bodies are read up to a limit, and h11 limits headers to 100 KB. The body of an error is read only where it is short JSON, which
  may say what was wrong with the request.

The caller limits the time (`asyncio.timeout_at`). A request that is cancelled leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from functools import cache

import certifi
import h11
import httpcore2
import httpx2
import msgspec

from cds_service.outbound.checked_network import CheckedBackend, Fault, RequestError, Resolve, TrackedStream
from cds_service.outbound.checked_network import resolve as system_resolve
from cds_service.outbound.circuit_breaker import CircuitBreaker
from cds_service.outbound.search_support import Quirks

Headers = Sequence[tuple[bytes, bytes]]
_Place = tuple[bool, str]  # (private, origin): requests to one place share connections

_MAX_IDLE = 64  # connections that stay open between requests
_MAX_REQUESTS = 24  # to one server at once: four calls that fetch all their data
_MAX_SERVERS = 256
_IDLE_SECONDS = 15  # after which an idle connection is closed
_EXPLAINED = frozenset({400, 404, 405, 422, 501})  # statuses whose body may say what was wrong with the request
_MAX_EXPLANATION = 16 * 1024  # bytes of such a body


class Response(msgspec.Struct, frozen=True):
    """An HTTP response."""

    status: int
    headers: dict[str, str]  # names in lower case; of a repeated name, the last value
    body: bytes  # of other statuses than 200 a short JSON text, or empty


class Server:
    """The state of one server in this process: failures, search quirks, free slots for requests."""

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.quirks = Quirks()
        self.slots = asyncio.Semaphore(_MAX_REQUESTS)


class _Connection:
    """One connection, in use by one request or idle."""

    def __init__(self, origin: httpcore2.Origin, tls: ssl.SSLContext | None, network: CheckedBackend) -> None:
        self._network = network
        self.http = httpcore2.AsyncHTTPConnection(origin, tls, keepalive_expiry=_IDLE_SECONDS, network_backend=network)

    async def aclose(self) -> None:
        await self.http.aclose()
        await self._network.aclose()


class HttpClient:
    """Connections to other servers. Needs no event loop to be made; close it with `aclose`.

    Each request owns its connection until it ends. httpcore2 2.16 has a pool, which relies on AnyIO's shields; asyncio's own
    cancellation passes through them, and then the pool keeps requests with their tokens and forgets open sockets (decision 0013).
    """

    def __init__(self, resolve: Resolve = system_resolve, tls: ssl.SSLContext | None = None) -> None:
        """`resolve` and `tls` replace the system's resolver and trusted authorities in tests."""
        for name in ("httpx2", "httpcore2"):  # they log URLs, which hold patient ids, and headers, which hold tokens
            logging.getLogger(name).setLevel(logging.WARNING)
        self._resolve = resolve
        self._tls = tls
        self._idle: dict[_Place, list[_Connection]] = {}
        self._servers: dict[str, Server] = {}  # by base URL, the least recently used first

    def server(self, base_url: str) -> Server:
        """Return the state of a server; beyond 256 servers, the least recently used are forgotten."""
        found = self._servers.pop(base_url, None) or Server()
        self._servers[base_url] = found
        if len(self._servers) > _MAX_SERVERS:
            del self._servers[next(iter(self._servers))]
        return found

    async def get(self, url: httpx2.URL, headers: Headers, *, private: bool, limit: int) -> Response:
        """Send GET to `url`, which the caller has checked, and read a body of at most `limit` bytes.

        Raises RequestError, and UnicodeError for a host name that can't be encoded.
        """
        return await self._send("GET", url, headers, private, limit)

    async def search(self, url: httpx2.URL, form: bytes, headers: Headers, *, private: bool, limit: int) -> Response:
        """Send a search in `form` by POST; otherwise like `get`."""
        more = [(b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Length", b"%d" % len(form))]
        return await self._send("POST", url, [*headers, *more], private, limit, form)

    async def _send(
        self, method: str, url: httpx2.URL, headers: Headers, private: bool, limit: int, form: bytes | None = None
    ) -> Response:
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(b"Host", url.netloc), (b"Accept-Encoding", b"identity"), *headers]
        place = (private, str(target.origin))
        connection = await self._take_idle(place)
        if connection is None:
            tls = (self._tls or _authorities()) if target.scheme == b"https" else None
            connection = _Connection(target.origin, tls, CheckedBackend(self._resolve, private))
        started = reusable = False
        try:
            async with connection.http.stream(method, target, headers=sent, content=form) as response:
                stream = response.extensions.get("network_stream")  # None in tests without sockets
                if isinstance(stream, TrackedStream) and not stream.has_received:
                    raise RequestError(Fault.GARBLED)
                started = True
                received = await _read(response, limit)
            reusable = connection.http.is_idle()
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError) as error:  # SSLError: after the handshake
            raise RequestError(_fault(error, started)) from None
        finally:
            await (self._keep_idle(place, connection) if reusable else connection.aclose())
        return received

    async def aclose(self) -> None:
        for place in list(self._idle):
            for connection in self._idle.pop(place):
                await connection.aclose()

    async def _keep_idle(self, place: _Place, connection: _Connection) -> None:
        """Keep a connection for the next request; of too many, close the oldest of the first place."""
        self._idle.setdefault(place, []).append(connection)
        if sum(map(len, self._idle.values())) > _MAX_IDLE:
            first = next(iter(self._idle))
            oldest = self._idle[first].pop(0)
            if not self._idle[first]:
                del self._idle[first]
            await oldest.aclose()

    async def _take_idle(self, place: _Place) -> _Connection | None:
        """Take an idle connection to `place` that is still good; close the expired ones."""
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if not connection.http.has_expired():
                return connection
            await connection.aclose()
        self._idle.pop(place, None)
        return None


async def _read(response: httpcore2.Response, limit: int) -> Response:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status != 200:
        return Response(response.status, headers, await _explanation(response, headers))
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RequestError(Fault.ENCODED)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise RequestError(Fault.TOO_LONG)
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > limit:
            raise RequestError(Fault.TOO_LONG)
    return Response(200, headers, bytes(body))


async def _explanation(response: httpcore2.Response, headers: dict[str, str]) -> bytes:
    """Read the JSON body of an error where it is short, else nothing."""
    encoded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    if response.status not in _EXPLAINED or encoded or "json" not in headers.get("content-type", ""):
        return b""
    body = bytearray()
    try:
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > _MAX_EXPLANATION:
                return b""
    except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError):  # the status says enough
        return b""
    return bytes(body)


def _fault(error: Exception, started: bool) -> Fault:
    origin = error.args[0] if error.args else None  # httpcore2 wraps what the socket, TLS or h11 raised; its own errors hold text
    if isinstance(error, httpcore2.ConnectError):
        return Fault.TLS if isinstance(origin, ssl.SSLError) else Fault.NOT_REACHED
    if started:
        return Fault.INCOMPLETE
    if isinstance(error, ssl.SSLError):
        return Fault.TLS
    return Fault.GARBLED if isinstance(origin, h11.ProtocolError) else Fault.RESET


@cache
def _authorities() -> ssl.SSLContext:
    """Trust the authorities of this machine (a hospital's own among them) and those of certifi.

    Made at the first connection that needs it, because reading them takes 50 ms.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
