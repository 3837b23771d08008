"""Connections to addresses that were looked at first.

A name is resolved once per connection, every address of it is checked, and the connection goes to exactly these addresses, while
TLS and the Host header keep the name. So a name that changes its address between a check and a use gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import httpcore

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) → addresses; raises OSError

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


class RequestError(Exception):
    """There is no answer, and why. Holds nothing of the address or of what was sent."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def is_public(address: str) -> bool:
    """Whether an IP address, as a resolver writes it, is one of the public internet."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    return parsed.scope_id is None and parsed in _PUBLIC_6 and not any(parsed in network for network in _NOT_PUBLIC_6)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """The network of one connection: to the addresses that were looked at, and to no other."""

    def __init__(self, resolve: Resolve, private: bool) -> None:
        self._resolve = resolve
        self._private = private
        self._network = httpcore.AnyIOBackend()
        self._stream: httpcore.AsyncNetworkStream | None = None

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
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last:
                    raise
        assert self._stream is not None  # noqa: S101 (the loop ends with one, or raises)
        return HeardStream(self._stream)

    async def aclose(self) -> None:
        """Closes the socket, whoever holds it: httpcore leaves it open where it is cancelled at certain moments."""
        if self._stream is not None:
            await self._stream.aclose()


async def resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class HeardStream(httpcore.AsyncNetworkStream):
    """A connection that knows whether anything came over it since something was last sent.

    An answer to a question that was made of what came before the question (a server said too short a length of its answer to
    another) is none.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.heard = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore's)
        data = await self._stream.read(max_bytes, timeout)
        self.heard = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self.heard = False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return HeardStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
