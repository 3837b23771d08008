"""Run `cds-service clients`: check the registry of EHR clients, make keys and tokens to test with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from cds_service.trust.registry import Client


def add_clients_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands under `clients`."""
    clients = commands.add_parser("clients", help="the EHR clients that may call").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = clients.add_parser("check", help="list every problem of the registry with its line, or summarise it")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a registry; default: that of CDS_CLIENTS_FILE")
    check.set_defaults(run=_check)
    new_key = clients.add_parser(
        "new-key", help="make a key pair for a test client: a private JWK, and the public half to register"
    )
    new_key.add_argument("file", type=Path, metavar="FILE", help="where the private key is written (mode 0600); must not exist")
    new_key.add_argument("--alg", default="ES384", choices=["ES384", "ES256", "ES512", "RS384", "RS256", "PS384"])
    new_key.add_argument("--kid", default="", help="id of the key; default: its thumbprint")
    new_key.set_defaults(run=_new_key)
    token = clients.add_parser("token", help="print a signed token of a registered client, valid for one call")
    token.add_argument("client", metavar="NAME", help="name of the client in the registry")
    token.add_argument("--key", type=Path, required=True, metavar="FILE", help="its private key, JWK or PEM")
    token.add_argument("--kid", default="", help="id of the key, if the file has none")
    token.add_argument("--for", dest="path", default="", metavar="PATH", help=_FOR_HELP)
    token.add_argument("--tenant", default="", help="where the client has several")
    token.set_defaults(run=_token)


_FOR_HELP = "what is called, below /cds-services: the id of a service, or ID/feedback; default: discovery"


def _check(options: argparse.Namespace) -> int:
    from cds_service.trust.production import client_problems
    from cds_service.trust.registry import load_registry

    settings = load_settings()
    path: Path | None = options.file or settings.clients_file
    if path is None:
        print("no registry: name its file, or set CDS_CLIENTS_FILE", file=sys.stderr)
        return 2
    try:
        clients = load_registry(path)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    for client in clients:
        print(_summary(client, settings.public_url))
    refused = _refused(settings, clients)
    for problem in refused:
        print(f"the service will not start: {problem}")
    if settings.profile != "production":
        later = [f'client "{client.name}": {problem}' for client in clients for problem in client_problems(client)]
        for problem in later:
            print(f"production will not start: {problem}")
    print(f"{len(clients)} client{'' if len(clients) == 1 else 's'} in {path}")
    return 1 if refused else 0


def _refused(settings: Settings, clients: Sequence[Client]) -> list[str]:
    """Return why `serve` would not start with these settings and clients."""
    from cds_service.knowledge.site_knowledge import load_knowledge
    from cds_service.trust.production import start_problems, unaddressed

    if settings.profile == "production":
        problems = start_problems(settings, clients)
    else:
        problems = unaddressed(settings, clients) if clients else ["no [[client]] is registered"]
    known = {"", *load_knowledge(settings, before_approval=True).dialects}
    asked = sorted({client.preset for client in clients} - known)
    return problems + [f"no dialect `{dialect}` in the cards, which a client's preset asks for" for dialect in asked]


def _new_key(options: argparse.Namespace) -> int:
    import msgspec

    from cds_service.doctor.client_keys import new_key

    private, public = new_key(options.alg, options.kid)
    try:
        descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{options.file} exists; a key is never overwritten", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(private)) + b"\n")
    print(f"# The private key is in {options.file}: for tests, never for an EHR with patients. In the registry:")
    print(f"algorithms = [\"{options.alg}\"]\njwks = '''\n{msgspec.json.encode({'keys': [public]}).decode()}\n'''")
    return 0


def _token(options: argparse.Namespace) -> int:
    from cds_service.doctor.client_keys import client_token
    from cds_service.doctor.token import KeyFileError
    from cds_service.trust.registry import load_registry

    settings = load_settings()
    if settings.clients_file is None:
        print("no registry: set CDS_CLIENTS_FILE", file=sys.stderr)
        return 2
    client = next((one for one in load_registry(settings.clients_file) if one.name == options.client), None)
    if client is None:
        print(f'no client "{options.client}" in {settings.clients_file}', file=sys.stderr)
        return 1
    path = f"/{options.path.strip('/')}" if options.path else ""
    try:
        print(client_token(client, options.key, settings.public_url, path, kid=options.kid, tenant=options.tenant))
    except KeyFileError as error:
        print(f"{options.key}: {error}", file=sys.stderr)
        return 1
    return 0


def _summary(client: Client, public_url: str) -> str:
    from cds_service.trust.registry import presets

    preset = presets().get(client.preset)
    if client.pinned is not None:
        keys = "in the registry: " + ", ".join(f"{key.kid} ({key.curve or key.type})" for key in client.pinned.keys)
    else:
        keys = f"from {client.jku}{' (may be a private address)' if client.jku_private else ''}"
    if client.fhir_bases is None:
        bases = "any"
    else:
        bases = (
            ", ".join(f"{one.url}{' (private)' if one.private else ''}" for one in client.fhir_bases)
            or "none: data is taken from prefetch only"
        )
    rows = [
        ("issuer", client.iss),
        ("keys", keys),
        ("algorithms", ", ".join(client.algorithms)),
        ("audiences", ", ".join(client.audiences) or f"the URLs under {public_url or 'CDS_PUBLIC_URL, which is not set'}"),
        ("token life", f"at most {client.max_life_s} s"),
        ("tenants", ", ".join(client.tenants) or "none"),
        ("FHIR servers", bases),
        ("hooks", ", ".join(client.hooks) or "all"),
        ("browser pages", ", ".join(client.origins) or "none"),
        *([("deadline", f"{client.deadline_ms} ms")] if client.deadline_ms is not None else []),
        *([("EHR", f"{preset['title']}: {preset['sends'].strip()}"), ("", preset["source"])] if preset is not None else []),
    ]
    return "\n".join([client.name, *(f"  {label:14} {text}" for label, text in rows), ""])
