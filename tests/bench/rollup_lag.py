"""Measure how long a call takes to be in the figures of the review pages.

    python -m tests.bench.rollup_lag [--log FILE] [--calls 10]

A `serve` and a `review` process share a log, or a copy of FILE. A call is made, and the page of clients is asked for its number
of calls until it has grown; the next call comes after a pause of another length, so that calls meet all moments of the counting.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import msgspec

from cds_service.clock import utc_now
from tests.bench.client import first_answer
from tests.bench.generate import SIZES, request
from tests.bench.rounds import SERVICE, WrongAnswerError
from tests.bench.server import Server, free_port

_LOOK = 0.1  # seconds between two looks at the page
_PATIENCE = 300.0  # seconds
_PAUSE = 3.7  # seconds that a pause is longer than the last one, up to 10


def server(verb: str, folder: Path) -> Server:
    """Return a process of the service or of the pages."""
    port = free_port()
    environ = {"CDS_LOG_PATH": str(folder / "alerts.sqlite3"), "CDS_REVIEW_PATH": str(folder / "review.sqlite3")}
    quiet = ["--quiet"] if verb == "serve" else []
    command = [sys.executable, "-m", "cds_service.cli.main", verb, *quiet, "--profile", "dev", "--port", str(port)]
    return Server(command, port, folder, None, environ)


def counted(pages: httpx2.Client) -> int:
    """Return how many calls the page of clients counts."""
    answer = pages.get("/review/clients.json?days=2")
    answer.raise_for_status()
    data: dict[str, Any] = msgspec.json.decode(answer.content)
    return sum(one["calls"] for one in data["clients"])


def measure(service: Server, pages: httpx2.Client, calls: int) -> list[float]:
    """Return the seconds from the response to each call until it was counted. Raises WrongAnswerError, TimeoutError."""
    lags = []
    for number in range(calls):
        time.sleep(number * _PAUSE % 10)
        before = counted(pages)
        body = request(SIZES["S"], "order-sign", utc_now())
        status = asyncio.run(first_answer(service.port, SERVICE, body)).status
        if status != 200:
            raise WrongAnswerError(f"status {status}")
        began = time.perf_counter()
        while counted(pages) <= before:
            if time.perf_counter() - began > _PATIENCE:
                raise TimeoutError("the call is not counted")
            time.sleep(_LOOK)
        lags.append(time.perf_counter() - began)
        print(f"call {number + 1}: counted after {lags[-1]:.1f} s; load {os.getloadavg()[0]:.1f}", flush=True)
    return lags


def main() -> None:
    """Print the lag of each call, the median and the longest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, help="a log to begin with, which is not changed")
    parser.add_argument("--calls", type=int, default=10)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="rollup-lag-") as name:
        folder = Path(name)
        if options.log:
            shutil.copy(options.log, folder / "alerts.sqlite3")
        with server("serve", folder) as service, server("review", folder) as review:
            service.wait()
            review.wait()
            with httpx2.Client(base_url=f"http://127.0.0.1:{review.port}", timeout=60, trust_env=False) as pages:
                lags = measure(service, pages, options.calls)
    print(f"{len(lags)} calls: counted after {statistics.median(lags):.1f} s (median), {max(lags):.1f} s (longest)")


if __name__ == "__main__":
    main()
