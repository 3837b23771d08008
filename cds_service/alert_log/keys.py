"""Make keyed hashes for the log, and the key of a development machine.

A keyed hash joins the records of one patient, and does not reveal the patient to a reader without the key. It is still patient
data.
"""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path

_SECRET_BYTES = 32
_MINIMUM_SECRET_BYTES = 16


def keyed_hash(secret: bytes, kind: str, value: str, generation: int = 1) -> str:
    """Return a keyed hash of kind and value, "" for an empty value.

    128 bits of BLAKE2b (RFC 7693), as "k1:" and 32 hex digits. `generation`: which secret of the log it is, so that hashes of
    two can be told apart.

    `kind` ("patient", "user" ...) keeps equal ids of different kinds apart; it must not contain "|". `value` must include what
    makes the id unique (the FHIR server). Raises ValueError for a secret below 16 bytes.
    """
    if len(secret) < _MINIMUM_SECRET_BYTES:
        raise ValueError(f"the secret of the log's hashes needs at least {_MINIMUM_SECRET_BYTES} bytes")
    if not value:
        return ""
    # An id may hold a lone surrogate; hashing it must not fail the call.
    hashed = blake2b(f"{kind}|{value}".encode("utf-8", "surrogatepass"), key=secret[:64], digest_size=16)
    return f"k{generation}:{hashed.hexdigest()}"


def tenant_secret(secret: bytes, client: str, tenant: str) -> bytes:
    """Derive the secret of one client and tenant, so that equal ids of different clients get different hashes.

    `client` and `tenant` ("" where it has none) must not contain NUL, which separates them.
    """
    return blake2b(f"tenant\0{client}\0{tenant}".encode(), key=secret[:64], digest_size=32).digest()


def load_or_create_secret(path: Path) -> bytes:
    """Return the 32 bytes in the file, which is made (mode 0600) where it is missing.

    For development; in production the secret is a setting.

    Processes that start together get the same secret. Raises ValueError where the file holds something else, OSError where it
    can't be read or made.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
    secret = path.read_bytes()
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"{path} must hold {_SECRET_BYTES} bytes and holds {len(secret)}; remove it to get a new one")
    return secret


def _create(path: Path) -> None:
    """Make the file in one step: a link to its complete content, unless another process was first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
    finally:
        draft.unlink()
