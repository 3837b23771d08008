"""Remember the reviewer's name in a cookie. It is what the person typed: nobody checks it until there is a sign-in."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.responses import Response

from cds_service.review.page import BASE, PageRequest
from cds_service.review.verdicts import VerdictError, reviewer_name

_COOKIE = "cds_reviewer"
_YEAR = 365 * 24 * 3600  # seconds


def reviewer_of(asked: PageRequest) -> str:
    """Return the name of the form, else of the cookie; "" where neither can be used."""
    for given in (asked.form.get("reviewer", ""), unquote(asked.cookies.get(_COOKIE, ""))):
        try:
            return reviewer_name(given)
        except VerdictError:
            continue
    return ""


def remember(response: Response, name: str) -> Response:
    """Set the cookie that holds the name, for the review pages alone."""
    response.set_cookie(_COOKIE, quote(name), max_age=_YEAR, path=BASE, httponly=True, samesite="strict")
    return response
