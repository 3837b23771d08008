"""A made-up alert log of some weeks, for the tests of the review pages: the same rows whenever it is written.

The rows are those that a service writes; bodies hold what the pages of data and clients look at, no facts.
`python -m tests.review.sample_log FOLDER --days 90` writes one to look at, and prints where.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from cds_service.alert_log.body import BODY_VERSION, FACTS_VERSION
from cds_service.alert_log.compression import pack
from cds_service.alert_log.schema import migrate

NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)  # a Friday
TENANT = "north"
CLIENTS = ("https://ehr-a.example", "https://ehr-b.example")
USERS = 24

# (card, versions, hooks, share of calls in which it fires, share accepted of those answered, could not be checked, indicator)
CARDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], float, float, float, str], ...] = (
    ("quinine-avoid", ("1.0.0", "1.1.0"), ("order-select", "order-sign"), 0.06, 0.35, 0.002, "warning"),
    ("electrolyte-hypokalaemia", ("1.2.0",), ("patient-view", "order-sign"), 0.11, 0.55, 0.06, "warning"),
    ("electrolyte-hypomagnesaemia", ("1.0.0",), ("patient-view", "order-sign"), 0.02, 0.8, 0.06, "critical"),
    ("baclofen-safety", ("1.0.0",), ("order-sign",), 0.04, 0.3, 0.1, "warning"),
    ("cramp-first-line", ("1.0.0",), ("patient-view",), 0.15, 0.1, 0.0, "info"),
)
REASONS = ("informed", "no-alternative", "not-for-cramps", "")
MISSING = (("potassium", "not_recorded"), ("potassium", "stale"), ("egfr", "not_obtained"), ("magnesium", "not_readable"))


def _hash(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


class SampleLog:
    """Writes rows of a log file with ids, names and sequence numbers as a service would."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        migrate(self.connection)
        self.connection.execute("BEGIN")
        self._names = {"": 0}
        self.last_seq = 0
        self._sets: dict[tuple[str, tuple[Any, ...]], int] = {}

    def add(self, table: str, **values: Any) -> None:
        marks = ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))  # noqa: S608

    def name(self, text: str) -> int:
        if text not in self._names:
            self._names[text] = len(self._names)
            self.add("name", id=self._names[text], text=text)
        return self._names[text]

    def seq(self) -> int:
        self.last_seq += 1
        return self.last_seq

    def set_id(self, kind: str, rows: Iterable[dict[str, int]]) -> int:
        """The id of a set of outcomes or of what was missing, each distinct one once."""
        found = sorted(rows, key=lambda row: tuple(row.values()))
        key = (kind, tuple(tuple(row.values()) for row in found))
        if key not in self._sets:
            self._sets[key] = len(self._sets) + 1
            self.add(f"{kind}_set", id=self._sets[key], digest=_hash(*key))
            for row in found:
                self.add(f"{kind}_of_set", set_id=self._sets[key], **row)
        return self._sets[key]

    def close(self) -> None:
        self.connection.execute("UPDATE source SET last_seq = ?", (self.last_seq,))
        self.connection.execute("COMMIT")
        self.connection.close()


def write_sample_log(path: Path, *, days: int = 28, calls_a_day: int = 40, now: datetime = NOW) -> None:
    """Write a log of `days` days up to `now`. Weekends are quieter; quinine-avoid gets a new version in the last third, and fires
    twice as often at the second client from then on."""
    chance = random.Random(1)
    log = SampleLog(path)
    for name in ("2026.1", "2026.2"):
        log.add("knowledge", hash=log.name(name), archived_at=0, content=b"")
    for back in range(days, -1, -1):
        day = (now - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
        calls = calls_a_day if day.weekday() < 5 else calls_a_day // 4
        for number in range(calls):
            at = day + timedelta(seconds=7 * 3600 + number * 11 * 3600 // calls + chance.randrange(60))
            if at < now:
                _call(log, chance, at, newer=back <= days // 3)
        _refusals(log, chance, day)
    log.add(
        "quarantine",
        seq=log.seq(),
        received_at=_us(now),
        kind=log.name("feedback"),
        record_id="",
        error="too long",
        item="",
        service=0,
        client=log.name(CLIENTS[0]),
        tenant=log.name(TENANT),
    )
    log.close()


def _us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _call(log: SampleLog, chance: random.Random, at: datetime, *, newer: bool) -> None:
    received = _us(at) + chance.randrange(1_000_000)
    call_id = (received // 1000).to_bytes(6) + b"\x70" + _hash(received)[:9]
    hook = chance.choice(("patient-view", "patient-view", "order-select", "order-sign", "order-sign"))
    client = CLIENTS[chance.random() < 0.35]
    patient, user = _hash("patient", chance.randrange(400)), _hash("user", int(chance.random() ** 2 * USERS))
    order = _hash("order", patient, at.date()) if hook != "patient-view" else None
    about = {"tenant": log.name(TENANT), "client": log.name(client), "hook": log.name(hook)}
    outcomes, missing, position = [], [], 0
    for card, versions, hooks, share, accepted, unknown, indicator in CARDS:
        version = versions[-1] if newer else versions[0]
        often = share * (2 if newer and len(versions) > 1 and client == CLIENTS[1] else 1)
        drawn = chance.random()
        outcome = "not_applicable" if hook not in hooks else "could_not_check" if drawn < unknown else "not_fired"
        if outcome == "not_fired" and drawn < unknown + often:
            outcome = "repeated" if chance.random() < 0.1 else "fired"
            state = "shown" if outcome == "fired" else "repeated"
            values = {
                "received_at": received,
                "call_id": call_id,
                "position": position,
                "uuid": _hash("card", call_id, card),
                **about,
                "card": log.name(card),
                "version": log.name(version),
                "content_hash": log.name(f"{card}@{version}"),
                "table_row": chance.randrange(3),
                "indicator": log.name(indicator),
                "mode": log.name("live"),
                "state": log.name(state),
                "key": 1,
                "patient": patient,
                "order_key": order,
                "about": "order" if order else "",
            }
            log.add("card", **values)
            position += 1
            if state == "shown":
                _feedback(log, chance, values, accepted)
        if outcome == "could_not_check":
            criterion, cause = chance.choice(MISSING)
            missing.append({"card": log.name(card), "criterion": log.name(criterion), "cause": log.name(cause), "n": 1})
        row = {"table_row": 0 if outcome in ("fired", "repeated") else -1, "applies": int(outcome != "not_applicable")}
        ids = {"card": log.name(card), "version": log.name(version), "content_hash": log.name(f"{card}@{version}")}
        outcomes.append({**ids, "outcome": log.name(outcome), **row, "n": 1})
    failed = chance.random() < 0.005
    took = int(chance.lognormvariate(9.6, 0.5))
    log.add(
        "call",
        seq=log.seq(),
        id=call_id,
        received_at=received,
        **about,
        service=log.name(f"cramp-care-{hook}"),
        status=503 if failed else 200,
        outcome=log.name("overloaded" if failed else "answered"),
        key=1,
        patient=patient,
        user_key=user,
        encounter=_hash("encounter", patient, at.date()),
        orders=0 if order is None else 1,
        instance=_hash("instance", call_id),
        repeat_of=None,
        digest=received % 2**40,
        service_version=log.name("0.2.0"),
        knowledge=log.name("2026.2" if newer else "2026.1"),
        jurisdiction=log.name("US"),
        dialect=0,
        took_us=took,
        bytes_in=20_000,
        bytes_out=3_000 * position,
        clock_offset_ms=chance.randrange(-300, 300),
        degraded=log.name("fhir_down") if chance.random() < 0.01 else 0,
        outcome_set=log.set_id("outcome", outcomes),
        missing_set=log.set_id("missing", missing),
    )
    log.add("body", seq=log.last_seq, content=_body(client, unread=client == CLIENTS[1] and received % 3 == 0))
    log.add("delivery", seq=log.seq(), received_at=received, call_id=call_id, log_us=2_000, total_us=took + 2_500, delivered=1)
    if order is not None:
        log.add("ordered", order_key=order, received_at=received, call_id=call_id)


@lru_cache
def _body(client: str, *, unread: bool) -> bytes:
    """The body of a call: client B asks its FHIR server, and has a code of its own."""
    code = {"kind": "lab", "system": "urn:lab-of-b", "code": "K-7", "source": "labs", "meaning": "potassium"}
    queries = [{"key": "labs", "ms": ms, "status": status, "bytes": 900} for ms, status in ((120.0, 200), (480.0, 503))]
    body = {
        "body_version": BODY_VERSION,
        "facts_version": FACTS_VERSION,
        "facts": {"unread": [code] if unread else []},
        "sources": {"queries": queries if client == CLIENTS[1] else []},
    }
    return pack(msgspec.json.encode(body))


def _feedback(log: SampleLog, chance: random.Random, card: dict[str, Any], accepted: float) -> None:
    """Feedback on two of three cards, some seconds later."""
    if chance.random() > 0.65:
        return
    overridden = chance.random() > accepted
    reason = chance.choice(REASONS) if overridden else ""
    at = card["received_at"] + chance.randrange(3, 90) * 1_000_000
    log.add(
        "feedback",
        seq=log.seq(),
        id=_hash("feedback", card["uuid"]),
        received_at=at,
        tenant=card["tenant"],
        client=card["client"],
        service=log.name("cramp-care"),
        card_uuid=card["uuid"],
        outcome=log.name("overridden" if overridden else "accepted"),
        reason_system=log.name("urn:cramp-cds:override-reason" if reason else ""),
        reason_code=log.name(reason),
        reason_display=log.name(reason.replace("-", " ")),
        accepted="[]",
        comment_length=chance.choice((0, 0, 0, 40)) if overridden else 0,
        outcome_at=at,
        outcome_timestamp=datetime.fromtimestamp(at // 1_000_000, UTC).isoformat(),
    )


def _refusals(log: SampleLog, chance: random.Random, day: datetime) -> None:
    for status, reason, client in ((400, "hook", CLIENTS[0]), (401, "token", ""), (413, "body", CLIENTS[1])):
        if chance.random() < 0.3:
            log.add(
                "refusal",
                seq=log.seq(),
                received_at=_us(day) + 36_000_000_000,
                tenant=log.name(TENANT if client else ""),
                client=log.name(client),
                hook=0,
                status=status,
                reason=log.name(reason),
                n=chance.randrange(1, 9),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--calls", type=int, default=40, help="calls on a weekday")
    options = parser.parse_args()
    path = options.folder / "alerts.sqlite3"
    write_sample_log(path, days=options.days, calls_a_day=options.calls)
    print(path)


if __name__ == "__main__":
    main()
