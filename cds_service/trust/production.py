"""Check the settings and clients before the service starts, and report every problem at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log2

from cds_service.settings import Settings
from cds_service.trust.client_fields import is_private
from cds_service.trust.registry import Client, presets, published_keys

MINIMUM_BITS = 80  # estimated from the characters of a secret; 32 random hex digits come to about 110
_KNOWN_WORDS = ("changeme", "change-me", "change_me", "password", "passwort", "default", "example", "secret", "qwerty")
_RUNS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "9876543210", "zyxwvutsrqponmlkjihgfedcba")
_LONGEST_RUN = 6  # characters in a row that count up or down


def start_problems(settings: Settings, clients: Sequence[Client]) -> list[str]:
    """Return why the production profile may not start with these settings and clients, without repeating a secret."""
    problems = []
    if weak := weak_secret(settings.hash_secret):
        problems.append(f"CDS_HASH_SECRET {weak}; make one: python3 -c 'import secrets; print(secrets.token_hex(32))'")
    if settings.reveal_key and (weak := weak_secret(settings.reveal_key)):
        problems.append(f"CDS_REVEAL_KEY {weak}; make one as CDS_HASH_SECRET is made")
    if not settings.public_url.startswith("https://"):
        problems.append("CDS_PUBLIC_URL must be the https URL under which EHRs reach this service")
    if not clients:
        problems.append(
            "no EHR client is registered: CDS_CLIENTS_FILE must name a file with at least one (`cds-service clients`)"
        )
    for client in clients:
        problems += [f'client "{client.name}": {one}' for one in client_problems(client)]
    return problems


def unaddressed(settings: Settings, clients: Sequence[Client]) -> list[str]:
    """Return the problems of clients whose tokens can't be compared with a URL, in any profile."""
    if settings.public_url:
        return []
    return [
        f'CDS_PUBLIC_URL is needed: client "{client.name}" has no `audiences` of its own, so its tokens are made for the '
        "URLs under which EHRs reach this service"
        for client in clients
        if not client.audiences
    ]


def client_problems(client: Client) -> list[str]:
    """Return the problems of a client that production refuses and development accepts."""
    sandbox = presets()["sandbox"]
    problems = []
    if client.iss == sandbox["iss"] or client.preset == "sandbox":
        problems.append("is the public sandbox, whose private key is published, so any caller could sign its tokens")
    elif client.jku == sandbox["jku"] or (
        client.pinned is not None and any(key.thumbprint in published_keys() for key in client.pinned.keys)
    ):
        problems.append("uses the public sandbox's key, whose private half is published, so any caller could sign its tokens")
    urls: Iterable[tuple[str, str]] = [("jku", client.jku), *(("fhir_bases", base.url) for base in client.fhir_bases or ())]
    problems += [f"{key} must be an https URL" for key, url in urls if url and not url.startswith("https://")]
    if client.fhir_bases is None:
        problems.append('fhir_bases must name the FHIR servers of this client; "any" is for the dev profile')
    problems += ["origins must be https pages" for one in client.origins if not one.startswith("https://")]
    if client.jku and client.pinned is None and is_private(client.jku) and not client.jku_private:
        problems.append("jku is not a public address; if that is intended, set jku_private = true")
    return problems


def weak_secret(secret: str) -> str:
    """Say what makes a secret weak, without repeating it; "" for one that looks random. An estimate, no proof."""
    if not secret:
        return "is required"
    lower = secret.lower()
    if any(word in lower for word in _KNOWN_WORDS):
        return "holds a word that secrets of examples hold"
    if secret in (secret + secret)[1:-1]:
        return "repeats itself"
    if any(run[n : n + _LONGEST_RUN] in lower for run in _RUNS for n in range(len(run) - _LONGEST_RUN + 1)):
        return "counts up or down"
    if re.search(r"(.)\1{7}", secret):
        return "has one character many times in a row"
    counts = Counter(secret)
    bits = -sum(count * log2(count / len(secret)) for count in counts.values())
    return "is too easy to guess" if bits < MINIMUM_BITS else ""
