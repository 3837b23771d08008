"""Open a page in the person's browser as soon as a service answers there: `python -m cds_service.cli.browser URL`.

A process of its own, because the one that serves has other things to do, and its parent of workers may have no threads.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from urllib.parse import urlsplit

_LIMIT, _PAUSE = 30.0, 0.1  # seconds


def open_later(url: str) -> None:
    """Start the process that opens `url`, and go on."""
    if not _has_screen():
        print(f"--open: this terminal has no browser; open {url}", file=sys.stderr, flush=True)
        return
    subprocess.Popen(  # noqa: S603 - this very interpreter and module
        [sys.executable, "-m", "cds_service.cli.browser", url], stdin=subprocess.DEVNULL, start_new_session=True
    )


def open_when_served(url: str, show: Callable[[str], bool] = webbrowser.open, limit: float = _LIMIT) -> bool:
    """Wait up to `limit` seconds for something to listen at the host and port of `url`, then open it.

    Returns False where nothing listens or no browser is there.
    """
    address = urlsplit(url)
    until = time.monotonic() + limit
    while time.monotonic() < until:
        try:
            socket.create_connection((address.hostname or "", address.port or 80), timeout=1).close()
        except OSError:
            time.sleep(_PAUSE)
        else:
            return show(url)
    return False


def _has_screen() -> bool:
    """Tell whether a browser would get a window; a text browser would take the terminal of the service."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    if not open_when_served(sys.argv[1]):
        print(f"--open: no browser could be started; open {sys.argv[1]}", file=sys.stderr)
