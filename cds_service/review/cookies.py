"""Name, set and read the cookies of sign-in: the session, the browser that forms are drawn for, a sign-in that has begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from starlette.responses import Response

Cookie: TypeAlias = Literal["session", "browser", "sign_in"]


def cookie_of(cookies: Mapping[str, str], kind: Cookie, *, tls: bool) -> str:
    """Return the value of a cookie, "" where the browser sent none."""
    return cookies.get(_name(kind, tls), "")


def set_cookie(response: Response, kind: Cookie, value: str, *, tls: bool, seconds: int | None = None) -> Response:
    """Set a cookie that scripts can't read and other sites don't send along; "" deletes it.

    `tls`: the browser sends it over TLS only and takes it from this host only (`__Host-`). `seconds`: None until the browser is
    closed.
    """
    age = 0 if not value else seconds
    response.set_cookie(_name(kind, tls), value, max_age=age, path="/", secure=tls, httponly=True, samesite="lax")
    return response


def _name(kind: Cookie, tls: bool) -> str:
    return f"{'__Host-' if tls else ''}cds_{kind}"
