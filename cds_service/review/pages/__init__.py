"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import (
    card,
    cards,
    case,
    clients,
    data,
    definitions,
    demo_log,
    digest,
    log,
    overview,
    queue,
    reasons,
    results,
    signal,
    signals,
)

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (
    overview.ROUTE,
    signals.ROUTE,
    signal.ROUTE,
    cards.ROUTE,
    card.ROUTE,
    log.ROUTE,
    case.ROUTE,
    queue.ROUTE,
    results.ROUTE,
    reasons.ROUTE,
    data.ROUTE,
    clients.ROUTE,
    digest.ROUTE,
    definitions.ROUTE,
    demo_log.ROUTE,
)
