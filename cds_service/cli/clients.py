"""Run `cds-service clients check`: check the registry of EHR clients, or summarise it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.settings import SettingsError, load_settings

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
    problems = [f'client "{client.name}": {problem}' for client in clients for problem in client_problems(client)]
    if not clients:
        problems.append("no [[client]] is registered")
    for problem in problems:
        print(f"production will not start: {problem}")
    print(f"{len(clients)} client{'' if len(clients) == 1 else 's'} in {path}")
    return 1 if not clients or (problems and settings.profile == "production") else 0


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
