"""Read a JWT in compact form (RFC 7515, RFC 7519) strictly, before any of its claims is checked.

It refuses every token that two readers could understand differently: duplicate members, NaN, numbers of any size, padding or
spare bits in base64url, text that is not UTF-8. `verify` checks the claims, `key_sets` the signature.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

from cds_service.trust.refusal import CallerRefusedError

MAX_TOKEN = 8 * 1024  # bytes; real ones have 500 to 1500
MAX_TEXT = 512  # characters of a claim that is compared or kept
MAX_AUDIENCES = 20

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_LATEST = 2.0**40  # seconds since 1970, in the year 36812: no honest time is later
_REFUSED_MEMBERS = frozenset({"jwk", "x5c", "x5u", "crit", "b64"})  # they would let a token bring or name its own key, or rules


class Token(msgspec.Struct, frozen=True):
    """Header and claims of a token, with their types checked. Times are seconds since 1970."""

    text: str
    algorithm: str
    kid: str
    jku: str | None
    issuer: str
    audiences: tuple[str, ...]
    expires: float
    issued: float
    not_before: float | None
    id: str
    tenant: str  # "" for none

    def __repr__(self) -> str:
        return "Token(…)"


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token of the one Authorization header. Raises CallerRefusedError for none or several.

    `headers`: names in lower case, as ASGI gives them.
    """
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1:
        raise CallerRefusedError("no_token")
    scheme, _, token = found[0].partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise CallerRefusedError("no_token")
    if len(token) > MAX_TOKEN or not token.isascii():
        raise CallerRefusedError("not_a_token")
    return token.decode("ascii")


def read_token(text: str) -> Token:
    """Read the token in `text`: a JWS of three parts. Raises CallerRefusedError where a claim that CDS Hooks requires is missing.

    Header and claims: CDS Hooks 2.0.1, "Trusting CDS Clients": `alg`, `kid`, `typ`; `iss`, `aud`, `exp`, `iat`, `jti`.
    """
    parts = _COMPACT.fullmatch(text) if len(text) <= MAX_TOKEN else None
    if parts is None:
        raise CallerRefusedError("not_a_token")
    header, claims = _members(parts[1]), _members(parts[2])
    _decoded(parts[3])
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.upper() != "JWT" or not _REFUSED_MEMBERS.isdisjoint(header):
        raise CallerRefusedError("header")
    jku = header.get("jku")
    return Token(
        text=text,
        algorithm=_text(header.get("alg")),
        kid=_text(header.get("kid")),
        jku=None if jku is None else _text(jku),
        issuer=_text(claims.get("iss")),
        audiences=_audiences(claims.get("aud")),
        expires=_time(claims.get("exp")),
        issued=_time(claims.get("iat")),
        not_before=_time(claims["nbf"]) if "nbf" in claims else None,
        id=_text(claims.get("jti")),
        tenant=_text(claims["tenant"]) if "tenant" in claims else "",
    )


def strict_object(data: bytes) -> dict[str, Any]:
    """Decode the JSON object in `data`. Raises ValueError for other JSON, duplicate members and numbers out of range."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_fraction,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 (one kind of error for all of it)
    return value


def _members(part: str) -> dict[str, Any]:
    try:
        return strict_object(_decoded(part))
    except ValueError:
        raise CallerRefusedError("not_a_token") from None


def _decoded(part: str) -> bytes:
    """Decode base64url without padding; spare bits of the last character must be 0."""
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise CallerRefusedError("not_a_token") from None
    if urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise CallerRefusedError("not_a_token")
    return data


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN or Infinity")


def _whole(text: str) -> int:
    if len(text) > 18:
        raise ValueError("a number out of range")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text) if len(text) <= 40 else math.inf
    if not math.isfinite(number):
        raise ValueError("a number out of range")
    return number


def _text(value: Any) -> str:
    """Return `value` where it is a printable text of 1 to MAX_TEXT characters, without lone surrogates."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise CallerRefusedError("not_a_token")
    return value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise CallerRefusedError("not_a_token")
    return float(value)


def _audiences(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not 0 < len(several) <= MAX_AUDIENCES:
        raise CallerRefusedError("not_a_token")
    return tuple(_text(one) for one in several)
