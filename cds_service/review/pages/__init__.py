"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import (
    audit,
    card,
    cards,
    case,
    clients,
    data,
    definitions,
    demo_log,
    log,
    overview,
    queue,
    reasons,
    results,
    reveal,
    sign_in,
)

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (
    overview.ROUTE,
    cards.ROUTE,
    card.ROUTE,
    log.ROUTE,
    reveal.ROUTE,
    case.ROUTE,
    queue.ROUTE,
    results.ROUTE,
    reasons.ROUTE,
    data.ROUTE,
    clients.ROUTE,
    definitions.ROUTE,
    audit.ROUTE,
    demo_log.ROUTE,
    sign_in.SIGN_IN,
    sign_in.BEGIN,
    sign_in.END,
    sign_in.SIGN_OUT,
)
