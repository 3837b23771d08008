"""Connect only to IP addresses that were checked first.

A name is resolved once per connection, every address of it is checked, and the connection goes to exactly these addresses, while
TLS and the Host header keep the name. So a name that changes its address between check and use (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import httpcore2

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) → addresses; raises OSError

_NEXT_ADDRESS_SECONDS = 0.25  # then another address of the name is tried

# IANA's special-purpose registries. `ipaddress.is_global` differs between versions of Python, and says True for some of these.
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
    """Why a request has no response."""

    NOT_RESOLVED = "not_resolved"  # the name has no address
    NOT_PUBLIC = "not_public"  # an address of the name is not public, and the base is not registered as private
    NOT_REACHED = "not_reached"  # no connection
    TLS = "tls"  # the certificate, or the handshake
    RESET = "reset"  # the connection ended before a response began
    GARBLED = "garbled"  # what came is not HTTP
    INCOMPLETE = "incomplete"  # the response broke off
    ENCODED = "encoded"  # compressed, though that was not asked for
    TOO_LONG = "too_long"


class RequestError(Exception):
    """Raised where a request has no response. Holds nothing of the URL or of what was sent."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def is_public(address: str) -> bool:
    """Say whether an IP address, as a resolver writes it, is on the public internet."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    return parsed.scope_id is None and parsed in _PUBLIC_6 and not any(parsed in network for network in _NOT_PUBLIC_6)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """The network of one connection, which goes to checked addresses only."""

    def __init__(self, resolve: Resolve, private: bool) -> None:
        self._resolve = resolve
        self._private = private
        self._network = httpcore2.AnyIOBackend()
        self._stream: httpcore2.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except OSError:
            addresses = []
        if not addresses:
            raise RequestError(Fault.NOT_RESOLVED)
        if not self._private and not all(map(is_public, addresses)):
            raise RequestError(Fault.NOT_PUBLIC)
        for number, address in enumerate(addresses, 1):
            last = number == len(addresses)
            try:
                self._stream = await self._network.connect_tcp(
                    address, port, timeout if last else _NEXT_ADDRESS_SECONDS, local_address, socket_options
                )
                break
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if last:
                    raise
        assert self._stream is not None  # noqa: S101 (the loop ends with one, or raises)
        return TrackedStream(self._stream)

    async def aclose(self) -> None:
        """Close the socket, which httpcore2 leaves open when it is cancelled during the TLS handshake."""
        if self._stream is not None:
            await self._stream.aclose()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of `host` from the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class TrackedStream(httpcore2.AsyncNetworkStream):
    """A connection that notes whether anything was received since something was last sent.

    A server that gives too short a length for one response leaves bytes in the connection. They must not pass for the response to
    the next request, which may be about another patient.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self.has_received = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore2's)
        data = await self._stream.read(max_bytes, timeout)
        self.has_received = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.has_received = False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        return TrackedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
