"""Make the page of results: what the verdicts say about each card."""

from __future__ import annotations

from typing import Any

from cds_service.review.page import Page, PageRequest, PageRoute
from cds_service.review.plans import Sample, month_plans, samples
from cds_service.review.results import Result, StratumResult, result, stratum_results
from cds_service.review.sampling import SHOWN
from cds_service.review.statistics import Proportion
from cds_service.review.verdicts import VERDICTS

_SHARES = ("value", "silence", "response", "wrong_overrides")
_COLUMNS = (
    "card", "drawn", "read", "disputed", *VERDICTS,
    *(f"{share}{part}" for share in _SHARES for part in ("", "_low", "_high", "_judged", "_effective", "_covered")),
    "kappa", "agreed", "read_twice",
)  # fmt: skip


def draw(asked: PageRequest) -> Page:
    """Return the results of all cards, or of the card and months that the address names."""
    card, since, until = (asked.query.get(name, "").replace("-", "") if name != "card" else asked.query.get(name, "")
                          for name in ("card", "since", "until"))  # fmt: skip
    strata: list[StratumResult] = []
    cases: dict[str, list[Sample]] = {}
    for plan in month_plans(asked.database):
        if (card and plan.card != card) or (since and str(plan.month) < since) or (until and str(plan.month) > until):
            continue
        of_plan = samples(asked.database, plan.id)
        cases.setdefault(plan.card, []).extend(of_plan)
        strata += stratum_results(plan, of_plan)
    results = [result(name, [one for one in strata if one.card == name], of_card) for name, of_card in sorted(cases.items())]
    all_cases = [one for of_card in cases.values() for one in of_card]
    data = {
        "results": results,
        "all": result("all cards", strata, all_cases) if len(results) > 1 else None,
        "strata": strata,
    }
    only_html = {
        "verdicts": VERDICTS,
        "shown": SHOWN,
        "card": card,
        "since": _dashed(since),
        "until": _dashed(until),
        "cards": sorted({plan.card for plan in month_plans(asked.database)}),
    }
    return Page("Results", "results.html", data, only_html, rows=[_row(one) for one in results], columns=_COLUMNS)


def _row(one: Result) -> dict[str, Any]:
    row: dict[str, Any] = {"card": one.card, "drawn": one.drawn, "read": one.read, "disputed": one.disputed, **one.verdicts}
    for name in _SHARES:
        row |= _share(name, getattr(one, name))
    return row | {"kappa": one.agreement.kappa, "agreed": one.agreement.agreed, "read_twice": one.agreement.n}


def _share(name: str, share: Proportion | None) -> dict[str, Any]:
    if share is None:
        return dict.fromkeys((name, *(f"{name}_{part}" for part in ("low", "high", "judged", "effective", "covered"))))
    return {
        name: share.value,
        f"{name}_low": share.interval.low,
        f"{name}_high": share.interval.high,
        f"{name}_judged": share.judged,
        f"{name}_effective": share.effective,
        f"{name}_covered": share.covered,
    }


def _dashed(month: str) -> str:
    return f"{month[:4]}-{month[4:6]}" if month else ""


ROUTE = PageRoute("/results", draw, "viewer", nav="Results", csv=True, scoped=True)
