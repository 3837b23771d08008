"""Checks the address of a service: encrypted, with a certificate that EHRs accept."""

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
    """Whether the address is one that EHRs may use, and the one that they are given."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        yield Finding("address", "ok", "https")
    elif _is_this_machine(parts.hostname or ""):
        yield Finding("address", "ok", "http, and only this machine can reach it")
    else:
        mend = "serve it over https, for example behind a reverse proxy; CDS Hooks demands TLS"
        yield Finding("address", "FAIL", "http: tokens and patient data would travel readable", mend)
    if public_url and public_url.rstrip("/") != url:
        mend = "check the public URL itself: tokens are compared with it (`aud`), and EHRs are told it"
        yield Finding("public URL", "warning", "it is not the address that is checked here", mend)
    elif public_url:
        yield Finding("public URL", "ok", "it is the address that is checked here")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def certificate(url: str, trust: ssl.SSLContext) -> Finding:
    """Whether the certificate is trusted, is for this host and stays valid for a while; TLS 1.2 or newer."""
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
            "certificate", "FAIL", f"no connection ({error.strerror or error})", "see whether it runs and the port is open"
        )
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    days = (ends - utc_now()).days
    found = f"{version}, valid for {host} until {ends:%Y-%m-%d}"
    if days < CERTIFICATE_DAYS:
        return Finding("certificate", "warning", found, f"renew it: {days} days are left")
    return Finding("certificate", "ok", found)
