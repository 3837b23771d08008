"""ID tokens that no provider would send: none is taken for an identity (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from cds_service.access.access_file import Provider
from cds_service.access.oidc import CallbackError, ProviderSignIn
from tests.access.people import Clock
from tests.review.sample_log import NOW

ISSUER = "https://login.example"
KEY = RSAKey.generate_key(2048, {"kid": "a"})
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "cramp-cds",
    "sub": "1",
    "nonce": "n",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
}


class _Known(ProviderSignIn):
    """A provider whose keys are known here."""

    def _key_set(self, _: object) -> KeySet:
        return KeySet([RSAKey.import_key(KEY.as_dict(private=False))])


def claims_of(token: str, nonce: str = "n") -> dict[str, Any]:
    provider = _Known(Provider(ISSUER, "cramp-cds"), "https://review.example/back", Clock())
    with provider._client() as client:
        return provider._claims(client, {"id_token": token}, nonce)


def signed(changes: Mapping[str, Any], key: RSAKey = KEY) -> str:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": "a"}, claims, key)


def forged(header: dict[str, str], sign: Callable[[bytes], bytes]) -> str:
    text = b".".join(_base64(msgspec.json.encode(part)) for part in (header, GOOD))
    return (text + b"." + _base64(sign(text))).decode()


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def test_a_good_one_is_taken() -> None:
    assert claims_of(signed({}))["sub"] == "1"
    assert claims_of(signed({"aud": ["cramp-cds", "other"], "azp": "cramp-cds"}))["sub"] == "1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.example.evil"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "cramp-cds"], "azp": "another"},
        {"aud": None},
        {"sub": None},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": int(NOW.timestamp()) - 61},
        {"exp": None},
        {"iat": int(NOW.timestamp()) + 120},
        {"nbf": int(NOW.timestamp()) + 120},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_or_missing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CallbackError):
        claims_of(signed(changes))


def test_another_signature_is_refused() -> None:
    good = signed({})
    header, body, signature = good.split(".")
    public = KEY.as_pem(private=False)
    for token in (
        signed({}, RSAKey.generate_key(2048, {"kid": "a"})),
        forged({"alg": "HS256", "kid": "a"}, lambda text: hmac.digest(public, text, "sha256")),  # public key as shared secret
        forged({"alg": "none"}, lambda _: b""),
        forged({"alg": "none", "kid": "a"}, lambda _: b"x"),
        f"{header}.{body}.",
        f"{header}.{body}.{signature[:-4]}AAAA",
        f"{body}.{header}.{signature}",
        "",
        "a.b.c",
    ):
        with pytest.raises(CallbackError):
            claims_of(token)
