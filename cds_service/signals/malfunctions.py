"""Make findings of the cases that reviewers judged to be a malfunction."""

from __future__ import annotations

from collections import defaultdict

from cds_service.database import Database
from cds_service.rollups.days import SiteDays
from cds_service.signals.finding import Detected, Finding, Place

# The newest verdict of a reviewer on a case is the one that counts.
_MALFUNCTIONS = """SELECT v.call_id, v.received_at, v.card, v.nth, v.cause, c.tenant, c.client FROM review.verdict v
    LEFT JOIN log.call c ON c.received_at = v.received_at AND c.id = v.call_id
    WHERE v.verdict = 'malfunction' AND NOT EXISTS (SELECT 1 FROM review.verdict n WHERE n.call_id = v.call_id
        AND n.card = v.card AND n.nth = v.nth AND n.reviewer = v.reviewer AND n.seq > v.seq)
    ORDER BY v.received_at, v.seq"""


def find_malfunctions(database: Database, days: SiteDays) -> Detected:
    """Return a finding for each day on which cases of a card at a client were judged a malfunction.

    Cases whose record was deleted meanwhile stand under no client. The score is the number of cases up to that day.
    """
    cases: dict[Place, dict[int, set[tuple[bytes, int]]]] = defaultdict(lambda: defaultdict(set))
    causes: dict[Place, list[str]] = defaultdict(list)
    text = database.names.text
    for row in database.rows(_MALFUNCTIONS):
        tenant, client = ("", "") if row["client"] is None else (text(row["tenant"]), text(row["client"]))
        place = Place(tenant, client, row["card"])
        cases[place][days.day_of(row["received_at"])].add((bytes(row["call_id"]), row["nth"]))
        if row["cause"]:
            causes[place].append(row["cause"])
    findings = []
    for place, by_day in cases.items():
        total = 0
        for day, found in sorted(by_day.items()):
            total += len(found)
            given = causes[place]
            detail = {"cases": total, "cause": max(given, key=given.count) if given else ""}
            findings.append(Finding("verdict", place, day, float(total), detail))
    return Detected(findings, [])
