"""Make the list of the cases that a backtest decides differently, all of them, a page at a time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from cds_service.replay.compare import Discordant
from cds_service.review.backtest_view import find_backtest
from cds_service.review.discordant_list import CHANGES, Listed, cards_in, chosen_of, listed
from cds_service.review.page import BASE, BadFormError, Page, PageRequest, PageRoute, whole_number
from cds_service.review.reviewer import reviewer_of
from cds_service.review.timeline import local
from cds_service.review.verdicts import VERDICTS

_ON_A_PAGE = 50
_COLUMNS = (
    *(
        "number",
        "time",
        "client",
        "hook",
        "card",
        "change",
        "old",
        "old_row",
        "new",
        "new_row",
        "shown_old",
        "shown_new",
        "verdict",
    ),
    "path",
)


def draw(asked: PageRequest) -> Page:
    """Return a page of the cases; as CSV all of them."""
    backtest = find_backtest(asked, asked.path["backtest"])
    chosen, reviewer = chosen_of(asked), reviewer_of(asked)
    found = {one.number: one for one in listed(asked.database, backtest, chosen)}
    page = _page(asked, len(found))
    wanted = set(list(found)[(page - 1) * _ON_A_PAGE : page * _ON_A_PAGE])
    everything = asked.url.partition("?")[0].endswith(".csv")
    zone, path = ZoneInfo(asked.settings.time_zone), f"{BASE}/backtests/{backtest.spec.id}/cases"
    rows = [
        _row(one, found[number], reviewer, zone, path)
        for number, one in enumerate(backtest.cases(), 1)
        if number in (found if everything else wanted)
    ]
    pages = -(-len(found) // _ON_A_PAGE)
    data = {"backtest": backtest.spec.id, "cases": rows, "n": len(found), "page": page, "pages": pages}
    only_html = {
        "chosen": chosen,
        "cards": cards_in(backtest),
        "changes": CHANGES,
        "verdicts": VERDICTS | {"disputed": "Readers differ", "none": "Not judged", "judged": "Judged by another reader"},
        "query_of": urlencode(chosen.query),
        "before": urlencode([*chosen.query, ("page", page - 1)]) if page > 1 else "",
        "after": urlencode([*chosen.query, ("page", page + 1)]) if page < pages else "",
    }
    title = f"Cases that come out differently, backtest {backtest.spec.id[:8]}"
    return Page(title, "backtest_cases.html", data, only_html, rows=rows, columns=_COLUMNS)


def _page(asked: PageRequest, count: int) -> int:
    page = whole_number(asked.query.get("page", "1"))
    if page is None or not 1 <= page <= max(1, -(-count // _ON_A_PAGE)):
        raise BadFormError("There is no such page of the list")
    return page


def _row(one: Discordant, known: Listed, reviewer: str, zone: ZoneInfo, path: str) -> dict[str, Any]:
    return {
        "number": known.number,
        "time": local(one.received_at, zone).isoformat(sep=" ", timespec="seconds"),
        "client": one.client,
        "hook": one.hook,
        "card": one.card,
        "change": one.change,
        **{f"{side}{name}": value for side, row in (("old", one.old), ("new", one.new)) for name, value in _side(row).items()},
        "shown_old": " ".join(one.shown_old),
        "shown_new": " ".join(one.shown_new),
        "verdict": known.seen_by(reviewer),
        "path": f"{path}/{known.number}",
    }


def _side(row: dict[str, Any] | None) -> dict[str, Any]:
    """Return the outcome of one side and the number of its row in the table, from 1."""
    if row is None:
        return {"": "none", "_row": None}
    return {"": str(row["outcome"]), "_row": int(row["row"]) + 1 if int(row.get("row", -1)) >= 0 else None}


ROUTE = PageRoute("/backtests/{backtest}/cases", draw, "reviewer", csv=True)
