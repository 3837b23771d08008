"""Sign in with a local account: password and code, both checked every time, whoever it is, so that no answer tells who exists."""

from __future__ import annotations

from hashlib import sha256
from unicodedata import normalize

from cds_service.access.accounts import Account, find_account
from cds_service.access.passwords import TooManyChecksError, matches
from cds_service.access.second_factor import new_secret, step_of
from cds_service.database import Database

_SECOND = 1_000_000  # µs
TRIES = 5
_FIRST_WAIT = 30 * _SECOND  # after the fifth try; doubles with each further one
_LONGEST_WAIT = 15 * 60 * _SECOND  # so that nobody is locked out for long by another's tries
_FORGOTTEN = 24 * 3600 * _SECOND  # after which tries count no more
_LOCK = 0x74727973  # of PostgreSQL, where two transactions would count the same try
_SECRET_OF_NOBODY = new_secret()


class SignInError(Exception):
    """Raised where somebody is not let in. The text is for that person and tells nothing of who has an account."""


def sign_in(database: Database, name: str, password: str, code: str, *, at: int) -> Account:
    """Return the account. `at`: µs since 1970. Raises SignInError.

    A code is good once. After five failed tries under a name, whether there is such an account or not, further ones wait.
    """
    name = normalize("NFC", " ".join(name.split()))
    key = _key(name)
    _count_try(database, key, at)
    row = database.one("SELECT password, totp FROM review.account WHERE name = :name AND disabled = 0", name=name) or {}
    try:
        right = matches(password, row.get("password"))
    except TooManyChecksError:
        raise SignInError("Too many people are signing in; please try again in a moment") from None
    step = step_of(code, row.get("totp") or _SECRET_OF_NOBODY, at // _SECOND)
    if right and step is not None and _use(database, name, step):
        database.execute("DELETE FROM review.sign_in_failure WHERE name = :key", key=key)
        account = find_account(database, name)
        if account is not None and not account.disabled:
            return account
    raise SignInError("Name, password or code is wrong, or the code was used already")


def forget_failures(database: Database, name: str) -> None:
    """Let a name try again at once."""
    database.execute("DELETE FROM review.sign_in_failure WHERE name = :key", key=_key(name))


def _key(name: str) -> bytes:
    return sha256(name.encode("utf-8", "surrogatepass")).digest()


def _count_try(database: Database, key: bytes, at: int) -> None:
    """Count a try before it is checked, so that many at once are as many as one after another. Raises SignInError."""
    with database.exclusive(_LOCK), database.transaction():
        database.execute("DELETE FROM review.sign_in_failure WHERE last_at < :day_ago", day_ago=at - _FORGOTTEN)
        row = database.one("SELECT failures, last_at FROM review.sign_in_failure WHERE name = :key", key=key)
        if row is not None and row["failures"] >= TRIES:
            ends = row["last_at"] + min(_FIRST_WAIT << min(row["failures"] - TRIES, 10), _LONGEST_WAIT)
            if at < ends:
                raise SignInError(f"Too many tries under this name; please wait {-(-(ends - at) // _SECOND)} seconds")
        database.execute(
            "INSERT INTO review.sign_in_failure (name, failures, last_at) VALUES (:key, 1, :at) "
            "ON CONFLICT (name) DO UPDATE SET failures = sign_in_failure.failures + 1, last_at = :at",
            key=key,
            at=at,
        )


def _use(database: Database, name: str, step: int) -> bool:
    """Remember the step of a code; return whether no code of it or a later one was used before."""
    sql = "UPDATE review.account SET totp_step = :step WHERE name = :name AND totp_step < :step AND disabled = 0"
    return bool(database.execute(sql, name=name, step=step))
