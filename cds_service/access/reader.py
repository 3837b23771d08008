"""Define who reads the pages of the quality team, and what a role may do."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args
from unicodedata import normalize

import msgspec

Role: TypeAlias = Literal["viewer", "reviewer", "rule owner", "auditor", "admin"]
# What a page asks for: a role, any reader, or nothing (the page to sign in).
Access: TypeAlias = Role | Literal["signed in", "anyone"]

ROLES: tuple[Role, ...] = get_args(Role)
ACCESSES: tuple[Access, ...] = (*ROLES, "signed in", "anyone")
# Roles that a role includes. Auditors and admins stand apart: who watches or appoints readers sees no patients by that.
_INCLUDED: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "reviewer": frozenset({"viewer", "reviewer"}),
    "rule owner": frozenset({"viewer", "reviewer", "rule owner"}),
    "auditor": frozenset({"auditor"}),
    "admin": frozenset({"admin"}),
}


MOST_NAME = 60  # characters


class RoleError(Exception):
    """Raised where a reader lacks the role that a page asks for. The text is for the reader."""

    def __init__(self, access: Access) -> None:
        super().__init__(f"This page needs the role {access}, which an admin can give you")


class Reader(msgspec.Struct, frozen=True):
    """One person who reads the pages.

    `clients` and `tenants` are those whose records are shown; None for all. `verified`: somebody signed in; without it (dev
    profile without accounts) the name is what was typed, "" before that.
    """

    name: str
    roles: frozenset[Role] = frozenset()
    clients: frozenset[str] | None = None
    tenants: frozenset[str] | None = None
    verified: bool = True

    def may(self, access: Access) -> bool:
        """Return whether this reader has what a page asks for."""
        if access in ("anyone", "signed in"):
            return True
        return any(access in _INCLUDED[role] for role in self.roles)

    @property
    def scoped(self) -> bool:
        """Whether this reader may see the records of some clients or tenants only."""
        return self.clients is not None or self.tenants is not None

    def require(self, access: Access) -> None:
        """Raise RoleError where this reader lacks what a page asks for."""
        if not self.may(access):
            raise RoleError(access)


def usable_name(text: str) -> str:
    """Return a person's name as it is kept, in NFC, runs of white space as one blank. Raises ValueError for one that can't be."""
    name = normalize("NFC", " ".join(text.split()))
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise ValueError(f"Give a name of 1 to {MOST_NAME} characters")
    return name


def typed_reader(name: str) -> Reader:
    """Return the reader of a dev process without accounts: the name that was typed, with every role."""
    return Reader(name, frozenset(ROLES), verified=False)
