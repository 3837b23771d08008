"""Hash the ids of one call, so that the log joins a patient's records without naming the patient."""

from __future__ import annotations

from hashlib import blake2b

from cds_service.alert_log.keys import keyed_hash, tenant_secret
from cds_service.trust import ANONYMOUS, Caller


class Pseudonyms(dict[tuple[str, str], str]):
    """Keyed hashes of the ids of one call, by (kind, id), each made once.

    An id is unique only within one FHIR server, so the server's URL is hashed with it. Because not every call names its server,
    each client and tenant also has its own secret, derived from the log's. Anonymous callers use the log's secret itself.
    """

    def __init__(self, secret: bytes, caller: Caller, fhir_server: str | None) -> None:
        """`secret`: of the log's hashes, at least 16 bytes; `fhir_server`: base URL without a slash at the end, or None."""
        self._log_secret = secret
        self._secret = secret if caller == ANONYMOUS else tenant_secret(secret, caller.client, caller.tenant)
        self._base = f"{fhir_server or ''}|"

    def __missing__(self, key: tuple[str, str]) -> str:
        kind, value = key
        self[key] = hashed = keyed_hash(self._secret, kind, self._base + value) if value else ""
        return hashed

    def __call__(self, kind: str, value: str) -> str:
        """Return the hash of an id ("k1:" and 32 hex digits), "" for an empty one. `kind`: "patient", "user", "order" …"""
        return self[kind, value]

    def digest(self, first: bytes, *parts: bytes) -> str:
        """Return one keyed hash of all parts (32 hex digits), with the log's secret."""
        digest = blake2b(first, key=self._log_secret[:64], digest_size=16)
        for part in parts:
            digest.update(b"|%d|" % len(part))
            digest.update(part)
        return digest.hexdigest()
