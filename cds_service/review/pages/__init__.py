"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import case, definitions, demo_log, queue, results

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (queue.ROUTE, results.ROUTE, definitions.ROUTE, case.ROUTE, demo_log.ROUTE)
