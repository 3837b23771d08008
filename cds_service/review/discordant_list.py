"""Choose discordant cases of a backtest by card, change and verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import msgspec

from cds_service.database import Database
from cds_service.replay.backtest import Backtest
from cds_service.replay.compare import Change
from cds_service.review.backtest_figures import judged_between, readings_of, verdict_of
from cds_service.review.page import BadFormError, PageRequest
from cds_service.review.verdicts import VERDICTS, Reading, visible

CHANGES: dict[str, str] = {
    "vanishes": "fired, and would not",
    "appears": "did not fire, and would",
    "outcome": "fires in both, shown or held back otherwise",
    "row": "fires in both with another row of its table",
}
assert set(CHANGES) == set(get_args(Change))  # noqa: S101 - said once more, in words


class Chosen(msgspec.Struct, frozen=True):
    """What a list is narrowed to; "" for anything."""

    card: str = ""
    change: str = ""
    verdict: str = ""

    @property
    def query(self) -> list[tuple[str, str]]:
        """Return the parameters of an address."""
        return [(name, value) for name, value in msgspec.structs.asdict(self).items() if value]


class Listed(msgspec.Struct, frozen=True):
    """One case of the list: its number in the backtest, from 1, and the readings of it."""

    number: int
    read: list[Reading]

    @property
    def verdict(self) -> str:
        """Return the verdict that stands, "disputed" or ""."""
        return verdict_of(self.read)

    def seen_by(self, reviewer: str) -> str:
        """Return the verdict as far as this reader may know it, "judged" where a second reader must not yet."""
        return "" if not self.read else self.verdict if visible(reviewer, self.read) else "judged"


def chosen_of(asked: PageRequest) -> Chosen:
    """Return what the address asks for. Raises BadFormError."""
    chosen = Chosen(*(asked.query.get(name, "") for name in ("card", "change", "verdict")))
    if chosen.change not in ("", *CHANGES) or chosen.verdict not in ("", *VERDICTS, "disputed", "none"):
        raise BadFormError("There is no such change or verdict to choose by")
    return chosen


def listed(database: Database, backtest: Backtest, chosen: Chosen) -> list[Listed]:
    """Return the chosen cases in the order of time. A verdict "none": nobody has judged it."""
    selection = backtest.spec.selection
    judged = judged_between(database, selection.since, selection.until)
    found = [
        Listed(number, readings_of(one, judged))
        for number, one in enumerate(backtest.outlines(), 1)
        if chosen.card in ("", one.card) and chosen.change in ("", one.change)
    ]
    return [one for one in found if chosen.verdict in ("", one.verdict or "none")]


def cards_in(backtest: Backtest) -> list[str]:
    """Return the cards that have a discordant case."""
    return sorted({one.card for one in backtest.outlines()})


def beside(cases: Iterable[Listed], number: int) -> tuple[int | None, int | None, int, int]:
    """Return the numbers of the cases before and after one, its place among them from 1, and how many they are."""
    numbers = [one.number for one in cases]
    before = max((one for one in numbers if one < number), default=None)
    after = min((one for one in numbers if one > number), default=None)
    return before, after, sum(one <= number for one in numbers), len(numbers)
