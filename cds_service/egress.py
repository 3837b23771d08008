"""The only way out of this process over HTTP: GET, one answer, to an address that was looked at before connecting to it.

- A name is resolved once per connection, every address of it is checked, and the connection goes to exactly these addresses,
  while TLS and the Host header keep the name. So a name that changes its address between a check and a use gains nothing.
  Addresses that are not public are refused, unless the place is registered as private; private and public places share no
  connection.
- No redirects, no proxies, no cookies, no user names, no decompression: httpcore has none of these. Whoever asks gives the
  headers.
- Answers are read up to a limit; their headers may have 100 KB, which h11 sees to.

Times are limited by whoever asks (`asyncio.timeout_at`): a question that is cancelled leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

import certifi
import h11
import httpcore
import httpx
import msgspec

from cds_service.breaker import Breaker

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) → addresses; raises OSError
Headers = Sequence[tuple[bytes, bytes]]

_MAX_CONNECTIONS = 200  # public, and as many private
_MAX_QUESTIONS = 24  # to one server at once: four calls that ask for everything
_MAX_SERVERS = 256
_KEPT_SECONDS = 15  # that an idle connection stays open
_NEXT_ADDRESS_SECONDS = 0.25  # then another address of the name is tried

# IANA's special-purpose registries. `ipaddress.is_global` differs between versions of Python and calls some of these public.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")  # all else is local, multicast, unassigned, or an IPv4 address in disguise (mapped, NAT64)
_NOT_PUBLIC_6 = tuple(  # among them Teredo (2001::/32) and 6to4 (2002::/16), which hold IPv4 addresses
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


class Fault(StrEnum):
    """Why there is no answer."""

    NOT_RESOLVED = "not_resolved"  # the name has no address
    NOT_PUBLIC = "not_public"  # an address of the name is not public, and the place is not registered as private
    NOT_REACHED = "not_reached"  # no connection
    TLS = "tls"  # the certificate, or the handshake
    RESET = "reset"  # the connection ended before an answer began
    GARBLED = "garbled"  # what came is not HTTP
    INCOMPLETE = "incomplete"  # the answer broke off
    ENCODED = "encoded"  # compressed, though that was not asked for
    TOO_LONG = "too_long"


class EgressError(Exception):
    """There is no answer, and why. Holds nothing of the address or of what was sent."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


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

    def __init__(self, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`resolve` and `tls` replace the system's resolver and trusted authorities in tests."""
        for name in ("httpx", "httpcore"):  # they log addresses, which hold patient ids, and headers, which hold tokens
            logging.getLogger(name).setLevel(logging.WARNING)
        self._public, self._private = (
            httpcore.AsyncConnectionPool(
                ssl_context=tls or _authorities(),
                max_connections=_MAX_CONNECTIONS,
                keepalive_expiry=_KEPT_SECONDS,
                network_backend=_Backend(resolve or _resolve, private),
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
                started = True
                return await _read(response, limit)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise EgressError(_fault(error, started)) from None

    async def aclose(self) -> None:
        await self._public.aclose()
        await self._private.aclose()


def is_public(address: str) -> bool:
    """Whether an IP address, as a resolver writes it, is one of the public internet."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    return parsed.scope_id is None and parsed in _PUBLIC_6 and not any(parsed in network for network in _NOT_PUBLIC_6)


async def _read(response: httpcore.Response, limit: int) -> Reply:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status != 200:
        return Reply(response.status, headers, b"")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise EgressError(Fault.ENCODED)
    length = headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > limit):
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
    return Fault.GARBLED if isinstance(origin, h11.ProtocolError) else Fault.RESET


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has looked at, and to no other."""

    def __init__(self, resolve: Resolve, private: bool) -> None:
        self._resolve = resolve
        self._private = private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except OSError:
            addresses = []
        if not addresses:
            raise EgressError(Fault.NOT_RESOLVED)
        if not self._private and not all(map(is_public, addresses)):
            raise EgressError(Fault.NOT_PUBLIC)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, _NEXT_ADDRESS_SECONDS, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


@cache
def _authorities() -> ssl.SSLContext:
    """Those that this machine trusts (a hospital's own among them), and those of certifi where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
