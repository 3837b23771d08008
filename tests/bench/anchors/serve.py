"""Serve one anchor with the server, event loop, parser and garbage collector that `cds-service serve` has.

So a ratio compares the applications.

    python -m tests.bench.anchors.serve NAME PORT [WORKERS]
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

import uvicorn

NAME_VARIABLE = "BENCH_ANCHOR"  # environment variable that tells a worker process which anchor it is


def application() -> Any:
    """Make the anchor's application, then freeze what stays."""
    app = importlib.import_module(f"tests.bench.anchors.{os.environ[NAME_VARIABLE]}").application()
    gc.collect()
    gc.freeze()
    return app


def main() -> None:
    os.environ[NAME_VARIABLE] = sys.argv[1]
    uvicorn.run(
        "tests.bench.anchors.serve:application",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[2]),
        workers=int(sys.argv[3]) if len(sys.argv) > 3 else 1,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
