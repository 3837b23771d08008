"""Sign calls as an EHR does, with a key from a JWK or PEM file.

Source: CDS Hooks 2.0, "Trusting CDS Clients".
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

LIFETIME = 300  # seconds
ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


class KeyFileError(ValueError):
    """Report a key file that cannot be used; the text repeats nothing of it."""


class Signer(msgspec.Struct, frozen=True):
    """Make tokens; its repr holds no key."""

    key: ECKey | RSAKey
    iss: str
    kid: str
    alg: str
    aud: str = ""  # "": the URL that is called
    jku: str = ""
    tenant: str = ""  # "": the token names none
    lifetime: int = LIFETIME  # seconds

    def __repr__(self) -> str:
        return "Signer(…)"

    def token(self, url: str) -> str:
        """Return a signed token (compact JWT) for one call of `url`."""
        now = int(time.time())
        header = {"alg": self.alg, "typ": "JWT", "kid": self.kid, **({"jku": self.jku} if self.jku else {})}
        claims = {"iss": self.iss, "aud": self.aud or url, "iat": now, "exp": now + self.lifetime, "jti": str(uuid4())}
        if self.tenant:
            claims["tenant"] = self.tenant
        return jwt.encode(header, claims, self.key, algorithms=[self.alg])


def load_signer(path: Path, *, iss: str, kid: str = "", alg: str = "", aud: str = "", jku: str = "") -> Signer:
    """Return a signer with the private key in `path`.

    `kid` and `alg` default to those of the key.

    Raises KeyFileError, and OSError where the file can't be read.
    """
    key = _load_key(path.read_bytes())
    fields: dict[str, Any] = dict(key.as_dict(private=False))
    chosen = alg or str(fields.get("alg") or _BY_CURVE.get(str(fields.get("crv")), "RS384"))
    if chosen not in ALGORITHMS or chosen.startswith("ES") != isinstance(key, ECKey):
        raise KeyFileError(f"{chosen} does not fit this key")
    name = kid or str(fields.get("kid") or "")
    if not name:
        raise KeyFileError("the key has no kid; give --kid")
    return Signer(key, iss, name, chosen, aud, jku)


def _load_key(data: bytes) -> ECKey | RSAKey:
    try:
        if data.lstrip().startswith(b"{"):
            content: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
            key = import_key(content)
        elif b"-----BEGIN" in data:
            key = _from_pem(data)
        else:
            raise KeyFileError("is neither a JWK nor a PEM file")
    except (JoseError, msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
        raise KeyFileError(str(error) if isinstance(error, KeyFileError) else "holds no readable key") from None
    if not isinstance(key, ECKey | RSAKey) or not key.is_private:
        raise KeyFileError("must be a private key, elliptic curve or RSA")
    return key


def _from_pem(data: bytes) -> ECKey | RSAKey:
    try:
        return ECKey.import_key(data)
    except (JoseError, ValueError, TypeError):
        return RSAKey.import_key(data)
