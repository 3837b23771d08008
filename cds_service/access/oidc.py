"""Sign in at the identity provider: OpenID Connect, authorization code with PKCE (OpenID Connect Core 1.0; RFC 7636).

What a sign-in needs at its end (state, nonce, verifier) lies in a short-lived cookie that is signed with a key of this process.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx2
import msgspec
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from itsdangerous import BadSignature, URLSafeSerializer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cds_service.access.access_file import Provider
from cds_service.clock import Clock

if TYPE_CHECKING:
    from joserfc.jwk import KeySetSerialization

MINUTES = 10  # from the first page of the provider to its answer
_SECONDS = 5.0  # that the provider may take for an answer
_METADATA_SECONDS = 3600.0
_LEEWAY = 60  # s between the clocks
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


class ProviderDownError(Exception):
    """Raised where the identity provider can't be reached or does not make sense. The text is for the person who signs in."""


class CallbackError(Exception):
    """Raised where what comes back from the identity provider belongs to no sign-in that was begun here. Text as above."""


class Identity(msgspec.Struct, frozen=True):
    """Who signed in, as the provider says it."""

    name: str
    subject: str  # by which the provider knows the person
    groups: tuple[str, ...]
    next: str  # page to go on with


class _Begun(msgspec.Struct, frozen=True):
    """What the cookie holds. `at`: s since 1970."""

    state: str
    nonce: str
    verifier: str
    next: str
    at: int


class ProviderSignIn:
    """Send people to one provider and take them back. Methods block, so they are for threads."""

    def __init__(self, provider: Provider, callback: str, clock: Clock) -> None:
        """`callback`: the URL to which the provider sends people back."""
        self._provider = provider
        self._callback = callback
        self._clock = clock
        self._cookie = URLSafeSerializer(secrets.token_bytes(32), salt="sign-in")
        self._metadata: dict[str, Any] = {}
        self._metadata_at = 0.0
        self._keys: KeySet | None = None

    def begin(self, next_page: str) -> tuple[str, str]:
        """Return the URL to send the person to, and the value of the cookie. Raises ProviderDownError."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = _Begun(state, nonce, verifier, next_page, self._now())
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._endpoint(client, "authorization_endpoint"),
                state=begun.state,
                nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        return str(url), str(self._cookie.dumps(msgspec.to_builtins(begun)))

    def end(self, cookie: str, query: Mapping[str, str]) -> Identity:
        """Return who signed in, from the cookie and the parameters of the provider. Raises CallbackError, ProviderDownError."""
        begun = self._begun(cookie)
        if not secrets.compare_digest(query.get("state", "").encode(), begun.state.encode()):
            raise CallbackError("This answer belongs to another sign-in")
        if query.get("iss", self._provider.issuer) != self._provider.issuer:  # RFC 9207
            raise CallbackError("This answer comes from another identity provider")
        if "code" not in query:
            raise CallbackError("The identity provider did not sign you in")
        with self._client() as client:
            token = _asked(lambda: self._token(client, query["code"], begun.verifier))
            claims = _asked(lambda: self._claims(client, token, begun.nonce))
            if self._provider.groups_claim not in claims or self._provider.name_claim not in claims:
                claims = _asked(lambda: self._more_claims(client, token, claims))
        return self._identity(claims, begun.next)

    def _begun(self, cookie: str) -> _Begun:
        try:
            begun = msgspec.convert(self._cookie.loads(cookie), _Begun)
        except (BadSignature, msgspec.ValidationError):
            raise CallbackError("No sign-in was begun in this browser, or it has ended already") from None
        if not 0 <= self._now() - begun.at <= MINUTES * 60:
            raise CallbackError(f"This sign-in took longer than {MINUTES} minutes")
        return begun

    def _now(self) -> int:
        return int(self._clock().timestamp())

    def _client(self) -> OAuth2Client:
        provider = self._provider
        secret = None
        if provider.client_secret_file:
            try:
                secret = Path(provider.client_secret_file).read_text().strip()
            except OSError as error:
                raise ProviderDownError(f"The secret for the identity provider can't be read ({error.strerror})") from None
        return OAuth2Client(
            provider.client_id,
            secret,
            scope=provider.scope,
            redirect_uri=self._callback,
            code_challenge_method="S256",
            timeout=_SECONDS,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(cafile=provider.ca_file or None),
        )

    def _endpoint(self, client: OAuth2Client, name: str) -> str:
        """Return an address of the provider's metadata (OpenID Connect Discovery 1.0), which is kept for an hour."""
        now = self._clock().timestamp()
        if not self._metadata or not 0 <= now - self._metadata_at < _METADATA_SECONDS:
            found = _asked(lambda: _json(client, f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration"))
            if found.get("issuer") != self._provider.issuer:
                raise ProviderDownError("The identity provider calls itself otherwise than oidc.issuer does")
            self._metadata, self._metadata_at, self._keys = found, now, None
        address = self._metadata.get(name)
        if not isinstance(address, str) or not address.startswith(("https://", "http://")):
            raise ProviderDownError(f"The identity provider does not say its {name}")
        if address.startswith("http://") and not self._provider.issuer.startswith("http://"):
            raise ProviderDownError(f"The {name} of the identity provider has no TLS")
        return address

    def _token(self, client: OAuth2Client, code: str, verifier: str) -> dict[str, Any]:
        token = client.fetch_token(
            self._endpoint(client, "token_endpoint"), grant_type="authorization_code", code=code, code_verifier=verifier
        )
        if "id_token" not in token:
            raise CallbackError("The identity provider sent no identity")
        return dict(token)

    def _claims(self, client: OAuth2Client, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token, whose signature, audience, time and nonce are right. Raises CallbackError."""
        try:
            try:
                found = jwt.decode(token["id_token"], self._key_set(client), algorithms=_ALGORITHMS)
            except (JoseError, ValueError):  # its keys may have changed
                self._keys = None
                found = jwt.decode(token["id_token"], self._key_set(client), algorithms=_ALGORITHMS)
            options = {
                "iss": {"essential": True, "value": self._provider.issuer},
                "aud": {"essential": True, "value": self._provider.client_id},
            }
            params = {"nonce": nonce, "client_id": self._provider.client_id, "access_token": token.get("access_token")}
            claims = CodeIDToken(found.claims, found.header, options, params)
            claims.validate(now=self._now(), leeway=_LEEWAY)
        except (JoseError, ValueError) as error:
            raise CallbackError(f"The identity that came back is not valid ({type(error).__name__})") from None
        return dict(claims)

    def _key_set(self, client: OAuth2Client) -> KeySet:
        if self._keys is None:
            self._keys = KeySet.import_key_set(cast("KeySetSerialization", _json(client, self._endpoint(client, "jwks_uri"))))
        return self._keys

    def _more_claims(self, client: OAuth2Client, token: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return the claims with those that the provider tells only when asked (userinfo)."""
        if "userinfo_endpoint" not in self._metadata or "access_token" not in token:
            return dict(claims)
        headers = {"authorization": f"Bearer {token['access_token']}"}
        more = _json(client, self._endpoint(client, "userinfo_endpoint"), headers)
        if more.get("sub") != claims["sub"]:  # OpenID Connect Core 1.0, 5.3.4
            raise CallbackError("The identity provider told of somebody else")
        return {**more, **claims}

    def _identity(self, claims: Mapping[str, Any], next_page: str) -> Identity:
        name, groups = claims.get(self._provider.name_claim), claims.get(self._provider.groups_claim, [])
        if not isinstance(name, str):
            raise CallbackError(f"The identity provider does not say your name ({self._provider.name_claim})")
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Identity(name, str(claims["sub"]), tuple(one for one in listed if isinstance(one, str)), next_page)


def _json(client: OAuth2Client, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    answer = client.request("GET", url, withhold_token=True, headers=headers)
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - as where it is no JSON
    return found


def _asked(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Ask the provider. Raises ProviderDownError where it does not answer, CallbackError where it refuses."""
    try:
        return ask()
    except OAuthError:
        raise CallbackError("The identity provider refused this sign-in; it may have been used already") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, JoseError, ValueError) as error:
        raise ProviderDownError(
            f"The identity provider can't be reached or does not make sense ({type(error).__name__})"
        ) from None
