"""Measure how fast records are decided again with a candidate: `python -m tests.bench.backtest LOG [--calls] [--profile]`.

LOG: an alert log, such as `cds-service demo-log --into FOLDER` makes. Reading, decompressing, deciding, drawing, comparing and
keeping are included; loading the cards is not. CPU time of one core, so that other work on the machine moves it less.

With `--calls` a service answers calls at a steady rate beside it, first alone, then with a queued backtest of LOG running: the
ratio of the 99th percentiles is what a backtest costs clinicians. The backtest is that of the review pages, with its priority.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from cds_service.database import open_database
from cds_service.files.paths import cards_dir
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.knowledge.site_numbers import site_numbers
from cds_service.replay.backtest import Backtest, Selection
from cds_service.replay.backtest_queue import BacktestQueue
from cds_service.replay.candidate import begin_candidate
from cds_service.replay.processes import collect_seldom
from cds_service.replay.run_backtest import PartOfBacktest
from cds_service.settings import Settings, as_environment
from tests.bench import generate
from tests.bench.server import Server, free_port, service_command
from tests.core import NOW

CARD, NUMBER = "electrolyte-hypokalaemia", "thresholds.yaml:potassium_moderate_limit:value"
RATE = 10  # calls a second, of which a core can answer many more
SECONDS = 20.0


def begun(settings: Settings, value: str, seed: int = 1) -> Backtest:
    """The backtest of one changed threshold over the whole log."""
    known = load_knowledge(settings, before_approval=True)
    card = known.card(CARD)
    assert card is not None
    number = next(one for one in site_numbers(card, known, cards_dir()) if one.name == NUMBER)
    return begin_candidate(settings, CARD, known.hash, {number: Decimal(value)}, Selection(0, 0, seed=seed))


def speed(settings: Settings, profile: cProfile.Profile | None) -> None:
    """Print records a second of CPU, and how long the wall clock ran."""
    collect_seldom()
    backtest = begun(settings, "3.1")
    part = PartOfBacktest(settings, backtest.folder)
    part(0)  # loads the recorded cards
    backtest.part(0).unlink()
    began, clock = time.process_time(), time.perf_counter()
    if profile is not None:
        profile.enable()
    for number in backtest.missing():
        part(number)
    if profile is not None:
        profile.disable()
    seconds, wall = time.process_time() - began, time.perf_counter() - clock
    total = backtest.finish().total
    print(f"{total.records:,} records, {total.answered:,} answered, in {seconds:.2f} s of CPU ({wall:.1f} s by the clock)")
    print(f"{total.records / seconds:,.0f} a second and core")


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """Run queued backtests as the review pages do, again and again."""
    command = [sys.executable, "-m", "cds_service.cli.main", "backtest", "--queued"]
    queue, seed = BacktestQueue(settings), 0
    while True:
        seed += 1
        queue_only(queue, begun(settings, "3.1", seed))
        if seed == 5:  # more than the calls last
            break
    worker = subprocess.Popen(command, env=os.environ | as_environment(settings))
    try:
        time.sleep(5)  # it has loaded the cards
        assert worker.poll() is None
        yield
        if worker.poll() is not None:
            print("the backtests were done before the calls ended: take a larger log", file=sys.stderr)
    finally:
        worker.kill()
        worker.wait()


def queue_only(queue: BacktestQueue, backtest: Backtest) -> None:
    """Put a backtest into the queue without starting a worker."""
    with queue.alone():
        queue.ask(backtest, 1)


def percentiles(address: str) -> tuple[float, float]:
    """The 50th and the 99th percentile, in ms, of calls at a steady rate: late ones count from when they were due."""
    body = generate.request(generate.SIZES["M"], "order-sign", NOW, "firing", 1)
    took = []
    with httpx.Client() as client:
        began = time.perf_counter()
        for number in range(int(RATE * SECONDS)):
            due = began + number / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            client.post(
                f"{address}/cds-services/cramp-care-order-sign", content=body, headers={"content-type": "application/json"}
            )
            took.append(1000 * (time.perf_counter() - due))
    cut = statistics.quantiles(took, n=100)
    return cut[49], cut[98]


def beside_calls(settings: Settings) -> None:
    """Print what a backtest costs calls, in rounds that alternate, so that other work on the machine meets both."""
    with TemporaryDirectory(prefix="backtest-bench-") as folder:
        port = free_port()
        with Server(service_command(port), port, Path(folder), None, {"CDS_LOG_PATH": f"{folder}/alerts.sqlite3"}) as server:
            server.wait()
            address, ratios = f"http://127.0.0.1:{port}", []
            percentiles(address)  # warm
            for number in range(1, 4):
                alone = percentiles(address)
                shutil.rmtree(BacktestQueue(settings).folder, ignore_errors=True)
                with working(settings):
                    meanwhile = percentiles(address)
                ratios.append(meanwhile[1] / alone[1])
                print(f"round {number}: p50 {alone[0]:.1f} -> {meanwhile[0]:.1f} ms, p99 {alone[1]:.1f} -> {meanwhile[1]:.1f} ms")
    print(f"p99 with a backtest beside it: {statistics.median(ratios):.2f} times that alone (median of {len(ratios)} rounds)")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--calls", action="store_true", help="what it costs calls that are answered meanwhile")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="backtest-bench-") as folder:
        review = Path(folder) / "review.sqlite3"
        settings = Settings(log_path=options.log, review_path=review)
        open_database(options.log, review, writes_review=True).close()
        if options.calls:
            beside_calls(settings)
            return
        profile = cProfile.Profile() if options.profile else None
        speed(settings, profile)
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
