"""Define the keys of a client's table in the registry, with readers and allowed values."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cds_service.outbound.base_urls import FhirBase
from cds_service.trust.key_sets import ALGORITHMS
from cds_service.trust.tokens import MAX_TEXT

HOOKS = ("patient-view", "order-select", "order-sign")
LONGEST_LIFE = 3600  # seconds; how long used tokens are remembered at most depends on it (CDS Hooks: an hour)

REQUIRED = {
    "name": "what logs and metrics call this client",
    "iss": "the `iss` of its tokens",
}


class Field(NamedTuple):
    """The reader of a key's value. `read` raises ValueError, with a text where `allowed` doesn't say enough."""

    read: Callable[[Any], Any]
    allowed: str


def text(value: Any) -> str:
    """Return a text of 1 to MAX_TEXT printable characters, exactly as a token has it."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable() or value != value.strip():
        raise ValueError
    return value


def name(value: Any) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text(value)):
        raise ValueError
    if value == "anonymous":
        raise ValueError("is the name of callers that are not registered; choose another name")
    return str(value)


def url(value: Any) -> str:
    """Return an http(s) URL that every reader understands in the same way."""
    parts = urlsplit(text(value))  # ValueError for a broken IPv6 address
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isascii():
        raise ValueError
    if parts.username is not None or parts.password is not None or "#" in value or "\\" in value or " " in value:
        raise ValueError("must hold no user name, fragment, backslash or space")
    if re.search(r"/(\.|%2e)+(/|$)", parts.path, re.IGNORECASE):
        raise ValueError("must hold no `.` or `..` in its path")
    _ = parts.port  # ValueError for one that is no number from 0 to 65535
    return str(value)


def fhir_bases(value: Any) -> tuple[FhirBase, ...] | None:
    if value == "any":
        return None
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004
    return tuple(_fhir_base(one) for one in value)


def _fhir_base(value: Any) -> FhirBase:
    table = value if isinstance(value, dict) else {"url": value}
    if not {"url"} <= table.keys() <= {"url", "private"} or not isinstance(table.get("private", False), bool):
        raise ValueError
    base = FhirBase(url(table["url"]).rstrip("/"), table.get("private", False))
    if "?" in base.url:
        raise ValueError("a base URL has no query")
    if is_private(base.url) and not base.private:
        raise ValueError(f"{base.url} is not a public address; if that is intended, write {{url = …, private = true}}")
    return base


def origin(value: Any) -> str:
    """Return an origin as in a browser's Origin header (RFC 6454): no path, no default port, lower case."""
    parts = urlsplit(url(value))
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    if value != f"{parts.scheme}://{parts.netloc}" or value != value.lower() or value.endswith(default):
        raise ValueError
    return str(value)


def is_private(address: str) -> bool:
    """Say whether the host looks private. The addresses of a name are checked again at each connection."""
    host = urlsplit(address).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


def _list(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError
        values = tuple(read(one) for one in value)
        if len(set(values)) != len(values):
            raise ValueError("holds something twice")
        return values

    return read_list


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return read


def _number(low: int, high: int) -> Field:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Field(read, f"a whole number from {low} to {high}")


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 (the readers' one kind of error)
    return value


def _json(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004
    return value


FIELDS: dict[str, Field] = {
    "name": Field(name, "lower-case letters, digits, `.`, `_` and `-`, at most 63"),
    "preset": Field(text, "the name of a preset"),
    "iss": Field(text, "the `iss` of its tokens, exactly"),
    "jku": Field(url, "an http or https URL"),
    "jku_private": Field(_yes_or_no, "true or false"),
    "jwks": Field(_json, "the text of a JWK Set, in triple quotes"),
    "jwks_file": Field(text, "the path of a file with a JWK Set, relative to this file"),
    "algorithms": Field(_list(_one_of(tuple(ALGORITHMS))), f"a list out of {', '.join(ALGORITHMS)}"),
    "audiences": Field(_list(text), "a list of texts, each exactly as in the `aud` of its tokens"),
    "max_life_s": _number(1, LONGEST_LIFE),
    "tenants": Field(_list(text), "a list of texts, each exactly as in the `tenant` of its tokens"),
    "fhir_bases": Field(fhir_bases, 'a list of base URLs, each a text or {url = "…", private = true}'),
    "hooks": Field(_list(_one_of(HOOKS)), f"a list out of {', '.join(HOOKS)}"),
    "origins": Field(_list(origin), 'a list of origins such as "https://ehr.example", without a path; `*` is not possible'),
    "deadline_ms": _number(200, 60_000),
    "calls_per_minute": _number(1, 1_000_000),
    "supports_include": Field(_yes_or_no, "true or false"),
}
