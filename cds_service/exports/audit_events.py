"""Make a FHIR R4 AuditEvent of each entry of the audit: who opened, revealed or exported what, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cds_service.alert_log.instants import iso
from cds_service.database import Database
from cds_service.exports.fhir_bundles import Resource, device, resource_id, system
from cds_service.exports.selection import Selection

_PAGE = 500
# https://www.hl7.org/fhir/R4/valueset-audit-event-type.html; actions: C create, R read, U update, D delete, E execute
_TYPE = {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest", "display": "RESTful Operation"}
_EXPORT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110106", "display": "Export"}
_LOGIN = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110114", "display": "User Authentication"}


class AuditEntries:
    """The entries of the audit in a selection's days, oldest first."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield rows of review.audit. Raises DatabaseError."""
        chosen, days = self._selection.chosen, self._selection.days
        start = max(self._selection.since or 0, 0 if chosen.since is None else days.bounds(chosen.since).start)
        end = 2**62 if chosen.until is None else days.bounds(chosen.until).end
        newest = self._database.one("SELECT coalesce(max(seq), 0) AS seq FROM review.audit")
        seq, last = 0, newest["seq"] if newest is not None else 0  # not the entry of this export's end
        while True:
            rows = self._database.rows(
                """SELECT seq, at, reader, action, object, reason, detail, hash FROM review.audit
                WHERE seq > :seq AND seq <= :last AND at >= :start AND at < :end ORDER BY seq LIMIT :limit""",
                seq=seq,
                last=last,
                start=start,
                end=end,
                limit=_PAGE,
            )
            yield from rows
            if len(rows) < _PAGE:
                return
            seq = rows[-1]["seq"]


def audit_event(entry: dict[str, Any]) -> Resource:
    """Return the AuditEvent of a row of review.audit."""
    action, hash_ = entry["action"], bytes(entry["hash"]).hex()
    more = msgspec.json.decode(entry["detail"]) if entry["detail"] else {}
    details = [{"type": "hash", "valueString": hash_}]
    details += [{"type": str(name), "valueString": str(value)} for name, value in sorted(more.items()) if str(value)]
    made: Resource = {
        "resourceType": "AuditEvent",
        "id": resource_id(entry["seq"], hash_, "AuditEvent"),
        "type": _EXPORT if "export" in action else _LOGIN if "sign" in action else _TYPE,
        "subtype": [{"system": system("audit-action"), "code": action.replace(" ", "-"), "display": action}],
        "action": "E" if "export" in action else "R" if action.startswith(("open", "reveal")) else "U",
        "recorded": iso(entry["at"]),
        "outcome": "8" if "refus" in action or "broken" in action else "0",
        "agent": [
            {"who": {"identifier": {"system": system("reader"), "value": entry["reader"] or "unknown"}}, "requestor": True}
        ],
        "source": {"observer": device("")},
        "entity": [{"name": entry["object"] or action, "detail": details}],
    }
    if entry["reason"]:
        made["purposeOfEvent"] = [{"text": entry["reason"]}]
    return made
