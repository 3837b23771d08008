"""Make the page of people: who may sign in with a local account, and which records are held. For admins."""

from __future__ import annotations

from starlette.responses import Response

from cds_service.access.accounts import AccountError, accounts, disable
from cds_service.access.sessions import end_all, sessions_by_name
from cds_service.retention.holds import holds
from cds_service.review.page import BadFormError, Page, PageRequest, PageRoute, see_other


def draw(asked: PageRequest) -> Page:
    """Return the accounts, everybody's sessions, and the legal holds."""
    people = [
        {
            "name": one.name,
            "roles": sorted(one.roles),
            "clients": None if one.clients is None else sorted(one.clients),
            "tenants": None if one.tenants is None else sorted(one.tenants),
            "disabled": one.disabled,
        }
        for one in accounts(asked.database)
    ]
    signed_in = [{"name": name, "source": source, "sessions": n} for name, source, n in sessions_by_name(asked.database)]
    data = {
        "accounts": people,
        "signed_in": signed_in,
        "holds": [{"id": one.id, "kind": one.kind, "reason": one.reason} for one in holds(asked.database)],
        "keep_days": asked.settings.keep_days,
        "keep_sealed_days": asked.settings.keep_sealed_days,
    }
    return Page("People", "people.html", data)


def change(asked: PageRequest) -> Response:
    """Disable an account, or end all sessions of a person. Raises BadFormError, AuditError."""
    name, action = asked.form.get("name", ""), asked.form.get("action", "")
    if action == "disable":
        if name == asked.reader.name:
            raise BadFormError("You can't disable your own account")
        asked.audit("disable account", name)
        try:
            disable(asked.database, name)
        except AccountError as error:
            raise BadFormError(str(error)) from None
    elif action == "end":
        asked.audit("end sessions", name)
        end_all(asked.database, name)
    else:
        raise BadFormError("Choose what to do with the account")
    return see_other("/people")


ROUTE = PageRoute("/people", draw, "admin", nav="People", post=change, post_role="admin")
