"""Count a month for those outside of the quality team: small counts hidden where several tenants are added up."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence

import msgspec

from cds_service.database import Database
from cds_service.rollups.counting import totals
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import Cards, Evaluations, card_counts, denominators, evaluation_counts
from cds_service.rollups.suppression import LEAST, suppress

_DENOMINATORS = ("encounters", "orders", "users", "patients")
ALL = ""  # stands in place of a card in the figures of all together


class Responses(msgspec.Struct, frozen=True):
    """Cards shown live, by the response to them. None: hidden."""

    accepted: int | None
    overridden: int | None
    none: int | None
    shown: int | None


class Checks(msgspec.Struct, frozen=True):
    """Evaluations that applied, by outcome. None: hidden. `unchecked`: could not be checked, or failed."""

    fired: int | None
    not_fired: int | None
    unchecked: int | None
    applied: int | None


class CardMonth(msgspec.Struct, frozen=True):
    """The figures of one card, or of all (ALL)."""

    card: str
    responses: Responses
    checks: Checks


class MonthFigures(msgspec.Struct, frozen=True):
    """A month (YYYYMM) of the log. `denominators`: encounters, orders, users and patients; None: hidden."""

    month: int
    tenants: int
    cards: Sequence[CardMonth]
    total: CardMonth
    denominators: Mapping[str, int | None]

    @property
    def suppressed(self) -> bool:
        """Return whether small counts are hidden."""
        return self.tenants > 1


class Month(msgspec.Struct, frozen=True):
    """One calendar month of the site."""

    number: int  # YYYYMM

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read YYYY-MM. Raises ValueError."""
        if not re.fullmatch("(19|20)[0-9]{2}-(0[1-9]|1[0-2])", text):
            raise ValueError("a month is written as YYYY-MM, such as 2026-09")
        return cls(int(text[:4]) * 100 + int(text[5:]))

    @property
    def text(self) -> str:
        return f"{self.number // 100}-{self.number % 100:02}"

    def plus(self, months: int) -> Month:
        """Return the month so many later."""
        index = self.number // 100 * 12 + self.number % 100 - 1 + months
        return Month(index // 12 * 100 + index % 12 + 1)

    @property
    def first(self) -> int:
        """Return its first day, YYYYMMDD."""
        return self.number * 100 + 1

    @property
    def last(self) -> int:
        """Return its last day."""
        return self.number * 100 + monthrange(self.number // 100, self.number % 100)[1]


def month_figures(database: Database, month: Month, chosen: Filter) -> MonthFigures:
    """Count the month from the roll-ups. `chosen`: tenant and client, if only some; its days are passed over."""
    of_month = chosen.between(month.first, month.last)
    tenants = len(totals(database, "call", of_month, ("tenant",), {"n": "sum(n)"}))
    cards = {str(one.of["card"]): one for one in card_counts(database, of_month)}
    evaluations = {str(one.of["card"]): one for one in evaluation_counts(database, of_month)}
    names = sorted(cards.keys() | evaluations.keys())
    responses = _shown([_response_cells(cards.get(name)) for name in names], hide=tenants > 1)
    checks = _shown([_check_cells(evaluations.get(name)) for name in names], hide=tenants > 1)
    found = [
        CardMonth(name, Responses(*said), Checks(*checked))
        for name, said, checked in zip([*names, ALL], responses, checks, strict=True)
    ]
    counted = next(iter(denominators(database, of_month)), None)
    return MonthFigures(
        month=month.number,
        tenants=tenants,
        cards=found[:-1],
        total=found[-1],
        denominators={name: _unless_small(getattr(counted, name, 0), hide=tenants > 1) for name in _DENOMINATORS},
    )


def _response_cells(cards: Cards | None) -> list[int]:
    return [0, 0, 0] if cards is None else [cards.accepted, cards.overridden, cards.unanswered]


def _check_cells(evaluations: Evaluations | None) -> list[int]:
    if evaluations is None:
        return [0, 0, 0]
    return [evaluations.fired, evaluations.not_fired, evaluations.could_not_check + evaluations.failed]


def _unless_small(count: int, *, hide: bool) -> int | None:
    return None if hide and 0 < count < LEAST else count


def _shown(rows: Sequence[Sequence[int]], *, hide: bool) -> list[list[int | None]]:
    """Return the rows with their sums, a row of the sums of all below, and small counts hidden."""
    summed = [[*row, sum(row)] for row in rows]
    table = [*summed, [sum(column) for column in zip(*summed, strict=True)] if summed else [0, 0, 0, 0]]
    return suppress(table) if hide else [list(row) for row in table]
