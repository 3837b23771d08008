"""Run `cds-service doctor URL`: print one line per check, and what to change."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cds_service.doctor.finding import Finding

TOKEN_VARIABLE = "CDS_DOCTOR_FHIR_TOKEN"  # noqa: S105 (the name of a variable)


def add_doctor_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `doctor` to the commands."""
    doctor = commands.add_parser(
        "doctor",
        help="check a running service from outside, as an EHR would",
        description="Check a running service from outside, as an EHR would, and say what to change. It sends a few calls and one "
        "feedback about a patient who does not exist; the service records them in its alert log.",
        epilog=f"{TOKEN_VARIABLE} holds an access token for --fhir-base, where that needs one. "
        "Exit status: 0 nothing failed, 1 something did, 2 wrong use.",
    )
    doctor.add_argument("url", metavar="URL", help="URL of the service, with or without /cds-services")
    doctor.add_argument("--public-url", default="", help="the URL that EHRs are configured with; tokens are made for it")
    doctor.add_argument("--origin", default="", help="origin of a web page that calls the service, to check CORS")
    doctor.add_argument("--key", type=Path, metavar="FILE", help="private key of a client, JWK or PEM, to sign calls")
    doctor.add_argument("--iss", default="", help="issuer of the tokens, with --key")
    doctor.add_argument("--kid", default="", help="id of the key, if the JWK has none")
    doctor.add_argument(
        "--alg", default="", help="signature algorithm; default: as the key states or implies, such as ES384 or RS384"
    )
    doctor.add_argument("--aud", default="", help="audience of the tokens; default: the URL that EHRs call")
    doctor.add_argument("--jku", default="", help="URL of the client's public keys, for the header of the tokens")
    doctor.add_argument(
        "--fhir-base", default="", help="base URL of a FHIR server to query as the service does for data that was not sent"
    )
    doctor.add_argument("--patient", default="", help="id of a test patient on it, to try each prefetch query")
    doctor.add_argument(
        "--ca", type=Path, metavar="FILE", help="PEM file of a certificate authority of your own, trusted in addition"
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    import ssl

    import httpx2
    import msgspec

    from cds_service.doctor.fhir import examine_fhir
    from cds_service.doctor.finding import failed
    from cds_service.doctor.service import Checkup, Target, base_of
    from cds_service.doctor.token import KeyFileError, load_signer

    if not options.url.startswith(("http://", "https://")) or bool(options.key) != bool(options.iss):
        print("URL must begin with http:// or https://, and --key and --iss must be given together", file=sys.stderr)
        return 2
    trust = ssl.create_default_context()
    try:
        if options.ca is not None:
            trust.load_verify_locations(options.ca)
        names = {name: getattr(options, name) for name in ("iss", "kid", "alg", "aud", "jku")}
        signer = load_signer(options.key, **names) if options.key is not None else None
    except (KeyFileError, ssl.SSLError) as error:
        print(f"{options.key or options.ca}: {error}", file=sys.stderr)
        return 2
    target = Target(url=base_of(options.url), public_url=options.public_url, origin=options.origin, signer=signer)
    with httpx2.Client(verify=trust, timeout=10, trust_env=False) as http:
        checkup = Checkup(target, http, trust)
        findings = _printed(checkup.findings(), quiet=options.json)
        if options.fhir_base:
            token = os.environ.get(TOKEN_VARIABLE, "")
            of_fhir = examine_fhir(options.fhir_base, checkup.templates, options.patient, token, http)
            findings += _printed(of_fhir, quiet=options.json)
    if options.json:
        result = {"url": target.url, "failed": failed(findings), "findings": [msgspec.structs.asdict(one) for one in findings]}
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    return 1 if failed(findings) else 0


def _printed(findings: Iterable[Finding], *, quiet: bool) -> list[Finding]:
    """Collect the findings; unless `quiet`, print each as soon as it is made."""
    found = []
    for one in findings:
        found.append(one)
        if not quiet:
            mend = f". {one.mend[0].upper()}{one.mend[1:]}." if one.mend else ""
            line = f"{one.level:8} {one.check}: {one.found}{mend}"
            print("".join(char if char.isprintable() else "?" for char in line), flush=True)  # ids come from the server
    return found
