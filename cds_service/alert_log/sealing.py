"""Seal comments, ids and inputs, so that only those who may see them can, with a key that the log does not have.

AES-256-GCM (NIST SP 800-38D) with a random nonce. What a text belongs to is authenticated with it, so that none can be moved to
another record.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec

from cds_service.alert_log.records import SealedText
from cds_service.database import Database

SealedKind: TypeAlias = Literal["comment", "patient", "user", "encounter", "inputs"]

_NONCE = 12  # bytes
_FIND = """SELECT key_id, content FROM log.sealed WHERE of = :of
    AND kind = (SELECT id FROM log.name WHERE text = :kind) ORDER BY received_at DESC LIMIT 1"""


class RevealError(ValueError):
    """Raised where a sealed text can't be opened: it needs another key, or it was changed."""


class SealingKey(msgspec.Struct, frozen=True):
    """One key. `id` stands beside each text that is sealed with it."""

    id: int
    secret: bytes

    def seal(self, of: bytes, kind: SealedKind, text: str) -> SealedText:
        """Seal a text of the record with the id `of`."""
        # An id or a comment may hold a lone surrogate; sealing it must not fail the call.
        return self.seal_bytes(of, kind, text.encode("utf-8", "surrogatepass"))

    def seal_bytes(self, of: bytes, kind: SealedKind, content: bytes) -> SealedText:
        """Seal content of the record with the id `of`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # most sites seal nothing

        nonce = os.urandom(_NONCE)
        sealed = AESGCM(self._key()).encrypt(nonce, content, self._bound(of, kind))
        return SealedText(kind, self.id, nonce + sealed)

    def open(self, of: bytes, kind: SealedKind, content: bytes) -> str:
        """Return the text. Raises RevealError."""
        return self.open_bytes(of, kind, content).decode("utf-8", "surrogatepass")

    def open_bytes(self, of: bytes, kind: SealedKind, content: bytes) -> bytes:
        """Return what was sealed. Raises RevealError."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key()).decrypt(content[:_NONCE], content[_NONCE:], self._bound(of, kind))
        except (InvalidTag, ValueError):
            raise RevealError(f"it can't be opened with key {self.id}: another was meant, or it was changed") from None

    def _key(self) -> bytes:
        return blake2b(self.secret, digest_size=32, person=b"cds log reveal").digest()

    def _bound(self, of: bytes, kind: str) -> bytes:
        return b"%d|%s|%s" % (self.id, kind.encode(), of)

    def __repr__(self) -> str:
        return f"SealingKey({self.id})"


def sealing_key(secret: str, key_id: int) -> SealingKey | None:
    """Return the key of the settings; None without one: then nothing is sealed, and comments and ids are not kept."""
    return SealingKey(key_id, secret.encode()) if secret else None


def reveal(database: Database, of: bytes, kind: SealedKind, key: SealingKey) -> str | None:
    """Return what was sealed of a call or an item of feedback; None where nothing was, or it is deleted already.

    `of`: id of the call or the item. Raises RevealError where it was sealed with another key, DatabaseError.
    """
    content = reveal_bytes(database, of, kind, key)
    return None if content is None else content.decode("utf-8", "surrogatepass")


def reveal_bytes(database: Database, of: bytes, kind: SealedKind, key: SealingKey) -> bytes | None:
    """Return what was sealed as it was sealed, see `reveal`."""
    found = database.one(_FIND, of=of, kind=kind)
    if found is None:
        return None
    if found["key_id"] != key.id:
        raise RevealError(f"it was sealed with key {found['key_id']}, this is key {key.id}")
    return key.open_bytes(of, kind, bytes(found["content"]))
