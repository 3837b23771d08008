"""Make the page that asks what a card would have done with other numbers, and begin the backtest that answers."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from cds_service.alert_log import micros
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError, Problem
from cds_service.knowledge.knowledge import Card
from cds_service.knowledge.site_numbers import changes_of, site_numbers
from cds_service.replay.backtest_queue import BacktestQueue
from cds_service.replay.candidate import begin_candidate
from cds_service.review.page import Page, PageNotFoundError, PageRequest, PageRoute, see_other
from cds_service.review.what_if import day_input, default_days, number_rows, read_selection
from cds_service.rollups.queries import call_counts

HOOKS = ("patient-view", "order-select", "order-sign")


def draw(asked: PageRequest, wrong: dict[str, str] | None = None, problems: list[Problem] | None = None) -> Page:
    """Return the form. `wrong`: why a field can't be used, by name; `problems`: why the candidate does not load."""
    card = _card(asked)
    numbers = site_numbers(card, asked.knowledge, asked.settings.cards_dir or cards_dir())
    first, last = (day_input(day) for day in default_days(asked))
    clients = sorted(
        {str(row["client"]) for row in call_counts(asked.database, asked.filter(days=None, other=("signal",)), ("client",))}
    )
    data = {
        "card": card.id,
        "card_version": card.file.version,
        "numbers": number_rows(numbers, asked.knowledge, asked.form, wrong or {}),
        "overlay": asked.settings.overlay_dir is not None,
        "signal": signal_of(asked),
        "problems": [{"file": one.file, "line": one.line, "path": one.path, "message": one.message} for one in problems or ()],
    }
    only_html = {
        "title_of_card": card.file.title,
        "chosen": {"from": first, "to": last, "hook": "", "client": "", "share": "100"} | dict(asked.form),
        "clients": clients,
        "hooks": [one for one in HOOKS if one in card.file.hooks],
        "may_run": asked.reader.may("reviewer"),
        "refused": bool(wrong or problems),
    }
    return Page(f"What if: {card.id}", "what_if.html", data, only_html, status=400 if wrong or problems else 200)


def begin(asked: PageRequest) -> Page | Response:
    """Begin the backtest of what the form says, and open its page."""
    card = _card(asked)
    numbers = site_numbers(card, asked.knowledge, asked.settings.cards_dir or cards_dir())
    changes, wrong = changes_of(numbers, asked.form)
    if wrong:
        return draw(asked, wrong)
    selection = read_selection(asked)
    try:
        backtest = begin_candidate(asked.settings, card.id, asked.knowledge.hash, changes, selection)
    except KnowledgeError as error:
        return draw(asked, problems=error.problems)
    asked.audit("start backtest", f"/review/backtests/{backtest.spec.id}", detail={"card": card.id})
    BacktestQueue(asked.settings).ask(backtest, micros(asked.now))
    signal = signal_of(asked)
    return see_other(f"/backtests/{backtest.spec.id}{'?' + urlencode({'signal': signal}) if signal else ''}")


def signal_of(asked: PageRequest) -> int | None:
    """Return the signal for which the question is asked, from the form or the address."""
    text = asked.form.get("signal") or asked.query.get("signal") or ""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _card(asked: PageRequest) -> Card:
    card = asked.knowledge.card(asked.path["card"])
    if card is None or card.file.status == "retired":
        raise PageNotFoundError("This site has no such card now, so nothing of it can be changed")
    return card


ROUTE = PageRoute("/cards/{card}/what-if", draw, "viewer", post=begin, post_role="reviewer")
