"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import card, cards, clients, data, definitions, demo_log, overview, reasons

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (
    overview.ROUTE,
    cards.ROUTE,
    card.ROUTE,
    reasons.ROUTE,
    data.ROUTE,
    clients.ROUTE,
    definitions.ROUTE,
    demo_log.ROUTE,
)
