"""Tie a form to the browser that it was drawn for, so that no other page can have it sent (CSRF)."""

from __future__ import annotations

import secrets
from hashlib import blake2b

FIELD = "form_token"


def new_browser() -> str:
    """Return the random value of the cookie that tells a browser from others."""
    return secrets.token_urlsafe(24)


def form_token(browser: str, session: str) -> str:
    """Return the token for forms of this browser in this session; both are values of cookies that pages can't read."""
    return blake2b(f"{browser} {session}".encode(), digest_size=24, person=b"cds form token").hexdigest()


def is_good(token: str, browser: str, session: str) -> bool:
    """Return whether the token was drawn for this browser and session."""
    return bool(browser) and secrets.compare_digest(token.encode(), form_token(browser, session).encode())
