"""Make and check the codes of the second factor (TOTP, RFC 6238: six digits, 30 seconds, SHA-1 as authenticator apps have it)."""

from __future__ import annotations

from hmac import compare_digest

import pyotp

_SECONDS = 30
_ISSUER = "Cramp CDS review"


def new_secret() -> str:
    """Return the secret of a new second factor, base32."""
    return pyotp.random_base32()


def setup_uri(secret: str, name: str) -> str:
    """Return the `otpauth` URI from which an authenticator app takes the secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=_ISSUER)


def step_of(code: str, secret: str, at: int) -> int | None:
    """Return the time step of which `code` is the code, that of `at` (s since 1970) or one beside it; None for a wrong code.

    The caller remembers the step, so that a code is good once.
    """
    code = "".join(code.split())
    now, found = at // _SECONDS, None
    for step in (now - 1, now, now + 1):
        if compare_digest(pyotp.TOTP(secret).generate_otp(step).encode(), code.encode()):
            found = step
    return found
