"""What the pages show, from the counts alone: no function here reads a record of the log.

All take a filter, whose fields apply where the counted table has them (`counting.ignored` names the others), and return rows in
the order of `by`. Rates are left to the page, which needs numerator and denominator anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.database import Database
from cds_service.database.database import Row
from cds_service.rollups.counting import NO_RESPONSE, span_of_days, totals, words
from cds_service.rollups.filter import Filter

Of = Mapping[str, str | int]  # the values of `by`, as filters say them


@dataclass(frozen=True)
class Cards:
    """Cards that fired. All but the last three figures count what was shown live: the response went out, nothing held it back."""

    of: Of
    shown: int
    accepted: int
    overridden: int
    repeated: int  # shown live to the same patient within 24 h before
    about_orders: int
    critical: int
    shadow: int  # fired, evaluated only
    held_back: int  # live, but repeated, capped or gave way
    withdrawn: int  # the response was held back, status 503

    @property
    def answered(self) -> int:
        """Return how many have feedback."""
        return self.accepted + self.overridden

    @property
    def unanswered(self) -> int:
        """Return how many have none."""
        return self.shown - self.answered


_LIVE = "mode = :live AND state = :shown"
_CARDS = {
    "shown": f"sum(n) FILTER (WHERE {_LIVE})",
    "accepted": f"sum(n) FILTER (WHERE {_LIVE} AND response = :accepted)",
    "overridden": f"sum(n) FILTER (WHERE {_LIVE} AND response = :overridden)",
    "repeated": f"sum(n) FILTER (WHERE {_LIVE} AND repeated_24h = 1)",
    "about_orders": f"sum(n) FILTER (WHERE {_LIVE} AND about_order = 1)",
    "critical": f"sum(n) FILTER (WHERE {_LIVE} AND indicator = :critical)",
    "shadow": "sum(n) FILTER (WHERE mode = :shadow AND state <> :withdrawn)",
    "held_back": "sum(n) FILTER (WHERE mode = :live AND state <> :shown AND state <> :withdrawn)",
    "withdrawn": "sum(n) FILTER (WHERE state = :withdrawn)",
}
_WORDS = ("live", "shown", "accepted", "overridden", "critical", "shadow", "withdrawn")


def card_counts(database: Database, chosen: Filter, by: Sequence[str] = ("card",)) -> list[Cards]:
    """Count cards by any of tenant, client, hook, card, version, mode, state, indicator, response, repeated, about_order, day,
    week.
    """
    rows = totals(database, "card", chosen, by, _CARDS, parameters=words(database, *_WORDS))
    return [Cards({field: row.pop(field) for field in by}, **row) for row in rows]


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of cards by outcome.

    `outcomes` counts those that applied: of a card about orders, where there was such an order.
    """

    of: Of
    outcomes: Mapping[str, int]
    not_applicable: int

    @property
    def fired(self) -> int:
        """Return how many had the criteria met, shown or not."""
        return sum(self.outcomes.get(one, 0) for one in ("fired", "repeated", "gave_way", "capped"))

    @property
    def not_fired(self) -> int:
        return self.outcomes.get("not_fired", 0)

    @property
    def could_not_check(self) -> int:
        return self.outcomes.get("could_not_check", 0)

    @property
    def failed(self) -> int:
        return self.outcomes.get("failed", 0)

    @property
    def checked(self) -> int:
        """Return how many were fired or not fired: the denominator of the fire rate."""
        return self.fired + self.not_fired


def evaluation_counts(database: Database, chosen: Filter, by: Sequence[str] = ("card",)) -> list[Evaluations]:
    """Count evaluations by any of tenant, client, hook, card, version, row, day, week."""
    found: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in totals(database, "evaluation", chosen, (*by, "outcome", "applies")):
        outcomes = found.setdefault(tuple(row[field] for field in by), {})
        applied = row["applies"] and row["outcome"] != "not_applicable"
        name = str(row["outcome"]) if applied else "not_applicable"
        outcomes[name] = outcomes.get(name, 0) + row["n"]
    return [
        Evaluations(dict(zip(by, key, strict=True)), outcomes, outcomes.pop("not_applicable", 0))
        for key, outcomes in found.items()
    ]


@dataclass(frozen=True)
class Denominators:
    """What came by. Orders and encounters count on the day and hook of their first call, users and patients once a day."""

    of: Of
    encounters: int
    orders: int
    users: int  # user-days
    patients: int  # patient-days


def denominators(database: Database, chosen: Filter, by: Sequence[str] = ()) -> list[Denominators]:
    """Add up denominators by any of tenant, client, hook, day, week."""
    rows = totals(database, "denominator", chosen, by)
    return [Denominators({field: row.pop(field) for field in by}, **row) for row in rows]


@dataclass(frozen=True)
class Latency:
    """How long calls took, in buckets by upper bound."""

    of: Of
    buckets: Sequence[tuple[int, int]]  # (upper bound in ms, calls), ascending

    @property
    def calls(self) -> int:
        return sum(n for _, n in self.buckets)

    def percentile(self, share: float) -> int | None:
        """Return the upper bound in ms of the bucket in which this share of calls ends, None without calls."""
        below, wanted = 0, share * self.calls
        for ms, n in self.buckets:
            below += n
            if below >= wanted:
                return ms
        return None

    def over(self, ms: int) -> int:
        """Return how many calls took longer than `ms`, which is the bound of a bucket."""
        return sum(n for bound, n in self.buckets if bound > ms)


def latency(database: Database, chosen: Filter, by: Sequence[str] = ()) -> list[Latency]:
    """Return latencies by any of tenant, client, hook, status, outcome, day, week."""
    found: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for row in totals(database, "call", chosen, (*by, "ms_bucket"), {"n": "sum(n)"}):
        found.setdefault(tuple(row[field] for field in by), []).append((row["ms_bucket"], row["n"]))
    return [Latency(dict(zip(by, key, strict=True)), sorted(buckets)) for key, buckets in found.items()]


def call_counts(database: Database, chosen: Filter, by: Sequence[str] = ("client", "status", "outcome")) -> list[Row]:
    """Return rows with `by`, `n` (calls) and `repeats` (those of them that were sent again)."""
    return totals(database, "call", chosen, by)


def refusal_counts(database: Database, chosen: Filter, by: Sequence[str] = ("client", "status", "reason")) -> list[Row]:
    """Return rows with `by` and `n`: what never became a call. `reason` is that of the refusal."""
    return totals(database, "refusal", chosen.without("reason"), by)


def reason_counts(database: Database, chosen: Filter, by: Sequence[str] = ("card", "reason")) -> list[Row]:
    """Return rows with `by`, `n` (overridden, shown live) and `comments` (those of them with one); reason "": none given."""
    return totals(database, "reason", chosen, by)


def missing_counts(database: Database, chosen: Filter, by: Sequence[str] = ("card", "criterion", "cause")) -> list[Row]:
    """Return rows with `by` and `n`: what was unknown and mattered."""
    return totals(database, "missing", chosen, by)


def top_users(database: Database, chosen: Filter, limit: int = 10) -> list[Row]:
    """Return the users who were shown most, as rows of user, shown, accepted, overridden, most_for_one_patient (on one day)."""
    return _users(database, chosen, "shown")[:limit]


def _users(database: Database, chosen: Filter, order: str) -> list[Row]:
    sums = {name: f"sum({name})" for name in ("shown", "accepted", "overridden")}
    sums["most_for_one_patient"] = "max(most_for_one_patient)"
    rows = totals(database, "user", chosen, ("user",), sums)
    return sorted((row for row in rows if row["shown"]), key=lambda row: (-row[order], row["user"]))


FACETS = ("client", "hook", "card", "version", "mode", "state", "indicator", "response", "repeated", "tenant")


def facets(database: Database, chosen: Filter, names: Sequence[str] = FACETS) -> dict[str, list[tuple[str, int]]]:
    """Return for each field its values and how many cards have each, most first.

    A field that the filter itself restricts is counted without that restriction, so that the others can be chosen.
    """
    free = [name for name in names if name not in chosen.names]
    found = {name: [(str(row[name]), row["n"]) for row in rows] for name, rows in _at_once(database, chosen, free).items()}
    for name in names:
        if name in chosen.names:
            found[name] = [(str(row[name]), row["n"]) for row in totals(database, "card", chosen.without(name), (name,))]
    return {name: sorted(found.get(name, []), key=lambda one: (-one[1], one[0])) for name in names}


def _at_once(database: Database, chosen: Filter, names: Sequence[str]) -> dict[str, list[Row]]:
    """Add up once by all fields, and from that by each: the table is read a single time."""
    found: dict[str, dict[Any, int]] = {name: {} for name in names}
    for row in totals(database, "card", chosen, names) if names else ():
        for name in names:
            found[name][row[name]] = found[name].get(row[name], 0) + row["n"]
    return {name: [{name: value, "n": n} for value, n in values.items()] for name, values in found.items()}


def first_seen(database: Database, field: str, chosen: Filter | None = None) -> list[Row]:
    """Return rows of card, `field`, `first` and `last`: on which days evaluations of a card had a version, a client or a hook.

    `field`: version, client or hook.
    """
    return span_of_days(database, "evaluation", chosen or Filter(), ("card", field))


__all__ = [
    "FACETS",
    "NO_RESPONSE",
    "Cards",
    "Denominators",
    "Evaluations",
    "Latency",
    "call_counts",
    "card_counts",
    "denominators",
    "evaluation_counts",
    "facets",
    "first_seen",
    "latency",
    "missing_counts",
    "reason_counts",
    "refusal_counts",
    "top_users",
]
