"""Make keys and tokens of a registered client, to try a service as its EHR would call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from joserfc.jwk import ECKey, RSAKey

from cds_service.doctor.token import LIFETIME, KeyFileError, load_signer
from cds_service.trust.key_sets import ALGORITHMS
from cds_service.trust.registry import Client
from cds_service.trust.verify import endpoint_urls

_RSA_BITS = 3072
Jwk = dict[str, Any]


def new_key(algorithm: str, kid: str = "") -> tuple[Jwk, Jwk]:
    """Return a new key for `algorithm` as JWK (RFC 7517), with its private half and without.

    `kid` defaults to the key's thumbprint (RFC 7638).
    """
    fits = ALGORITHMS[algorithm]
    key = ECKey.generate_key(fits.curve) if fits.type == "EC" else RSAKey.generate_key(_RSA_BITS)
    about = {"kid": kid or key.thumbprint(), "use": "sig", "alg": algorithm}
    return about | dict(key.as_dict(private=True)), about | dict(key.as_dict(private=False))


def client_token(client: Client, key: Path, public_url: str, path: str, *, kid: str = "", tenant: str = "") -> str:
    """Return a token of `client` for one call of `path` below /cds-services ("" for discovery, "/id", "/id/feedback").

    Raises KeyFileError for a key, an algorithm or a tenant that is not the client's, OSError where the key can't be read.
    """
    signer = load_signer(key, iss=client.iss, kid=kid)
    if signer.alg not in client.algorithms:
        raise KeyFileError(f"signs with {signer.alg}; client {client.name} may use {', '.join(client.algorithms)}")
    if client.pinned is not None and signer.kid not in {one.kid for one in client.pinned.keys}:
        raise KeyFileError(f"is not registered: client {client.name} has no key with this kid")
    if tenant not in (client.tenants or ("",)):
        raise KeyFileError(f"--tenant must be one of {', '.join(client.tenants) or 'none: the client has no tenants'}")
    if not client.audiences and not public_url:
        raise KeyFileError("CDS_PUBLIC_URL is needed: the client has no audiences of its own")
    audience = client.audiences[0] if client.audiences else endpoint_urls(public_url, path)[0]
    signer = msgspec.structs.replace(signer, tenant=tenant, lifetime=min(LIFETIME, client.max_life_s))
    return signer.token(audience)
