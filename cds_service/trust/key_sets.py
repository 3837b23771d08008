"""Read public keys of EHR clients (RFC 7517), and verify signatures with them (RFC 7515, with joserfc).

An algorithm belongs to one type of key and, with elliptic curves, to one curve. `none` and symmetric algorithms are in no table
here, so no token can use them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, thumbprint
from joserfc.util import urlsafe_b64decode

from cds_service.trust.tokens import Token, strict_object


class _Fits(NamedTuple):
    """The type and curve of an algorithm's keys (RFC 7518, section 3.1)."""

    type: str
    curve: str = ""


ALGORITHMS: Mapping[str, _Fits] = {
    "ES384": _Fits("EC", "P-384"),  # this one and the next are what CDS Hooks recommends
    "RS384": _Fits("RSA"),
    "ES256": _Fits("EC", "P-256"),
    "RS256": _Fits("RSA"),
    "ES512": _Fits("EC", "P-521"),
    "PS384": _Fits("RSA"),
}
MAX_KEYS = 50
_RSA_BITS = (2048, 8192)  # RFC 7518, section 3.3, and a bound on what one signature may cost
_CURVES = {fits.curve for fits in ALGORITHMS.values() if fits.curve}
_FAULTS = (JoseError, ValueError, TypeError, KeyError)  # what building a key from bad numbers raises


class PublicKey(msgspec.Struct, frozen=True):
    """A key that may verify signatures."""

    kid: str
    type: str  # "EC" or "RSA"
    curve: str  # "" for RSA
    algorithm: str  # the only one that it may be used with, "" for any of its type
    thumbprint: str  # RFC 7638, SHA-256
    key: ECKey | RSAKey


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of a set, and the problems of the others: position and reason, without content."""

    keys: tuple[PublicKey, ...]
    problems: tuple[str, ...]

    def find(self, kid: str, algorithm: str) -> PublicKey | None:
        """Return the key with this `kid` for `algorithm`; None for no key, or several of its type."""
        fits = ALGORITHMS.get(algorithm)
        found = [one for one in self.keys if fits is not None and one.kid == kid and one.type == fits.type]
        if len(found) != 1 or fits is None:
            return None
        [one] = found
        return one if one.curve == fits.curve and one.algorithm in ("", algorithm) else None


def read_key_set(data: bytes, known_public: Collection[str] = ()) -> KeySet:
    """Read the JWK Set in `data`. Keys of other kinds are left out and reported, as RFC 7517, section 5 requires.

    `known_public`: thumbprints of keys whose private half is published. Raises ValueError where `data` is not a JWK Set.
    """
    found = strict_object(data).get("keys")
    if not isinstance(found, list):
        raise ValueError("has no list `keys`")  # noqa: TRY004 (one kind of error for all of it)
    if len(found) > MAX_KEYS:
        raise ValueError(f"holds more than {MAX_KEYS} keys")
    keys: list[PublicKey] = []
    problems: list[str] = []
    for position, jwk in enumerate(found, 1):
        try:
            key = _public_key(jwk if isinstance(jwk, dict) else {})
        except ValueError as error:
            problems.append(f"key {position} {error}")
            continue
        if key.thumbprint in known_public:
            problems.append(f"key {position} is one whose private half is published")
            continue
        if any((one.kid, one.type) == (key.kid, key.type) for one in keys):
            problems.append(f"key {position} has the `kid` of another: tokens that name it are refused")
        keys.append(key)
    return KeySet(tuple(keys), tuple(problems))


def _public_key(jwk: dict[str, Any]) -> PublicKey:
    """Read one key. Raises ValueError that says what is wrong with it."""
    kid, kind = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not kid:
        raise ValueError("has no `kid`")
    if kind not in ("EC", "RSA"):
        raise ValueError("is neither an EC nor an RSA key (`kty`)")
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("is not for signatures (`use`, `key_ops`)")
    algorithm = jwk.get("alg", "")
    if not isinstance(algorithm, str) or (algorithm and (algorithm not in ALGORITHMS or ALGORITHMS[algorithm].type != kind)):
        raise ValueError(f"is for an algorithm that is not accepted (`alg`; accepted: {', '.join(ALGORITHMS)})")
    curve = ""
    try:
        if kind == "EC":
            curve = jwk.get("crv", "")
            if curve not in _CURVES:
                raise ValueError("has a curve that is not accepted (`crv`)")
            numbers = {"kty": "EC", "crv": curve, "x": jwk["x"], "y": jwk["y"]}
            key: ECKey | RSAKey = ECKey.import_key(numbers)
        else:
            numbers = {"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}
            bits = _bits(jwk["n"])
            if not _RSA_BITS[0] <= bits <= _RSA_BITS[1]:
                raise ValueError(f"has {bits} bits; RSA keys need {_RSA_BITS[0]} to {_RSA_BITS[1]}")
            key = RSAKey.import_key(numbers)
        key.public_key  # noqa: B018 (joserfc builds it on first use; a point that is not on the curve must show now)
    except _FAULTS as error:
        text = str(error) if isinstance(error, ValueError) and str(error).startswith("has ") else "holds numbers that make no key"
        raise ValueError(text) from None
    return PublicKey(kid, kind, curve, algorithm, thumbprint(numbers), key)


def _bits(modulus: object) -> int:
    if not isinstance(modulus, str) or len(modulus) > 2 * _RSA_BITS[1]:
        raise ValueError("holds numbers that make no key")
    return int.from_bytes(urlsafe_b64decode(modulus.encode("ascii"))).bit_length()


@cache
def _jws(algorithm: str) -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)  # unknown header members are ignored
    registry.max_header_length = 4096  # a `jku` and a long `kid`; the token as a whole is limited
    return registry


def is_signed_by(token: Token, key: PublicKey) -> bool:
    """Say whether `key` signed `token`, by the token's algorithm, which `KeySet.find` matched to the key."""
    try:
        jws.deserialize_compact(token.text, key.key, registry=_jws(token.algorithm))
    except _FAULTS:
        return False
    return True
