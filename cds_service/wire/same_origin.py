"""Tell forms of our own pages from those that other sites make a browser send."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def from_this_site(headers: Mapping[str, str]) -> bool:
    """Return whether a page of this service or a program sent the form; `headers` by names in lower case.

    Browsers name the page that sends (Sec-Fetch-Site, Origin); programs do not.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")
