"""Run `cds-service users …`: the local accounts of the review pages, and names."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from cds_service.database import Database

_ROLES = ("viewer", "reviewer", "rule owner", "auditor", "admin")


def add_users_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands under `users`."""
    users = commands.add_parser("users", help="who may sign in to the review pages with a local account").add_subparsers(
        required=True, metavar="COMMAND"
    )
    add = users.add_parser("add", help="make an account; prints the address for its authenticator app, once")
    _add_name(add, _add)
    _add_rights(add)
    _add_password(add)
    roles = users.add_parser("roles", help="give an account other roles, clients and tenants; ends its sessions")
    _add_name(roles, _roles)
    _add_rights(roles)
    reset = users.add_parser("reset", help="give an account a new password and second factor, and let it in again")
    _add_name(reset, _reset)
    _add_password(reset)
    _add_name(users.add_parser("disable", help="let an account in no more; ends its sessions"), _disable)
    _add_name(users.add_parser("sign-out", help="end all sessions of a person, wherever they signed in"), _sign_out)
    release = users.add_parser("release", help="free a name, so that another person or another way to sign in can have it")
    _add_name(release, _release)
    users.add_parser("list", help="list the accounts and what they may do").set_defaults(run=_list)


def _add_name(command: argparse.ArgumentParser, run: object) -> None:
    command.add_argument("name", metavar="NAME", help="the name of the person")
    command.set_defaults(run=run)


def _add_rights(command: argparse.ArgumentParser) -> None:
    command.add_argument("--role", action="append", required=True, choices=_ROLES, help="may be given more than once")
    command.add_argument("--client", action="append", help="only records of this EHR client; may be given more than once")
    command.add_argument("--tenant", action="append", help="only records of this tenant; may be given more than once")


def _add_password(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--password-file", type=Path, metavar="FILE", help="read the password from a file; without it, it is asked for"
    )


def _add(options: argparse.Namespace) -> int:
    from cds_service.access.accounts import add_account
    from cds_service.access.reader import usable_name
    from cds_service.access.second_factor import setup_uri

    with _review(load_settings()) as database:
        name, password = usable_name(options.name), _password(options)
        _audit(database, "add account", name, {"roles": options.role, "clients": options.client, "tenants": options.tenant})
        secret = add_account(database, name, password, options.role, options.client, options.tenant, at=_now())
    print(f"{name} can sign in once an authenticator app has this address, which is not shown again:\n{setup_uri(secret, name)}")
    return 0


def _roles(options: argparse.Namespace) -> int:
    from cds_service.access.accounts import change_roles

    with _review(load_settings()) as database:
        rights = {"roles": options.role, "clients": options.client, "tenants": options.tenant}
        _audit(database, "change roles", options.name, rights)
        change_roles(database, options.name, options.role, options.client, options.tenant)
    print(f"{options.name}: {', '.join(options.role)}")
    return 0


def _reset(options: argparse.Namespace) -> int:
    from cds_service.access.accounts import reset
    from cds_service.access.local_sign_in import forget_failures
    from cds_service.access.second_factor import setup_uri

    with _review(load_settings()) as database:
        password = _password(options)
        _audit(database, "reset account", options.name)
        secret = reset(database, options.name, password)
        forget_failures(database, options.name)
    print(f"{options.name} has a new password and a new address for the app:\n{setup_uri(secret, options.name)}")
    return 0


def _disable(options: argparse.Namespace) -> int:
    from cds_service.access.accounts import disable, has_admin

    with _review(load_settings()) as database:
        _audit(database, "disable account", options.name)
        disable(database, options.name)
        if not has_admin(database):
            print("there is no admin left: the pages will not start in production", file=sys.stderr)
    print(f"{options.name} can't sign in any more")
    return 0


def _sign_out(options: argparse.Namespace) -> int:
    from cds_service.access.sessions import end_all

    with _review(load_settings()) as database:
        _audit(database, "end sessions", options.name)
        ended = end_all(database, options.name)
    print(f"{ended} session{'' if ended == 1 else 's'} ended")
    return 0


def _release(options: argparse.Namespace) -> int:
    from cds_service.access.accounts import find_account
    from cds_service.access.identities import release
    from cds_service.access.sessions import end_all

    with _review(load_settings()) as database:
        account = find_account(database, options.name)
        if account is not None and not account.disabled:
            raise SettingsError(f"{options.name} has a local account: disable it first")
        _audit(database, "release name", options.name)
        freed = release(database, options.name)
        end_all(database, options.name)
    print(f"{options.name} is free" if freed else f"{options.name} belonged to nobody")
    return 0 if freed else 1


def _list(_: argparse.Namespace) -> int:
    from cds_service.access.accounts import accounts

    with _review(load_settings()) as database:
        found = accounts(database)
    for one in found:
        scope = [
            f"{word}: {', '.join(sorted(names))}" for word, names in (("clients", one.clients), ("tenants", one.tenants)) if names
        ]
        print("; ".join([f"{one.name}{' (disabled)' if one.disabled else ''}: {', '.join(sorted(one.roles))}", *scope]))
    print(f"{len(found)} account{'' if len(found) == 1 else 's'}")
    return 0


@contextmanager
def _review(settings: Settings) -> Iterator[Database]:
    """Open the review database. Raises SettingsError for whatever can't be done, with the text for the admin."""
    from cds_service.access.audit import AuditError
    from cds_service.database import DatabaseError, open_site_database

    try:
        with closing(open_site_database(settings, limit_ms=None, writes_review=True)) as database:
            yield database
    except (DatabaseError, AuditError, ValueError) as error:
        raise SettingsError(str(error)) from None


def _audit(database: Database, action: str, name: str, detail: dict[str, Any] | None = None) -> None:
    from cds_service.access.audit import append

    append(database, _now(), f"os:{getpass.getuser()}", action, name, detail=detail)


def _now() -> int:
    from cds_service.alert_log.instants import micros
    from cds_service.clock import utc_now

    return micros(utc_now())


def _password(options: argparse.Namespace) -> str:
    if options.password_file is not None:
        return str(options.password_file.read_text().rstrip("\r\n"))
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise SettingsError("These were two different passwords")
    return password
