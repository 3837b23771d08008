"""Check the address of a service: encrypted, with a certificate that EHRs accept."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cds_service.clock import utc_now
from cds_service.doctor.finding import Finding

CERTIFICATE_DAYS = 14


def address(url: str, public_url: str) -> Iterator[Finding]:
    """Check that EHRs may use the address, and that it is the public one."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        yield Finding("address", "ok", "https")
    elif _is_this_machine(parts.hostname or ""):
        yield Finding("address", "ok", "http, reachable from this machine only")
    else:
        mend = "serve it over https, for example behind a reverse proxy; CDS Hooks demands TLS"
        yield Finding("address", "FAIL", "http: tokens and patient data would travel unencrypted", mend)
    if public_url and public_url.rstrip("/") != url:
        mend = "run doctor with the public URL itself too, to check what stands in between"
        yield Finding("public URL", "warning", "differs from the address that is checked here; tokens are made for it", mend)
    elif public_url:
        yield Finding("public URL", "ok", "is the address that is checked here")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def certificate(url: str, trust: ssl.SSLContext) -> Finding:
    """Check that the certificate is trusted, names this host and stays valid.

    The connection must use TLS 1.2 or newer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=10) as plain,
            trust.wrap_socket(plain, server_hostname=host) as secure,
        ):
            shown: Any = secure.getpeercert() or {}
            version = secure.version()
    except ssl.SSLCertVerificationError as error:
        mend = "install a certificate for this host with its whole chain; for an authority of your own: --ca FILE"
        return Finding("certificate", "FAIL", error.verify_message, mend)
    except ssl.SSLError as error:
        return Finding("certificate", "FAIL", f"no TLS connection ({error.reason})", "offer TLS 1.2 or 1.3 on this port")
    except OSError as error:
        return Finding(
            "certificate",
            "FAIL",
            f"no connection ({error.strerror or error})",
            "check that the service runs and the port is open",
        )
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    days = (ends - utc_now()).days
    found = f"{version}, valid for {host} until {ends:%Y-%m-%d}"
    if days < CERTIFICATE_DAYS:
        return Finding("certificate", "warning", found, f"renew it: {days} days are left")
    return Finding("certificate", "ok", found)
