"""Convert times and ids between the program and the log's file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY = re.compile(r"k([0-9]+):([0-9a-f]{32})")


def micros(at: datetime) -> int:
    """Return microseconds since 1970 in UTC. Raises ValueError for a time without a time zone."""
    if at.utcoffset() is None:
        raise ValueError("a time without a time zone can't be logged")
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant_of(microseconds: int) -> datetime:
    """Return the time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def instant(at: datetime) -> str:
    """Return the time in ISO 8601, UTC, with microseconds. Raises ValueError for a time without a time zone."""
    if at.utcoffset() is None:
        raise ValueError("a time without a time zone can't be logged")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def iso(microseconds: int) -> str:
    """Return the time in ISO 8601, UTC, with microseconds."""
    return instant(instant_of(microseconds))


def uuid_bytes(text: str) -> bytes:
    """Return the 16 bytes of a uuid in lower case; of any other text, 16 bytes of its hash."""
    if _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    return short_hash(text)


def uuid_text(stored: bytes) -> str:
    """Return 16 bytes as a uuid is written."""
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def short_hash(text: str) -> bytes:
    """Return 16 bytes of BLAKE2b. Raises UnicodeEncodeError for a lone surrogate."""
    return blake2b(text.encode(), digest_size=16).digest()


def key_bytes(hashed: str) -> tuple[int, bytes | None]:
    """Split a keyed hash ("k1:" and 32 hex digits) into (generation of the key, 16 bytes); (1, None) for "".

    Raises ValueError for any other text.
    """
    if not hashed:
        return 1, None
    if hashed.startswith("k1:") and len(hashed) == 35:  # nearly always, and cheaper than the expression
        return 1, bytes.fromhex(hashed[3:])
    found = _KEY.fullmatch(hashed)
    if found is None:
        raise ValueError("not a keyed hash")
    return int(found[1]), bytes.fromhex(found[2])


def key_text(key: int, stored: bytes | None) -> str:
    """Return a keyed hash as it stands in bodies; "" for None."""
    return "" if stored is None else f"k{key}:{stored.hex()}"
