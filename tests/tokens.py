"""Tokens as EHRs sign them, and registries of EHR clients, for tests. Keys are made when first needed and never stored."""

from __future__ import annotations

import json
import uuid
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from cds_service.trust.key_sets import ALGORITHMS

PUBLIC_URL = "https://cds.example"
DISCOVERY = f"{PUBLIC_URL}/cds-services"
SERVICE = f"{DISCOVERY}/cramps-order-sign"  # a service of `http_side.SERVICES`
FEEDBACK = f"{SERVICE}/feedback"
ISS = "https://ehr.example/fhir"
JKU = "https://ehr.example/jwks.json"
GOOD_SECRET = "8f1c02d7a96be45304d1f7c2b8e96a5d"  # for tests only; looks made by chance

Json = dict[str, Any]


def private_key(kid: str = "k1", algorithm: str = "ES384", bits: int = 2048) -> ECKey | RSAKey:
    """A key of its own for each `kid`, of the type that `algorithm` needs."""
    return _made(kid, algorithm, bits)


@cache
def _made(kid: str, algorithm: str, bits: int) -> ECKey | RSAKey:
    fits = ALGORITHMS[algorithm]
    return ECKey.generate_key(fits.curve) if fits.type == "EC" else RSAKey.generate_key(bits)


def public_jwk(kid: str = "k1", algorithm: str = "ES384", bits: int = 2048, **changes: Any) -> Json:
    return {"kid": kid, "use": "sig", **private_key(kid, algorithm, bits).as_dict(private=False), "alg": algorithm} | changes


def key_set(*keys: Json) -> str:
    """A JWK Set as JSON; that of `private_key()` where no key is given."""
    return json.dumps({"keys": list(keys or (public_jwk(),))})


def claims(url: str = SERVICE, *, now: float, **changes: Any) -> Json:
    """The claims of a good token for `url`; a change of None takes one out."""
    at = int(now)
    good = {"iss": ISS, "aud": url, "iat": at, "exp": at + 300, "jti": str(uuid.uuid4())}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(
    url: str = SERVICE,
    *,
    kid: str = "k1",
    algorithm: str = "ES384",
    header: Json | None = None,
    now: float,
    **changes: Any,
) -> str:
    """A token for `url`, good but for the `changes` of its claims and header; None takes a member out."""
    members = {"alg": algorithm, "kid": kid, "typ": "JWT"} | (header or {})
    members = {name: value for name, value in members.items() if value is not None}
    return signed_bytes(json.dumps(members).encode(), json.dumps(claims(url, now=now, **changes)).encode(), kid, algorithm)


def signed_bytes(header: bytes, payload: bytes, kid: str = "k1", algorithm: str = "ES384") -> str:
    """A token of exactly these bytes, whatever they are, with the true signature of the key `kid`."""
    content = b".".join(encoded(part) for part in (header, payload))
    signature = jws.JWSRegistry.algorithms[algorithm].sign(content, private_key(kid, algorithm))
    return (content + b"." + encoded(signature)).decode()


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def bearer(url: str = SERVICE, **changes: Any) -> dict[str, str]:
    """The header of a request with a good token; see `signed`."""
    return {"authorization": f"Bearer {signed(url, **changes)}"}


def a_client(name: str = "ehr", **changes: Any) -> Json:
    """A client with pinned keys whose tokens `signed` makes; a change of None takes a key out."""
    client = {"name": name, "iss": ISS, "jwks": key_set(), "fhir_bases": ["https://ehr.example/fhir"]} | changes
    return {key: value for key, value in client.items() if value is not None}


def write_registry(folder: Path, *clients: Json) -> Path:
    """A registry of these clients (see `a_client`), of one that is good where none is given."""
    path = folder / "clients.toml"
    path.write_text("\n".join(_table(one) for one in clients or (a_client(),)), encoding="utf-8")
    return path


def _table(client: Json) -> str:
    return "\n".join(["[[client]]", *(f"{key} = {_toml(value)}" for key, value in client.items()), ""])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)
