"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import (
    backtest,
    backtest_case,
    backtest_cases,
    backtests,
    card,
    cards,
    case,
    change,
    changes,
    clients,
    data,
    definitions,
    demo_log,
    log,
    overview,
    queue,
    reasons,
    results,
    what_if,
)

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (
    overview.ROUTE,
    cards.ROUTE,
    what_if.ROUTE,
    card.ROUTE,
    log.ROUTE,
    case.ROUTE,
    queue.ROUTE,
    results.ROUTE,
    backtests.ROUTE,
    backtest.ROUTE,
    backtest_cases.ROUTE,
    backtest_case.ROUTE,
    changes.ROUTE,
    change.ROUTE,
    reasons.ROUTE,
    data.ROUTE,
    clients.ROUTE,
    definitions.ROUTE,
    demo_log.ROUTE,
)
