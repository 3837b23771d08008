"""Make the pages to sign in and out."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from cds_service.access.local_sign_in import SignInError
from cds_service.access.oidc import MINUTES, CallbackError, ProviderDownError
from cds_service.review.cookies import cookie_of, set_cookie
from cds_service.review.page import BASE, Page, PageRequest, PageRoute


def draw(asked: PageRequest, error: str = "", status: int = 200) -> Page:
    """Return the page with a form for local accounts and a way to the identity provider. `error`: why nobody was let in."""
    provider = asked.gate.rules.oidc
    only_html = {
        "error": error,
        "next": _next(asked.form.get("next") or asked.query.get("next", "")),
        "name": asked.form.get("name", ""),
        "provider": provider.title if provider is not None else "",
        "provider_link": f"{BASE}/sign-in/provider?{urlencode({'next': _next(asked.query.get('next', ''))})}",
    }
    return Page("Sign in", "sign_in.html", {}, only_html, status=status)


def enter(asked: PageRequest) -> Page | Response:
    """Sign in with a local account."""
    form = asked.form
    try:
        session = asked.gate.sign_in(form.get("name", ""), form.get("password", ""), form.get("code", ""))
    except SignInError as error:
        return draw(asked, str(error), 403)
    return _signed_in(asked, session, form.get("next", ""))


def begin(asked: PageRequest) -> Page | Response:
    """Send the person to the identity provider; where it is down, say that a local account still works."""
    if asked.gate.provider is None:
        return draw(asked, "No identity provider is set up", 404)
    try:
        url, cookie = asked.gate.provider.begin(_next(asked.query.get("next", "")))
    except ProviderDownError as error:
        return draw(asked, _down(error), 503)
    return set_cookie(RedirectResponse(url, 303), "sign_in", cookie, tls=asked.gate.tls, seconds=MINUTES * 60)


def end(asked: PageRequest) -> Page | Response:
    """Take back a person whom the identity provider has signed in."""
    provider, tls = asked.gate.provider, asked.gate.tls
    if provider is None:
        return draw(asked, "No identity provider is set up", 404)
    try:
        found = provider.end(cookie_of(asked.cookies, "sign_in", tls=tls), asked.query)
        session = asked.gate.sign_in_from_provider(found.name, found.subject, found.groups)
    except ProviderDownError as error:
        return draw(asked, _down(error), 503)
    except CallbackError as error:
        return draw(asked, f"{error}. Please sign in again", 400)
    except SignInError as error:
        return draw(asked, str(error), 403)
    return set_cookie(_signed_in(asked, session, found.next), "sign_in", "", tls=tls)


def draw_sign_out(_: PageRequest) -> Page:
    """Return the page with the button to sign out."""
    return Page("Sign out", "sign_out.html", {})


def leave(asked: PageRequest) -> Response:
    """Sign out."""
    asked.gate.sign_out(asked.reader, cookie_of(asked.cookies, "session", tls=asked.gate.tls))
    response = set_cookie(RedirectResponse(f"{BASE}/sign-in", 303), "session", "", tls=asked.gate.tls)
    response.headers["clear-site-data"] = '"cache"'
    return response


def _signed_in(asked: PageRequest, session: str, next_page: str) -> Response:
    return set_cookie(RedirectResponse(_next(next_page), 303), "session", session, tls=asked.gate.tls)


def _next(page: str) -> str:
    """Return the page to go on with: one of ours, whatever the address says."""
    ours = page == BASE or page.startswith((f"{BASE}/", f"{BASE}?"))
    return page if ours and "\\" not in page and page.isprintable() and not page.startswith(f"{BASE}/sign-") else BASE


def _down(error: ProviderDownError) -> str:
    return f"{error}. Who is signed in goes on working; a local account can sign in below"


SIGN_IN = PageRoute("/sign-in", draw, "anyone", reads=False, post=enter, post_role="anyone", scoped=True, twins=False)
BEGIN = PageRoute("/sign-in/provider", begin, "anyone", reads=False, scoped=True, twins=False)
END = PageRoute("/sign-in/callback", end, "anyone", reads=False, scoped=True, twins=False)
SIGN_OUT = PageRoute(
    "/sign-out", draw_sign_out, "signed in", reads=False, post=leave, post_role="signed in", scoped=True, twins=False
)
