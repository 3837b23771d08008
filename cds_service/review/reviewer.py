"""Name the reviewer: who signed in, or in dev without accounts the name that was typed, which a cookie remembers."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from starlette.responses import Response

from cds_service.review.page import BASE, PageRequest
from cds_service.review.verdicts import VerdictError, reviewer_name

_COOKIE = "cds_reviewer"
_YEAR = 365 * 24 * 3600  # seconds


def typed_name(cookies: Mapping[str, str]) -> str:
    """Return the name in the cookie; "" where it can't be used."""
    return _usable(unquote(cookies.get(_COOKIE, "")))


def reviewer_of(asked: PageRequest) -> str:
    """Return the name of the reader who signed in, else that of the form, else of the cookie; "" where none can be used."""
    if asked.reader.verified:
        return asked.reader.name
    return _usable(asked.form.get("reviewer", "")) or asked.reader.name


def remember(response: Response, name: str) -> Response:
    """Set the cookie that holds the name, for the review pages alone."""
    response.set_cookie(_COOKIE, quote(name), max_age=_YEAR, path=BASE, httponly=True, samesite="strict")
    return response


def _usable(given: str) -> str:
    try:
        return reviewer_name(given)
    except VerdictError:
        return ""
