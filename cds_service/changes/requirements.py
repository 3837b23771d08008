"""Say what a change still lacks before its approval may be written."""

from __future__ import annotations

import msgspec

from cds_service.changes.change import Change
from cds_service.database import Database
from cds_service.replay.backtest import Backtest, Result

DAYS = 14  # of calls that a backtest must cover
EVALUATIONS = 1000  # of the card, that suffice in fewer days
SIGNATURES = 2
_DAY = 86_400_000_000  # µs


class Requirement(msgspec.Struct, frozen=True):
    """One thing that a change needs: what it is, whether it is there, and what was found."""

    name: str
    met: bool
    found: str


def requirements(database: Database, change: Change, backtest: Backtest | None) -> list[Requirement]:
    """Return all that a change needs. `backtest`: that which the change names, None where it is not there any more."""
    return [
        *([] if change.state == "open" else [Requirement("it is open", False, f"it is {change.state}")]),
        _reason(change),
        *_proof(database, change, backtest),
        *_signatures(change),
    ]


def _reason(change: Change) -> Requirement:
    parts = [f"signal {change.signal}"] if change.signal is not None else []
    if change.cases:
        parts.append(f"{len(change.cases)} judged case{'s' if len(change.cases) > 1 else ''}")
    return Requirement("a reason: a signal, or judged cases", bool(parts), " and ".join(parts) or "neither")


def _proof(database: Database, change: Change, backtest: Backtest | None) -> list[Requirement]:
    hash_name = "a backtest of exactly this candidate"
    size_name = f"a backtest over {DAYS} days or {EVALUATIONS:,} evaluations of the card"
    result = backtest.result if backtest is not None else None
    if backtest is None or result is None:
        found = "it is not finished" if backtest is not None else "it is not there any more"
        return [Requirement(hash_name, False, found), Requirement(size_name, False, found)]
    same = backtest.spec.candidate == change.candidate
    days, evaluations = covered_days(database, backtest), evaluations_of(result, change.card)
    whole = not backtest.spec.selection.hook and not backtest.spec.selection.client and backtest.spec.selection.share >= 1
    answered, records = result.total.answered, result.total.records
    enough = evaluations >= EVALUATIONS or (days >= DAYS and whole and 2 * answered >= records > 0)
    covered = f"{days} days{'' if whole else ' of some calls'}"
    found = f"{covered}, {answered:,} of {records:,} records answered, {evaluations:,} evaluations"
    return [
        Requirement(hash_name, same, "the same hash" if same else f"it is of {backtest.spec.candidate}"),
        Requirement(size_name, enough, found),
    ]


def covered_days(database: Database, backtest: Backtest) -> int:
    """Return how many days of the log the backtest covers, begun ones included."""
    first = database.one("SELECT min(received_at) AS at FROM log.call")
    begins = max(backtest.spec.selection.since, int(first["at"]) if first is not None and first["at"] is not None else 0)
    return max(0, -(-(backtest.spec.selection.until - begins) // _DAY))


def evaluations_of(result: Result, card: str) -> int:
    """Return how many evaluations of a card were decided on both sides, but for calls that it was not about."""
    counts = result.total.cards.get(card)
    return 0 if counts is None else counts.both + counts.only_old + counts.only_new + counts.neither


def _signatures(change: Change) -> list[Requirement]:
    signed = change.signatures
    names = ", ".join(one.reader for one in signed) or "nobody"
    owners = ", ".join(one.reader for one in signed if one.owner)
    return [
        Requirement("two signatures by different people", len(signed) >= SIGNATURES, f"signed by {names}"),
        Requirement("one of them a rule owner's", bool(owners), owners or "none"),
    ]
