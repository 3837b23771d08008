"""Hash and check passwords with Argon2id, a few at once, because each takes 64 MiB."""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

SHORTEST = 12  # characters
LONGEST = 200
_AT_ONCE = threading.BoundedSemaphore(4)
_WAIT_SECONDS = 5.0


class PasswordError(ValueError):
    """Raised for a password that can't be used. The text is for the person who chose it."""


class TooManyChecksError(Exception):
    """Raised where too many passwords are being checked already."""


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)  # 64 MiB, three passes


def hashed(password: str, name: str) -> str:
    """Return the hash of a new password of the account `name`. Raises PasswordError."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordError(f"A password has {SHORTEST} to {LONGEST} characters")
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise PasswordError("This password is too easy to guess")
    return _hasher().hash(password)


def matches(password: str, known: str | None) -> bool:
    """Return whether the password has this hash; None, for an account that is not there, takes as long and is False.

    Raises TooManyChecksError where no check can begin in five seconds.
    """
    if not _AT_ONCE.acquire(timeout=_WAIT_SECONDS):
        raise TooManyChecksError
    try:
        return _hasher().verify(known or _of_nobody(), password[: LONGEST + 1]) and known is not None
    except (VerificationError, InvalidHashError):
        return False
    finally:
        _AT_ONCE.release()


@cache
def _of_nobody() -> str:
    return _hasher().hash("the password of no account")
