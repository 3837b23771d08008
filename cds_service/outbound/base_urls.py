"""Compare base URLs by their parts, never as text, and say whether a URL lies under one.

A base URL is scheme, host, port and path segments, as the HTTP client understands them: host names in lower case and IDNA,
default ports left out. A URL that could be read in two ways is refused as a base: user names, a host written as a number, a dot
segment, a query.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote

import httpx2
import msgspec

from cds_service.short_cache import short_cache

MAX_LENGTH = 2048  # of a base URL
_PORTS = {"http": 80, "https": 443}
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"({_LABEL}\.)*{_LABEL}")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")  # resolvers take a name whose last label is like this for an IPv4 address


class Place(NamedTuple):
    """A URL in its parts."""

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]  # of the path, as they go over the wire


class FhirBase(msgspec.Struct, frozen=True):
    """The base URL of a FHIR server that an EHR client has registered."""

    url: str  # without a slash at the end
    private: bool = False  # its address need not be public


def base_place(url: str) -> Place | None:
    """Return the parts of a base URL, or None where it can't be one."""
    return _base_place(url) if len(url) <= MAX_LENGTH else None


def base_url(place: Place) -> str:
    """Return the base URL with these parts, in one spelling: host in lower case, no default port, no slash at the end."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    port = "" if place.port == _PORTS[place.scheme] else f":{place.port}"
    return "/".join([f"{place.scheme}://{host}{port}", *place.segments])


@short_cache(1024)  # the same few bases in every call
def _base_place(url: str) -> Place | None:
    try:
        return place(httpx2.URL(url)) if not {"?", "#", "\\"} & set(url) else None
    except (httpx2.InvalidURL, UnicodeError):  # UnicodeError: a host name that IDNA can't write
        return None


def under(base: httpx2.URL, url: httpx2.URL) -> bool:
    """Say whether `url` lies under `base`: same scheme, host and port, and the base's path segments first."""
    outer, inner = place(base), place(url)
    return (
        outer is not None
        and inner is not None
        and inner[:3] == outer[:3]
        and inner.segments[: len(outer.segments)] == outer.segments
    )


def place(url: httpx2.URL) -> Place | None:
    """Return the parts of `url`, or None where it is not http(s) or is ambiguous."""
    default = _PORTS.get(url.scheme)
    host = url.raw_host.decode("ascii")
    port = default if url.port is None else url.port
    if default is None or port is None or not 0 < port <= 65535 or url.userinfo or not _is_host(host):
        return None
    segments = url.raw_path.partition(b"?")[0].decode("ascii").strip("/").split("/") if url.path.strip("/") else []
    if any(map(_is_dots, segments)):
        return None
    return Place(url.scheme, host, port, tuple(segments))


def _is_dots(segment: str) -> bool:
    """Say whether some server takes `segment` for "." or "..", also behind encoded slashes or with parameters (`..;x=1`)."""
    return any(part.partition(";")[0] in (".", "..") for part in re.split(r"[/\\]", unquote(segment)))


def _is_host(host: str) -> bool:
    if len(host) > 253:
        return False
    try:
        address = ip_address(host)
    except ValueError:
        return _NAME.fullmatch(host) is not None and not _NUMBER.fullmatch(host.rpartition(".")[2])
    plain = str(address) == host  # written in the one normal form, and without an interface
    return plain and not (isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or "%" in host))
