"""Keep the local accounts: for sites without an identity provider, and for an admin while it is down."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from cds_service.access import identities, sessions
from cds_service.access.passwords import hashed
from cds_service.access.reader import Reader, Role, usable_name
from cds_service.access.second_factor import new_secret
from cds_service.database import Database

SOURCE = "local"


class AccountError(ValueError):
    """Raised for a change of accounts that can't be made. The text is for the admin."""


class Account(msgspec.Struct, frozen=True):
    """One local account, without its secrets."""

    name: str
    roles: frozenset[Role]
    clients: frozenset[str] | None
    tenants: frozenset[str] | None
    disabled: bool

    @property
    def reader(self) -> Reader:
        """Return what the account may do."""
        return Reader(self.name, self.roles, self.clients, self.tenants)


def add_account(
    database: Database,
    name: str,
    password: str,
    roles: Collection[Role],
    clients: Iterable[str] | None,
    tenants: Iterable[str] | None,
    *,
    at: int,
) -> str:
    """Make an account and return the secret of its second factor. `at`: µs since 1970.

    Raises AccountError, ValueError for a name, PasswordError, IdentityError where the name is that of somebody else.
    """
    name = usable_name(name)
    if find_account(database, name) is not None:
        raise AccountError(f"There is an account {name} already")
    _expect_roles(roles)
    known, secret = hashed(password, name), new_secret()
    with database.transaction():
        identities.claim(database, name, SOURCE, name)
        database.execute(
            "INSERT INTO review.account (name, password, totp, totp_step, roles, clients, tenants, disabled, made_at) "
            "VALUES (:name, :password, :totp, 0, :roles, :clients, :tenants, 0, :at)",
            name=name,
            password=known,
            totp=secret,
            roles=_json(roles),
            at=at,
            clients=_json(clients),
            tenants=_json(tenants),
        )
    return secret


def accounts(database: Database) -> list[Account]:
    """Return all accounts by name."""
    return [_account(row) for row in database.rows("SELECT * FROM review.account ORDER BY name")]


def find_account(database: Database, name: str) -> Account | None:
    """Return the account of this name, disabled or not."""
    row = database.one("SELECT * FROM review.account WHERE name = :name", name=name)
    return _account(row) if row is not None else None


def change_roles(
    database: Database,
    name: str,
    roles: Collection[Role],
    clients: Iterable[str] | None,
    tenants: Iterable[str] | None,
) -> None:
    """Give an account other roles and end its sessions. Raises AccountError."""
    _expect_roles(roles)
    values = {"roles": _json(roles), "clients": _json(clients), "tenants": _json(tenants)}
    _change(database, name, "roles = :roles, clients = :clients, tenants = :tenants", values)


def disable(database: Database, name: str) -> None:
    """Let an account sign in no more and end its sessions; `reset` lets it in again. Raises AccountError."""
    _change(database, name, "disabled = 1", {})


def reset(database: Database, name: str, password: str) -> str:
    """Give an account a new password and second factor, end its sessions, forget failed tries; return the new secret.

    Raises AccountError, PasswordError.
    """
    secret = new_secret()
    values = {"password": hashed(password, name), "totp": secret}
    _change(database, name, "password = :password, totp = :totp, totp_step = 0, disabled = 0", values)
    return secret


def has_admin(database: Database) -> bool:
    """Return whether an account that may sign in is an admin's."""
    return any("admin" in one.roles and not one.disabled for one in accounts(database))


def _change(database: Database, name: str, what: str, values: dict[str, Any]) -> None:
    with database.transaction():
        if not database.execute(f"UPDATE review.account SET {what} WHERE name = :name", name=name, **values):  # noqa: S608 - our words
            raise AccountError(f"There is no account {name}")
        sessions.end_all(database, name)


def _expect_roles(roles: Collection[Role]) -> None:
    if not roles:
        raise AccountError("An account needs a role")


def _account(row: dict[str, Any]) -> Account:
    clients, tenants = (
        None if row[name] is None else frozenset(msgspec.json.decode(row[name])) for name in ("clients", "tenants")
    )
    return Account(row["name"], frozenset(msgspec.json.decode(row["roles"])), clients, tenants, bool(row["disabled"]))


def _json(names: Iterable[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(sorted(names)).decode()
