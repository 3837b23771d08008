"""A made-up log of any size: rows of the hot tables, without bodies, the same for the same shape.

As in a real log a card has one version at a time, its rows have their indicators, and it is about orders or not. Client, hook,
mode, state and response are independent of all else, which makes more rows of counts than a real log does.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

OUTCOMES = ("fired", "not_fired", "could_not_check", "repeated", "gave_way", "capped", "failed")
STATES = ("shown", "shown", "shown", "shown", "repeated", "gave_way", "capped")
INDICATORS = ("info", "warning", "warning", "critical")
CAUSES = ("not_recorded", "not_obtained", "not_readable", "stale")
SECOND = 1_000_000
DAY = 86_400 * SECOND

COLUMNS: dict[str, str] = {  # without seq, which the writer gives
    "call": "id, received_at, tenant, client, service, hook, status, outcome, key, patient, user_key, encounter, orders, "
    "instance, repeat_of, digest, service_version, knowledge, jurisdiction, dialect, took_us, bytes_in, bytes_out, "
    "clock_offset_ms, degraded, outcome_set, missing_set",
    "ordered": "order_key, received_at, call_id",
    "card": "received_at, call_id, position, uuid, tenant, client, hook, card, version, content_hash, table_row, indicator, "
    "mode, state, key, patient, order_key, about",
    "delivery": "received_at, call_id, log_us, total_us, delivered",
    "withdrawal": "received_at, call_id, at",
    "feedback": "id, received_at, tenant, client, service, card_uuid, outcome, reason_system, reason_code, reason_display, "
    "accepted, comment_length, outcome_at, outcome_timestamp",
    "refusal": "received_at, tenant, client, hook, status, reason, n",
}
WITH_SEQ = ("call", "delivery", "withdrawal", "feedback", "refusal")
Rows = dict[str, list[tuple[Any, ...]]]


class Shape(NamedTuple):
    """How large the log is."""

    calls: int = 1_000
    days: int = 10
    cards: int = 18
    clients: int = 5
    hooks: int = 3
    users: int = 3_000
    patients: int = 5_000
    tenants: int = 1
    withdrawn: float = 0.002  # share of calls
    seed: int = 1
    first: datetime = datetime(2025, 11, 28, tzinfo=UTC)


class SyntheticLog:
    """Gives the names and sets of a log, then its rows day by day."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.rng = random.Random(shape.seed)
        self.names: list[str] = [""]
        self._ids = {"": 0}
        of = self.id_of
        self.tenants = [of(f"tenant-{n}") for n in range(shape.tenants)]
        self.clients = [of(f"client-{n}") for n in range(shape.clients)]
        self.hooks = [of(one) for one in ("patient-view", "order-select", "order-sign")[: shape.hooks]]
        self.services = [of(f"service-{n}") for n in range(shape.hooks)]
        self.cards = [of(f"card-{n}") for n in range(shape.cards)]
        self.versions = [of("1.0.0"), of("1.1.0")]
        self.reasons = [of(one) for one in ("", "informed", "no-alternative", "other")]
        self.criteria = [of(f"criterion-{n}") for n in range(6)]
        self.causes = [of(one) for one in CAUSES]
        self.outcome_sets = [self._outcome_set(version) for version in self.versions for _ in range(100)]
        self.missing_sets = [self._missing_set() for _ in range(40)]
        for word in ("live", "shadow", "ok", "error", "accepted", "overridden", *OUTCOMES, *STATES, *INDICATORS, "queue_full"):
            of(word)
        self._waiting: list[tuple[int, int, tuple[Any, ...]]] = []
        self._made = 0
        self._half = (int(shape.first.timestamp()) + shape.days * 43_200) * SECOND  # from here on all evaluations are of 1.1.0
        self._latest: tuple[Any, ...] = ()

    def id_of(self, text: str) -> int:
        """Return the id of a name."""
        if text not in self._ids:
            self._ids[text] = len(self.names)
            self.names.append(text)
        return self._ids[text]

    def _outcome_set(self, version: int) -> list[tuple[int, ...]]:
        """Return rows of card, version, content hash, outcome, table row, applies, n."""
        rows: list[tuple[int, ...]] = []
        for card in self.cards:
            fired = self.rng.random() < 0.1
            outcome = self.rng.choice(OUTCOMES) if fired else "not_fired"
            row = self.rng.randrange(3) if outcome in ("fired", "repeated", "gave_way", "capped") else -1
            applies = int(outcome != "not_fired" or self.rng.random() < 0.6)
            what = (card, version, 0, self.id_of(outcome), row, applies)
            rows.append((*what, self.rng.choice((1, 1, 1, 2))))
        return rows

    def _missing_set(self) -> list[tuple[int, ...]]:
        """Return rows of card, criterion, cause, n."""
        keys = {(self.rng.choice(self.cards), self.rng.choice(self.criteria), self.rng.choice(self.causes)) for _ in range(4)}
        return [(*key, self.rng.choice((1, 2))) for key in sorted(keys)]

    def sets(self) -> Rows:
        """Return the rows of the four tables of sets; ids count from 1."""
        found: Rows = {"outcome_set": [], "outcome_of_set": [], "missing_set": [], "missing_of_set": []}
        for kind, sets in (("outcome", self.outcome_sets), ("missing", self.missing_sets)):
            for number, rows in enumerate(sets, 1):
                found[f"{kind}_set"].append((number, number.to_bytes(16)))
                found[f"{kind}_of_set"] += [(number, *row) for row in rows]
        return found

    def days(self) -> Iterator[Rows]:
        """Yield the rows of each day, each table in the order of time."""
        start = int(self.shape.first.timestamp()) * SECOND
        each, rest = divmod(self.shape.calls, self.shape.days)
        for day in range(self.shape.days):
            rows: Rows = {table: [] for table in COLUMNS}
            calls = each + (day < rest)
            for offset in sorted(self.rng.randrange(DAY) for _ in range(calls)):
                self._call(start + day * DAY + offset, rows)
            for hour in range(24):
                if self.rng.random() < 0.2:
                    self._refusal(start + day * DAY + hour * 3_600 * SECOND, rows)
            while self._waiting and self._waiting[0][0] < start + (day + 1) * DAY:
                rows["feedback"].append(heapq.heappop(self._waiting)[2])
            yield rows

    def _bytes(self) -> bytes:
        return self.rng.getrandbits(128).to_bytes(16)

    def _call(self, at: int, rows: Rows) -> None:
        rng = self.rng
        rand = rng.random
        call = (at // 1_000).to_bytes(6) + rng.getrandbits(80).to_bytes(10)
        if self._latest and rand() < 0.01:
            repeated = self._latest
            row = (call, at, *repeated[2:14], repeated[0], *repeated[15:])
            rows["call"].append(tuple(row))
            return
        user_number = int(rand() * self.shape.users)  # each works with one client
        tenant, client = self.tenants[int(rand() * len(self.tenants))], self.clients[user_number % len(self.clients)]
        hook = int(rand() * len(self.hooks))
        patient_number = int(rand() * self.shape.patients)
        scope = (tenant << 8) | client
        patient = None if rand() < 0.01 else ((scope << 64) | patient_number).to_bytes(16)
        user = None if rand() < 0.02 else ((scope << 65) | user_number).to_bytes(16)
        visit = (patient_number << 24) | (at // (3 * DAY))
        encounter = None if rand() < 0.2 else ((scope << 80) | (1 << 79) | visit).to_bytes(16)
        orders = 0 if hook == 0 else 1 + int(rand() * 1.3)
        keys = [((scope << 80) | (2 << 76) | (visit << 4) | int(rand() * 8)).to_bytes(16) for _ in range(orders)]
        keys = list(dict.fromkeys(keys))
        status = 200 if rand() < 0.995 else 500
        us = int(1_000 * 2 ** (rand() * 6 + rand() * 3))
        missing = 1 + int(rand() * len(self.missing_sets)) if rand() < 0.2 else None
        made = (
            *(
                call,
                at,
                tenant,
                client,
                self.services[hook],
                self.hooks[hook],
                status,
                self._ids["ok" if status == 200 else "error"],
            ),
            *(1, patient, user, encounter, orders, call, None, None, 0, 0, 0, 0, us, 9_000, 3_000, None, 0),
            *(1 + int(rand() * 100) + 100 * (at > self._half), missing),
        )
        self._latest = made
        rows["call"].append(made)
        rows["ordered"] += [(key, at, call) for key in keys]
        if rand() < 0.97:
            rows["delivery"].append((at, call, 1_500, us + 1_500 + int(rand() * 500), int(rand() < 0.999)))
        if rand() < self.shape.withdrawn:
            rows["withdrawal"].append((at, call, at + 50_000))
        for position in range((0, 1, 1, 1, 2)[int(rand() * 5)]):
            self._card(position, made, keys, rows)

    def _card(self, position: int, call: Sequence[Any], keys: Sequence[bytes], rows: Rows) -> None:
        rng, ids = self.rng, self._ids
        rand = rng.random
        card = self.cards[int(rand() * len(self.cards))]
        mode = "live" if rand() < 0.9 else "shadow"
        state = "shown" if mode == "shadow" else STATES[int(rand() * len(STATES))]
        uuid = self._bytes()
        order = keys[int(rand() * len(keys))] if keys and card % 2 else None
        at, tenant, client, hook = call[1], call[2], call[3], call[5]
        row = int(rand() * 3)
        what = (card, self._version(card, at), 0, row, ids[INDICATORS[(card + row) % 4]], ids[mode], ids[state])
        rows["card"].append((at, call[0], position, uuid, tenant, client, hook, *what, 1, call[9], order, "potassium"))
        if mode == "live" and state == "shown":
            while rand() < 0.45:
                self._feedback(uuid, at, call)

    def _version(self, card: int, at: int) -> int:
        """Return the version of the day: each card changes once, on a day of its own."""
        changed = int(self.shape.first.timestamp()) * SECOND + (card * 37 % self.shape.days) * DAY
        return self.versions[at >= changed]

    def _feedback(self, uuid: bytes, shown_at: int, call: Sequence[Any]) -> None:
        rng, ids = self.rng, self._ids
        rand = rng.random
        said = shown_at + int(rand() ** 4 * 2880) * 60 * SECOND  # whole minutes later, so that some say it at once
        at = said + int(rand() * 2) * 30 * SECOND
        accepted = rand() < 0.3
        reason = 0 if accepted else self.reasons[int(rand() * len(self.reasons))]
        client = call[3] if rand() < 0.98 else self.clients[int(rand() * len(self.clients))]
        outcome_at = None if rand() < 0.05 else said
        comment = 0 if accepted or rand() < 0.7 else 40
        item = (
            *(self._bytes(), at, call[2], client, call[4], uuid, ids["accepted" if accepted else "overridden"]),
            *(0, reason, 0, "[]", comment, outcome_at, "" if outcome_at is None else "2026"),
        )
        self._made += 1
        heapq.heappush(self._waiting, (at, self._made, item))

    def _refusal(self, at: int, rows: Rows) -> None:
        rng = self.rng
        status, reason = rng.choice(((400, "not_json"), (401, "expired"), (413, "too_long"), (503, "queue_full")))
        client = rng.choice([0, *self.clients])
        rows["refusal"].append((at, 0, client, rng.choice(self.hooks), status, self.id_of(reason), rng.randrange(1, 30)))


def first_day(shape: Shape) -> int:
    """Return the first day, YYYYMMDD."""
    return int(shape.first.strftime("%Y%m%d"))


def last_day(shape: Shape) -> int:
    """Return the last day with calls, YYYYMMDD."""
    return int((shape.first + timedelta(days=shape.days - 1)).strftime("%Y%m%d"))
