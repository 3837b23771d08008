"""Draw the cases of a plan: at random within strata, as a pure function of the log and a seed.

The strata of one card and month are what became of it: shown and accepted, overridden (critical ones are a stratum that is judged
as a whole), without feedback, could not be checked, did not fire. Only cases that did not fire show what a card misses. The same
log, seed and moment give the same sample on every machine and Python: only `Random.random()` is used, whose numbers are promised
not to change, and cases are numbered by time and id.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from random import Random
from typing import NamedTuple

from cds_service.database import Database
from cds_service.decide.decision import Outcome

PER_STRATUM = 10
_DAY = 24 * 3600 * 1_000_000  # µs

# In the order of the pages. The first five are of cards that were shown: of them a share was right, the predictive value.
STRATA = {
    "accepted": "Accepted",
    "overridden_critical": "Overridden, critical",
    "overridden_reason": "Overridden with a reason",
    "overridden_bare": "Overridden without a reason",
    "no_feedback": "No feedback",
    "could_not_check": "Could not check",
    "not_fired": "Did not fire",
}
SHOWN = tuple(STRATA)[:5]
_EVALUATED = {
    "could_not_check": (Outcome.COULD_NOT_CHECK, Outcome.FAILED),
    "not_fired": (Outcome.NOT_FIRED,),
}


class Span(NamedTuple):
    """From (included) until (excluded), µs since 1970."""

    start: int
    end: int

    def days(self) -> Iterator[Span]:
        """Split it into pieces of 24 hours, so that no statement looks at more than a day of the log."""
        for start in range(self.start, self.end, _DAY):
            yield Span(start, min(start + _DAY, self.end))


class Where(NamedTuple):
    """The tenant and client of the cases that are drawn from."""

    tenant: str
    client: str


class Candidate(NamedTuple):
    """A case before its evaluation was looked up.

    `position`: of the card that was shown, -1 where none was; then `which` counts the card's evaluations with an outcome of the
    stratum in that call, from 0.
    """

    received_at: int
    call_id: bytes
    position: int
    which: int


class Drawn(NamedTuple):
    """The drawn cases of one stratum, and how many it has."""

    stratum: str
    size: int
    cases: list[Candidate]


def draw(database: Database, card: str, span: Span, seed: int, where: Where | None = None) -> list[Drawn]:
    """Draw from the cases of `card` in `span`; feedback that came later does not count. Strata without cases are left out.

    `where`: None for the cases of all clients.
    """
    drawn = [_drawn_of(name, cases, seed) for name, cases in _shown(database, card, span, where).items()]
    drawn += _evaluated(database, card, span, seed, where)
    return [one for one in drawn if one.size]


def outcomes_of(stratum: str) -> tuple[Outcome, ...]:
    """Return the outcomes of the evaluations in a stratum without shown cards."""
    return _EVALUATED[stratum]


def _drawn_of(stratum: str, cases: list[Candidate], seed: int) -> Drawn:
    if stratum == "overridden_critical":
        return Drawn(stratum, len(cases), cases)
    return Drawn(stratum, len(cases), [cases[place] for place in picked(len(cases), PER_STRATUM, stratum, seed)])


def picked(size: int, wanted: int, stratum: str, seed: int) -> list[int]:
    """Return `wanted` different numbers below `size` (all where there are no more), each set of them equally likely."""
    if size <= wanted:
        return list(range(size))
    rng = Random(f"{seed} {stratum}")  # noqa: S311 (a sample, no secret)
    found: set[int] = set()
    while len(found) < wanted:
        found.add(int(rng.random() * size))
    return sorted(found)


def shuffled(places: int, seed: int) -> list[int]:
    """Return the numbers below `places` in an order that tells nothing of the strata."""
    rng = Random(f"{seed} order")  # noqa: S311
    return [place for _, place in sorted((rng.random(), place) for place in range(places))]


def _ids(database: Database, where: Where | None) -> tuple[str, dict[str, int | None]]:
    """Return a condition for calls `c`, and its values; None for a name that the log does not have."""
    if where is None:
        return "", {}
    names = database.names
    return " AND c.tenant = :tenant AND c.client = :client", {one: names.id(name) for one, name in where._asdict().items()}


_SHOWN_CARDS = """
WITH shown AS MATERIALIZED (
  SELECT received_at, call_id, position, uuid, tenant, client, indicator FROM log.card c
  WHERE received_at >= :start AND received_at < :end AND card = :card AND mode = :live AND state = :shown{where}
    AND NOT EXISTS (SELECT 1 FROM log.withdrawal w WHERE w.received_at = c.received_at AND w.call_id = c.call_id)),
answer AS (
  SELECT f.card_uuid, f.tenant, f.client, f.outcome, f.reason_code, row_number() OVER (
      PARTITION BY f.card_uuid, f.tenant, f.client
      ORDER BY coalesce(f.outcome_at, f.received_at) DESC, f.received_at DESC, f.id DESC) AS newest
  FROM log.feedback f WHERE f.card_uuid IN (SELECT uuid FROM shown) AND f.received_at < :until)
SELECT s.received_at, s.call_id, s.position, s.indicator, a.outcome, a.reason_code FROM shown s
LEFT JOIN answer a ON a.card_uuid = s.uuid AND a.tenant = s.tenant AND a.client = s.client AND a.newest = 1
ORDER BY s.received_at, s.call_id, s.position"""


def _shown(database: Database, card: str, span: Span, where: Where | None) -> dict[str, list[Candidate]]:
    """Return the shown cards of each stratum, by time and id."""
    names = database.names
    found: dict[str, list[Candidate]] = {name: [] for name in SHOWN}
    condition, of = _ids(database, where)
    wanted = {"card": names.id(card), "live": names.id("live"), "shown": names.id("shown"), **of}
    if None in wanted.values():
        return found
    ids = {names.id("accepted"): "accepted", names.id("overridden"): "overridden"}
    critical = names.id("critical")
    for day in span.days():
        for row in database.rows(_SHOWN_CARDS.format(where=condition), start=day.start, end=day.end, until=span.end, **wanted):
            answer = ids.get(row["outcome"], "no_feedback") if row["outcome"] is not None else "no_feedback"
            if answer == "overridden":
                reason = "overridden_reason" if row["reason_code"] else "overridden_bare"
                answer = "overridden_critical" if row["indicator"] == critical else reason
            found[answer].append(Candidate(row["received_at"], bytes(row["call_id"]), row["position"], 0))
    return found


_EVALUATIONS = """
FROM log.call c JOIN log.outcome_of_set o ON o.set_id = c.outcome_set
WHERE c.received_at >= :start AND c.received_at < :end AND o.card = :card AND o.outcome IN :outcomes AND o.applies IN :applies
  AND c.repeat_of IS NULL{where}
  AND NOT EXISTS (SELECT 1 FROM log.withdrawal w WHERE w.received_at = c.received_at AND w.call_id = c.id)"""
_COUNTS = f"SELECT o.outcome, o.applies, sum(o.n) AS n {_EVALUATIONS} GROUP BY o.outcome, o.applies"
_CASES = f"SELECT c.received_at, c.id, sum(o.n) AS n {_EVALUATIONS} GROUP BY c.received_at, c.id ORDER BY c.received_at, c.id"

# Of records from before it was recorded (-1), nobody knows whether a silent card was about the call, so they are no cases.
_APPLIES = {"could_not_check": (1, -1), "not_fired": (1,)}


def _evaluated(database: Database, card: str, span: Span, seed: int, where: Where | None) -> Iterator[Drawn]:
    """Draw from evaluations that drew no card. They are counted by day, and only the days that are drawn from are listed."""
    outcomes = {name: database.names.ids(*of) for name, of in _EVALUATED.items()}
    condition, of_client = _ids(database, where)
    wanted = {"card": database.names.id(card), "outcomes": [one for of in outcomes.values() for one in of], "applies": (1, -1)}
    wanted |= of_client
    if None in wanted.values():
        return
    days = list(span.days())
    counted = [database.rows(_COUNTS.format(where=condition), start=day.start, end=day.end, **wanted) for day in days]
    for stratum, of in outcomes.items():
        own = wanted | {"outcomes": of, "applies": _APPLIES[stratum]}
        counts = [
            sum(int(row["n"]) for row in rows if row["outcome"] in of and row["applies"] in _APPLIES[stratum]) for rows in counted
        ]
        ends = list(accumulate(counts))
        size = ends[-1] if ends else 0
        by_day: dict[int, list[int]] = {}
        for place in picked(size, PER_STRATUM, stratum, seed):
            day = bisect_right(ends, place)
            by_day.setdefault(day, []).append(place - (ends[day] - counts[day]))
        cases = [one for day, places in by_day.items() for one in _listed(database, days[day], condition, own, places)]
        yield Drawn(stratum, size, cases)


def _listed(
    database: Database, day: Span, condition: str, wanted: Mapping[str, object], places: list[int]
) -> Iterator[Candidate]:
    """Return the cases at `places` of one day, counted over its calls by time and id, each with its number of evaluations."""
    rows = database.rows(_CASES.format(where=condition), start=day.start, end=day.end, **wanted)
    ends = list(accumulate(int(row["n"]) for row in rows))
    for place in places:
        at = bisect_right(ends, place)
        yield Candidate(rows[at]["received_at"], bytes(rows[at]["id"]), -1, place - (ends[at] - int(rows[at]["n"])))
