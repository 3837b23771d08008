"""The only way out of this process over HTTP: GET, one answer, to an address that was looked at before connecting to it.

- Addresses that are not public are refused, unless the place is registered as private (`connect`); private and public places
  share no connection.
- No redirects, no proxies, no cookies, no user names, no decompression: httpcore has none of these. Whoever asks gives the
  headers.
- Answers are read up to a limit; their headers may have 100 KB, which h11 sees to.

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

from cds_service.breaker import Breaker
from cds_service.connect import CheckedBackend, EgressError, Fault, HeardStream, Resolve
from cds_service.connect import resolve as system_resolve

Headers = Sequence[tuple[bytes, bytes]]

_MAX_CONNECTIONS = 200  # public, and as many private
_MAX_QUESTIONS = 24  # to one server at once: four calls that ask for everything
_MAX_SERVERS = 256
_KEPT_SECONDS = 15  # that an idle connection stays open


class Reply(msgspec.Struct, frozen=True):
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]  # names in lower case; of a name that comes twice, the last
    body: bytes  # empty unless the status is 200: no other body is read


class Server:
    """What this process remembers of one server that it asks."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.slots = asyncio.Semaphore(_MAX_QUESTIONS)


class Egress:
    """The connections of this process to other servers. Made without an event loop, closed with `aclose`."""

    def __init__(self, resolve: Resolve = system_resolve, tls: ssl.SSLContext | None = None) -> None:
        """`resolve` and `tls` replace the system's resolver and trusted authorities in tests."""
        for name in ("httpx", "httpcore"):  # they log addresses, which hold patient ids, and headers, which hold tokens
            logging.getLogger(name).setLevel(logging.WARNING)
        self._public, self._private = (
            httpcore.AsyncConnectionPool(
                ssl_context=tls or _authorities(),
                max_connections=_MAX_CONNECTIONS,
                keepalive_expiry=_KEPT_SECONDS,
                network_backend=CheckedBackend(resolve, private),
            )
            for private in (False, True)
        )
        self._servers: dict[str, Server] = {}  # by base URL, the one that was not used for longest first

    def server(self, base_url: str) -> Server:
        """What is remembered of the server with this base URL; of more than 256, those not used for longest are forgotten."""
        found = self._servers.pop(base_url, None) or Server()
        self._servers[base_url] = found
        if len(self._servers) > _MAX_SERVERS:
            del self._servers[next(iter(self._servers))]
        return found

    async def get(self, url: httpx.URL, headers: Headers, *, private: bool, limit: int) -> Reply:
        """The answer to GET `url`, which the caller has checked, with a body of at most `limit` bytes.

        Raises EgressError, and UnicodeError for a host that can't be put on the wire.
        """
        pool = self._private if private else self._public
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(b"Host", url.netloc), (b"Accept-Encoding", b"identity"), *headers]
        started = False
        try:
            async with pool.stream("GET", target, headers=sent) as response:
                stream = response.extensions.get("network_stream")  # there is none in tests without sockets
                if isinstance(stream, HeardStream) and not stream.heard:
                    raise EgressError(Fault.GARBLED)
                started = True
                return await _read(response, limit)
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:  # the last one: after the handshake
            raise EgressError(_fault(error, started)) from None

    async def aclose(self) -> None:
        await self._public.aclose()
        await self._private.aclose()


async def _read(response: httpcore.Response, limit: int) -> Reply:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status != 200:
        return Reply(response.status, headers, b"")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise EgressError(Fault.ENCODED)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise EgressError(Fault.TOO_LONG)
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > limit:
            raise EgressError(Fault.TOO_LONG)
    return Reply(200, headers, bytes(body))


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
