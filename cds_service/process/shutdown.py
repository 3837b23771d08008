"""The end of a process: first it says that it is not ready, then it takes no more calls, then it answers those under way.

The server closes its port as soon as it is told to end (SIGTERM). What stands before it, a load balancer or a proxy, learns from
`/health/ready` only at its next look; until then its calls would be refused. So the signal is held back for a moment.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back(seconds: float, told: Callable[[], None]) -> Iterator[None]:
    """Within it, SIGTERM calls `told` at once and reaches the server's own handler `seconds` later.

    A second one changes nothing: systemd tells every process, and the parent of several workers tells them again.

    For the thread and the event loop that a server runs in. Does nothing where no server has set a handler.
    """
    handler = signal.getsignal(signal.SIGTERM) if threading.current_thread() is threading.main_thread() else None
    if not callable(handler):
        yield
        return
    loop = asyncio.get_running_loop()
    ending = False

    def end() -> None:
        handler(signal.SIGTERM, None)

    def on_signal(*_: object) -> None:
        nonlocal ending
        if ending:
            return
        ending = True
        told()
        if seconds:
            loop.call_soon_threadsafe(loop.call_later, seconds, end)
        else:
            end()

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
