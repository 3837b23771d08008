"""Make the page that says why there is no other."""

from __future__ import annotations

from cds_service.access.audit import AuditError
from cds_service.access.local_sign_in import SignInError
from cds_service.access.reader import Reader, RoleError
from cds_service.database import DatabaseError, OutOfScopeError, StatementTooLongError
from cds_service.review.page import BadFormError, Page, PageNotFoundError, ScopeError
from cds_service.rollups.filter import FilterError


class FormTokenError(Exception):
    """Raised for a form that was not drawn for this browser and session."""


def expect_scope(reader: Reader, scoped: bool) -> None:
    """Raise ScopeError where a page is for readers of all clients and this one is not; `scoped`: see `PageRoute`."""
    if reader.scoped and not scoped:
        raise ScopeError


# What a page may raise, and `message` can tell.
TOLD = (
    *(RoleError, ScopeError, FormTokenError, SignInError, AuditError),
    *(PageNotFoundError, BadFormError, FilterError, DatabaseError),
)


def message(error: Exception, away_since: str = "") -> Page:
    """Return the page for one of TOLD. `away_since`: the moment from which on pages found no database."""
    match error:
        case RoleError() | SignInError():
            return _page("Not for your role" if isinstance(error, RoleError) else "Not signed in", str(error), 403)
        case ScopeError() | OutOfScopeError():
            return _page("Not for your clients", str(error if isinstance(error, ScopeError) else ScopeError()), 403)
        case FormTokenError():
            text = "This form was not drawn for this browser, or you have signed in or out since. Load its page again"
            return _page("This form is no longer good", text, 403)
        case AuditError():
            return _page("Nothing was shown", str(error), 503)
        case PageNotFoundError():
            return _page("Not here", str(error), 404)
        case BadFormError() | FilterError():
            return _page("This could not be used", str(error), 400)
        case StatementTooLongError():
            text = (
                f"This would have taken more than {error.limit_ms / 1000:g} seconds and was stopped, so that the log stays free "
                "for calls. Choose a shorter period, or one card or client."
            )
            return _page("Too much at once", text, 503)
    since = f". Not reached since {away_since} or earlier; no older figure is shown in its place" if away_since else ""
    return _page("The log cannot be read now", f"{error}{since}", 503)


def _page(title: str, text: str, status: int) -> Page:
    return Page(title, "message.html", {"message": text}, status=status)
