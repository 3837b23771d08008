"""Make the addresses of other pages, with the filter of this one."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from cds_service.review.page import BASE
from cds_service.rollups.filter import Filter


class Links:
    """Addresses that keep the filter of a page. In `log` and `page`, values take the place of those of the filter."""

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen

    def page(self, path: str, /, **values: str | int) -> str:
        """Return the address of a page below `/review`; `since` and `until` are days, YYYYMMDD."""
        chosen = self._chosen
        if "since" in values or "until" in values:
            chosen = chosen.between(int(values.pop("since")), int(values.pop("until")))
        for name, value in values.items():
            chosen = chosen.with_values(name, str(value))
        query = urlencode(chosen.query())
        return f"{BASE}{path}{'?' if query else ''}{query}"

    def log(self, **values: str | int) -> str:
        """Return the address of the records that have `values`."""
        return self.page("/log", **values)

    def card(self, card: str) -> str:
        """Return the address of the page of a card."""
        query = urlencode(self._chosen.without("card", "version").query())
        return f"{BASE}/cards/{quote(card, safe='')}{'?' if query else ''}{query}"
