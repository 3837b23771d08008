"""A parent of two workers that serve nothing: each writes a line, and waits for SIGTERM.

Arguments: what the first ones do and what those do that SIGHUP loads, each one of `good`, `late`, `broken`, `refused`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from uvicorn.config import STARTUP_FAILURE

from cds_service.process import workers
from cds_service.telemetry.log_lines import configure_logging


def serve(kind: str) -> workers.Serve:
    def work(show_life: Callable[[Callable[[], bool]], None]) -> None:
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        show_life(lambda: True)
        if kind == "broken":
            raise ValueError("PATIENT")
        if kind == "refused":
            sys.exit(STARTUP_FAILURE)
        os.write(1, f"{kind} {os.getpid()}\n".encode())
        told.wait()

    def not_ready(show_life: Callable[[Callable[[], bool]], None]) -> None:
        work(lambda _: show_life(lambda: False))

    return work if kind == "good" else not_ready


def main(first: str, then: str) -> int:
    workers.TICK = 0.05
    configure_logging("dev")
    return workers.Workers(serve(first), 2, lambda: None if then == "unusable" else serve(then)).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
