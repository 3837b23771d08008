"""Read the file that says who may sign in from outside: identity provider, proxy, and what each of their groups may do."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cds_service.access.reader import Reader, Role
from cds_service.settings import SettingsError

_UNSCOPED: frozenset[Role] = frozenset({"auditor", "admin"})  # see no records, so which clients is no question


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The identity provider (OpenID Connect). `name_claim` must be unique there; `ca_file`: authorities of its certificate."""

    issuer: str
    client_id: str
    client_secret_file: str = ""  # none for a public client
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    scope: str = "openid profile"
    title: str = "your hospital account"  # on the button
    ca_file: str = ""


class Proxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proxy that has signed people in: where it calls from, and in which headers it names them and their groups."""

    peers: list[str]
    user_header: str
    groups_header: str = ""
    separator: str = ","

    def sends(self, peer: str) -> bool:
        """Return whether the address is that of the proxy."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in ip_network(one) for one in self.peers)


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the members of one group may do. `clients` and `tenants` as the log names them; without them all."""

    name: str
    roles: list[Role]
    clients: list[str] | None = None
    tenants: list[str] | None = None


class AccessFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Groups in their order: see `reader`."""

    oidc: Provider | None = None
    proxy: Proxy | None = None
    group: list[Group] = []

    def reader(self, name: str, groups: Iterable[str]) -> Reader:
        """Return what a member of `groups` may do; no role without a group of this file.

        The first of the groups that gives a role over records says of which clients and tenants. Further groups add roles only
        where theirs are the same: roles of one scope never reach into another.
        """
        mine = set(groups)
        found = [one for one in self.group if one.name in mine]
        first = next((one for one in found if not _UNSCOPED.issuperset(one.roles)), None)
        roles: set[Role] = set()
        for one in found:
            same = first is not None and (one.clients, one.tenants) == (first.clients, first.tenants)
            roles |= set(one.roles) if same else _UNSCOPED & set(one.roles)
        return Reader(name, frozenset(roles), *(_names(first.clients), _names(first.tenants)) if first else ())


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def load_access_file(path: Path | None, *, dev: bool) -> AccessFile:
    """Read the file, an empty one for None. `dev`: an identity provider on this machine may do without TLS.

    Raises SettingsError, which names the field and what is wrong with it.
    """
    if path is None:
        return AccessFile()
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=AccessFile)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if problems := [*_problems(found, dev)]:
        raise SettingsError("\n".join(f"{path}: {one}" for one in problems))
    return found


def _problems(found: AccessFile, dev: bool) -> Iterable[str]:
    if found.oidc is not None:
        url = urlsplit(found.oidc.issuer)
        local = dev and url.scheme == "http" and url.hostname in ("127.0.0.1", "::1", "localhost")
        if not (url.scheme == "https" or local) or not url.hostname:
            yield "oidc.issuer must be an https URL"
        if "openid" not in found.oidc.scope.split():
            yield "oidc.scope must have the word openid"
    if found.proxy is not None:
        if not found.proxy.peers:
            yield "proxy.peers must list the addresses of the proxy"
        for peer in found.proxy.peers:
            try:
                ip_network(peer)
            except ValueError:
                yield "proxy.peers must be IP addresses or networks, such as 10.0.0.7 or 10.0.0.0/28"
        if not found.proxy.user_header.strip():
            yield "proxy.user_header must name a header"
        if not found.proxy.groups_header:
            yield "proxy.groups_header must name a header: without groups nobody has a role"
    if (found.oidc or found.proxy) and not found.group:
        yield "there is no [[group]]: nobody who signs in would have a role"
    names = [one.name for one in found.group]
    if len(set(names)) < len(names):
        yield "two [[group]] have the same name"
