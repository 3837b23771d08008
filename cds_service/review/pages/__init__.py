"""Make the pages, one module each. A page is a function from a request to data (`review.page`)."""

from cds_service.review.page import PageRoute
from cds_service.review.pages import definitions, demo_log

# In the order of the navigation.
PAGES: tuple[PageRoute, ...] = (definitions.ROUTE, demo_log.ROUTE)
