"""Make the page of definitions, to which every figure links."""

from __future__ import annotations

import msgspec

from cds_service.review.definitions import DEFINITIONS
from cds_service.review.page import Page, PageRequest, PageRoute


def draw(_: PageRequest) -> Page:
    """Return the page with every definition."""
    rows = [msgspec.to_builtins(one) for one in DEFINITIONS.values()]
    return Page("Definitions", "definitions.html", {"listed": rows}, rows=rows, columns=list(rows[0]))


ROUTE = PageRoute("/definitions", draw, "signed in", nav="Definitions", csv=True, reads=False, scoped=True)
