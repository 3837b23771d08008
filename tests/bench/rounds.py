"""Interleaved rounds: everything that is compared takes its turn in each round, so that whatever else the machine does meets all.

Ratios and differences are taken within a round. Wrong answers raise; slow ones never do.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from tests.bench.client import Load, burst, first_answer
from tests.bench.server import Server

SERVICE = "cramp-care-order-sign"


class WrongAnswerError(RuntimeError):
    """What was measured isn't the work that was agreed on."""


class Asked(NamedTuple):
    """One thing that is compared: a request to a server, and how many cards are the right answer."""

    server: Server
    body: bytes
    cards: int
    calls_per_patient: int = 1  # see `client.Connection`


class Round(NamedTuple):
    load: Load
    cpu_us: float  # per request

    @property
    def per_second(self) -> float:
        return len(self.load.latencies) / self.load.seconds


Rounds = dict[str, list[Round]]  # by what is compared
Spread = dict[str, float]  # min, median, max


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    return {"min": ordered[0], "median": statistics.median(ordered), "max": ordered[-1]}


async def first_right_answer(asked: Asked) -> float:
    """Ask once, when the server listens; return seconds from the start of its process. Raises WrongAnswerError."""
    server = asked.server
    server.wait()
    answer = await first_answer(server.port, SERVICE, asked.body)
    took = time.perf_counter() - server.started
    if answer.status != 200:
        raise WrongAnswerError(f"status {answer.status} from port {server.port}: {answer.body[:500].decode(errors='replace')}")
    cards = msgspec.json.decode(answer.body)["cards"]
    if len(cards) != asked.cards:
        raise WrongAnswerError(f"{len(cards)} cards in place of {asked.cards}: {[card['summary'] for card in cards]}")
    return took


async def one_round(asked: Asked, concurrency: int, seconds: float) -> Round:
    before = asked.server.cpu_ns()
    load = await burst(asked.server.port, SERVICE, asked.body, concurrency, seconds, asked.calls_per_patient)
    used = asked.server.cpu_ns() - before
    if load.came != Counter({(200, asked.cards): len(load.latencies)}):
        raise WrongAnswerError(f"(status, cards): {dict(load.came)} in place of {asked.cards} cards, port {asked.server.port}")
    return Round(load, used / 1000 / len(load.latencies))


async def interleaved(compared: Mapping[str, Asked], concurrency: int, rounds: int, seconds: float) -> Rounds:
    """Measure all in turn, in the opposite order every other round; one more round comes first and warms up."""
    done: Rounds = {name: [] for name in compared}
    for number in range(rounds + 1):
        turn = list(compared.items())
        for name, asked in turn if number % 2 else reversed(turn):
            seen = await one_round(asked, concurrency, seconds)
            if number:
                done[name].append(seen)
    return done


def cpu_ratio(rounds: Rounds, one: str, other: str) -> Spread:
    return spread(a.cpu_us / b.cpu_us for a, b in zip(rounds[one], rounds[other], strict=True))


def cpu_difference(rounds: Rounds, one: str, other: str) -> Spread:
    """In microseconds per request."""
    return spread(a.cpu_us - b.cpu_us for a, b in zip(rounds[one], rounds[other], strict=True))


def rate_ratio(rounds: Rounds, one: str, other: str) -> list[float]:
    """Requests per second, one over the other, by round."""
    return [a.per_second / b.per_second for a, b in zip(rounds[one], rounds[other], strict=True)]


def summary(rounds: list[Round]) -> dict[str, float]:
    latencies = sorted(latency * 1000 for done in rounds for latency in done.load.latencies)
    return {
        "requests": len(latencies),
        "per_second": statistics.median(done.per_second for done in rounds),
        "p50_ms": statistics.median(latencies),
        "p99_ms": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        "cpu_us": statistics.median(done.cpu_us for done in rounds),
    }


def row(rounds: Rounds, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What is written down of one comparison: a summary of each, and the ratios of `pairs` as "one / other"."""
    ratios = {f"{one} / {other}": cpu_ratio(rounds, one, other) for one, other in pairs}
    return {"seen": {name: summary(done) for name, done in rounds.items()}, "cpu_ratio": ratios}


def cores() -> tuple[int | None, int | None]:
    """The core of the servers and that of the client; none where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)
