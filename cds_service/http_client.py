"""The only way out of this process over HTTP: one question, one answer, to an address that was looked at before connecting to it.

Questions change nothing: they are GET, and POST of a search that is too long for an address.

- Addresses that are not public are refused, unless the place is registered as private (`outgoing`); private and public places
  share no connection.
- No redirects, no proxies, no cookies, no user names, no decompression: httpcore has none of these. Whoever asks gives the
  headers.
- Answers are read up to a limit; their headers may have 100 KB, which h11 sees to. Of other statuses than 200 the body is read
  only where it is short JSON that says what was wrong with the question.

Times are limited by whoever asks (`asyncio.timeout_at`): a question that is cancelled leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from functools import cache

import certifi
import h11
import httpcore
import httpx
import msgspec

from cds_service.checked_network import CheckedBackend, Fault, HeardStream, RequestError, Resolve
from cds_service.checked_network import resolve as system_resolve
from cds_service.circuit_breaker import CircuitBreaker
from cds_service.server_ways import Ways

Headers = Sequence[tuple[bytes, bytes]]
_Place = tuple[bool, str]  # (whether it may be private, origin): a connection serves no other

_MAX_IDLE = 64  # connections that stay open between questions
_MAX_QUESTIONS = 24  # to one server at once: four calls that ask for everything
_MAX_SERVERS = 256
_KEPT_SECONDS = 15  # that an idle connection stays open
_EXPLAINED = frozenset({400, 404, 405, 422, 501})  # statuses whose body may say what was wrong with the question
_MAX_EXPLANATION = 16 * 1024  # bytes of such a body


class Response(msgspec.Struct, frozen=True):
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]  # names in lower case; of a name that comes twice, the last
    body: bytes  # of other statuses than 200 a short JSON text, or empty


class Server:
    """What this process remembers of one server that it asks."""

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()
        self.ways = Ways()
        self.slots = asyncio.Semaphore(_MAX_QUESTIONS)


class _Connection:
    """A connection to one place, in use by one question or idle."""

    def __init__(self, origin: httpcore.Origin, tls: ssl.SSLContext, network: CheckedBackend) -> None:
        self._network = network
        self.http = httpcore.AsyncHTTPConnection(origin, tls, keepalive_expiry=_KEPT_SECONDS, network_backend=network)

    async def aclose(self) -> None:
        await self.http.aclose()
        await self._network.aclose()


class HttpClient:
    """The connections of this process to other servers. Made without an event loop, closed with `aclose`.

    httpcore's own pool is not used: where a question is cancelled at a certain moment, it counts the connection as in use for
    ever, and after enough of them nothing is asked any more. Here each question owns its connection until it ends.
    """

    def __init__(self, resolve: Resolve = system_resolve, tls: ssl.SSLContext | None = None) -> None:
        """`resolve` and `tls` replace the system's resolver and trusted authorities in tests."""
        for name in ("httpx", "httpcore"):  # they log addresses, which hold patient ids, and headers, which hold tokens
            logging.getLogger(name).setLevel(logging.WARNING)
        self._resolve = resolve
        self._tls = tls or _authorities()
        self._idle: dict[_Place, list[_Connection]] = {}
        self._servers: dict[str, Server] = {}  # by base URL, the one that was not used for longest first

    def server(self, base_url: str) -> Server:
        """What is remembered of the server with this base URL; of more than 256, those not used for longest are forgotten."""
        found = self._servers.pop(base_url, None) or Server()
        self._servers[base_url] = found
        if len(self._servers) > _MAX_SERVERS:
            del self._servers[next(iter(self._servers))]
        return found

    async def get(self, url: httpx.URL, headers: Headers, *, private: bool, limit: int) -> Response:
        """The answer to GET `url`, which the caller has checked, with a body of at most `limit` bytes.

        Raises RequestError, and UnicodeError for a host that can't be put on the wire.
        """
        return await self._exchanged("GET", url, headers, private, limit)

    async def search(self, url: httpx.URL, form: bytes, headers: Headers, *, private: bool, limit: int) -> Response:
        """The answer to POST `url` with a search in `form`; see `get`."""
        more = [(b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Length", b"%d" % len(form))]
        return await self._exchanged("POST", url, [*headers, *more], private, limit, form)

    async def _exchanged(
        self, method: str, url: httpx.URL, headers: Headers, private: bool, limit: int, form: bytes | None = None
    ) -> Response:
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(b"Host", url.netloc), (b"Accept-Encoding", b"identity"), *headers]
        place = (private, str(target.origin))
        connection = await self._taken(place)
        if connection is None:
            connection = _Connection(target.origin, self._tls, CheckedBackend(self._resolve, private))
        started = done = False
        try:
            async with connection.http.stream(method, target, headers=sent, content=form) as response:
                stream = response.extensions.get("network_stream")  # there is none in tests without sockets
                if isinstance(stream, HeardStream) and not stream.heard:
                    raise RequestError(Fault.GARBLED)
                started = True
                reply = await _read(response, limit)
            done = connection.http.is_idle()
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:  # the last one: after the handshake
            raise RequestError(_fault(error, started)) from None
        finally:
            await (self._kept(place, connection) if done else connection.aclose())
        return reply

    async def aclose(self) -> None:
        for place in list(self._idle):
            for connection in self._idle.pop(place):
                await connection.aclose()

    async def _kept(self, place: _Place, connection: _Connection) -> None:
        """Keeps a connection for the next question to `place`; of too many, the one is closed whose place came first."""
        self._idle.setdefault(place, []).append(connection)
        if sum(map(len, self._idle.values())) > _MAX_IDLE:
            first = next(iter(self._idle))
            oldest = self._idle[first].pop(0)
            if not self._idle[first]:
                del self._idle[first]
            await oldest.aclose()

    async def _taken(self, place: _Place) -> _Connection | None:
        """An idle connection to `place` that is still good, where there is one; those that are not are closed."""
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if not connection.http.has_expired():
                return connection
            await connection.aclose()
        self._idle.pop(place, None)
        return None


async def _read(response: httpcore.Response, limit: int) -> Response:
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


async def _explanation(response: httpcore.Response, headers: dict[str, str]) -> bytes:
    """The JSON body of an error where it is short, else nothing."""
    encoded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    if response.status not in _EXPLAINED or encoded or "json" not in headers.get("content-type", ""):
        return b""
    body = bytearray()
    try:
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > _MAX_EXPLANATION:
                return b""
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError):  # the status says enough
        return b""
    return bytes(body)


def _fault(error: Exception, started: bool) -> Fault:
    origin = error.args[0] if error.args else None  # httpcore wraps what the socket, TLS or h11 raised; text is its own
    if isinstance(error, httpcore.ConnectError):
        return Fault.TLS if isinstance(origin, ssl.SSLError) else Fault.NOT_REACHED
    if started:
        return Fault.INCOMPLETE
    if isinstance(error, ssl.SSLError):
        return Fault.TLS
    return Fault.GARBLED if isinstance(origin, h11.ProtocolError) else Fault.RESET


@cache
def _authorities() -> ssl.SSLContext:
    """Those that this machine trusts (a hospital's own among them), and those of certifi where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
