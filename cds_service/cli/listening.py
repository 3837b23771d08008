"""Look at the address that a server process is to listen on."""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address

from cds_service.settings import SettingsError


def require_free_port(host: str, port: int) -> None:
    """Raise SettingsError where another program listens on `host`:`port`, before the start screen is printed."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"{host}:{port} is in use by another program; choose another port with --port") from None


def warn_where_others_reach(host: str) -> None:
    """Print a warning where the dev profile listens on more than this machine."""
    if not _is_loopback(host):
        print(_OPEN_TO_THE_NETWORK.format(host=host), file=sys.stderr, flush=True)


_OPEN_TO_THE_NETWORK = """
WARNING: the dev profile listens on {host}, which other machines may reach. It is made for one machine: browser pages of any
origin may call it, and without CDS_CLIENTS_FILE any program may too. Never use it with data of real patients.
"""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
