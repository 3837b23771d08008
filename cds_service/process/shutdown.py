"""End a process in three steps: report "not ready", take no more calls, answer the calls under way.

The server closes its port as soon as it gets SIGTERM. A load balancer or proxy in front of it learns from `/health/ready` only at
its next poll, and until then its calls would be refused. So the signal is delayed.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def delay_sigterm(seconds: float, on_signal: Callable[[], None]) -> Iterator[None]:
    """Within the context, call `on_signal` at SIGTERM, and the server's own handler `seconds` later.

    A second SIGTERM changes nothing: systemd signals every process, and the parent of several workers signals them again.

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

    def begin(*_: object) -> None:
        nonlocal ending
        if ending:
            return
        ending = True
        on_signal()
        if seconds:
            loop.call_soon_threadsafe(loop.call_later, seconds, end)
        else:
            end()

    signal.signal(signal.SIGTERM, begin)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
