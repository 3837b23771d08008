"""Hash the ids of one call, so that the log joins a patient's records without naming the patient."""

from __future__ import annotations

from hashlib import blake2b

from cds_service.alert_log.keys import keyed_hash, tenant_secret
from cds_service.criteria.facts import Order
from cds_service.trust import ANONYMOUS, Caller


class Pseudonyms(dict[tuple[str, str], str]):
    """Keyed hashes of the ids of one call, by (kind, id), each made once.

    An id is unique only within one FHIR server, so the server is hashed with it, by one name however a call spells its URL.
    Because not every call names its server, each client and tenant also has its own secret, derived from the log's. Anonymous
    callers use the log's secret itself.
    """

    def __init__(
        self,
        secret: bytes,
        caller: Caller,
        fhir_server: str | None,
        patient: str | None = "",
        encounter: str | None = "",
        *,
        generation: int = 1,
        old_secret: bytes = b"",
    ) -> None:
        """`secret`: of the log's hashes, at least 16 bytes; `fhir_server`: base URL without a slash at the end, or None;
        `patient` and `encounter`: the call's ids, which orders are hashed with; `generation`: which secret it is; `old_secret`:
        the one before, while the log has hashes of it.
        """
        self.old = (
            Pseudonyms(old_secret, caller, fhir_server, patient, encounter, generation=generation - 1) if old_secret else None
        )
        self._generation = generation
        self._session = (patient or "", encounter or "")
        self._log_secret = secret
        self._secret = secret if caller == ANONYMOUS else tenant_secret(secret, caller.client, caller.tenant)
        self._base = f"{caller.server_name(fhir_server)}|"

    def __missing__(self, key: tuple[str, str]) -> str:
        kind, value = key
        self[key] = hashed = keyed_hash(self._secret, kind, self._base + value, self._generation) if value else ""
        return hashed

    def __call__(self, kind: str, value: str) -> str:
        """Return the hash of an id ("k1:" and 32 hex digits), "" for an empty one. `kind`: "patient", "user", "order" …"""
        return self[kind, value]

    def session(self, hook_instance: str) -> str:
        """Return the hash of the patient in a hook instance: what is made from it does not give the patient away.

        Without the FHIR server, so that a call sent again without it is still the same.
        """
        return keyed_hash(self._secret, "session", f"{self._session[0]}|{hook_instance}", self._generation)

    def order(self, order: Order) -> str:
        """Return the hash of a draft order, the same at order-select and order-sign.

        EHRs number drafts anew for each patient, so the patient's id is part of it. A draft without an id is known by encounter,
        code and dose: it is one order for all counts, also where two alike are signed together.
        """
        patient, encounter = self._session
        if order.reference:
            return self["order", f"{patient}|{order.reference}"]
        drug = order.drug
        what = (drug.code or drug.text, str(drug.daily_dose_mg)) if drug is not None else (order.resource_type, order.key)
        return self["order", "|".join(("", patient, encounter, *what))]

    def digest(self, *parts: bytes) -> int:
        """Return 64 bits, with a sign, of one keyed hash of all parts, with the log's secret."""
        digest = blake2b(key=self._log_secret[:64], digest_size=8)
        for part in parts:
            digest.update(b"|%d|" % len(part))
            digest.update(part)
        return int.from_bytes(digest.digest(), signed=True)
