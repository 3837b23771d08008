"""The benchmark's figures against their targets, as a table. A timing that misses its target is said, never an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.bench.memory import LIMIT_MB


class Target(NamedTuple):
    """One promise about speed: what, its limit, and what was measured (median, and the spread where there is one)."""

    name: str
    limit: float
    measured: float
    spread: str = ""
    at_least: bool = False  # the limit is the least it may be, not the most

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "NOT MET"
        said = f"({self.spread})" if self.spread else ""
        limit = f"{'at least' if self.at_least else 'at most'} {self.limit:<6.4g}"
        return f"{verdict:8} {self.name:52} {limit} measured {self.measured:.2f} {said}".rstrip()


# CPU per request with two cards and the log, by size: limits for 1 and for 16 clients.
AGAINST_GOOD_SERVICE = {"S": (0.8, 0.5), "M": (0.75, 0.4), "L": (0.45, 0.25)}
AGAINST_HEALTHCHAIN = {"S": (2.0, 1.7), "M": (1.4, 0.7), "L": (0.55, 0.3)}
SILENT_AGAINST_NOOP = {"S": 2.2, "M": 1.3}  # 16 clients
IN_PROCESS = {"M": 1.3, "L": 0.7, "XL": 0.6}
LOG_US = 150  # of CPU a call; one fdatasync more where calls come one by one
PRIOR_CARDS = 1.3
TWO_WORKERS = 0.85
GROWTH = 1.05
PAUSE_MS = 1.0
START_S = 0.7


def targets(result: dict[str, Any]) -> Iterator[Target]:
    """All targets that were measured, for order-sign requests."""
    yield from _against("good_service", AGAINST_GOOD_SERVICE, result)
    yield from _against("healthchain_noop", AGAINST_HEALTHCHAIN, result)
    for size, limit in SILENT_AGAINST_NOOP.items():
        ratio = result["silent"][size]["16"]["cpu_ratio"]["ours / noop"]
        yield Target(f"silent call / noop, {size}, 16 clients", limit, ratio["median"], spread(ratio))
    kind = result["in_process"]["kinds"]["order-sign"]
    for size, limit in IN_PROCESS.items():
        ratio = kind[size]["ratio"]
        yield Target(f"body to cards / json.loads, {size}", limit, ratio["median"], spread(ratio))
    for clients, row in result["log"]["rows"].items():
        limit = LOG_US + (result["log"]["fdatasync_us"] if clients == "1" else 0)
        yield Target(f"record and log, CPU us, {clients} clients", limit, row["log_us"]["median"], spread(row["log_us"]))
    for clients, row in result["prior"]["rows"].items():
        for prior in ("3", "50"):
            ratio = row["cpu_ratio"][f"{prior} / 0"]
            yield Target(f"{prior} prior cards / none, {clients} clients", PRIOR_CARDS, ratio["median"], spread(ratio))
    gain = result["workers"]["gain"]["ratio"]
    yield Target("gain of two workers / the no-op's gain", TWO_WORKERS, gain["median"], spread(gain), at_least=True)
    yield Target("growth exponent, M to XL", GROWTH, kind["growth_exponent"])
    pause = result["in_process"]["longest_pause"]
    yield Target(f"longest garbage collection in {pause['calls']:,} calls, ms", PAUSE_MS, pause["ms"])
    if memory := result["memory_without_development"]:
        listed = f"start {memory['start']['VmRSS']:.0f}, peak {memory['after L']['VmHWM']:.0f}"
        yield Target("worker memory after S, M and L, MB", LIMIT_MB, memory["after L"]["VmRSS"], listed)
    start = result["start"]["ours"]["cpu_s"]
    yield Target("start to first answer, s of CPU", START_S, start["median"], spread(start))


def _against(anchor: str, limits: dict[str, tuple[float, float]], result: dict[str, Any]) -> Iterator[Target]:
    for size, by_clients in limits.items():
        for clients, limit in zip(("1", "16"), by_clients, strict=True):
            if ratio := result["firing"][size][clients]["cpu_ratio"].get(f"ours / {anchor}"):
                yield Target(f"CPU per request / {anchor}, {size}, {clients} clients", limit, ratio["median"], spread(ratio))


def spread(values: dict[str, float]) -> str:
    return f"{values['min']:.2f} to {values['max']:.2f}"


def table(result: dict[str, Any]) -> str:
    """Everything that was measured, for people."""
    return "\n".join([*_http(result), "", *_in_process(result), "", *map(str, targets(result)), *_not_measured(result)])


def _http(result: dict[str, Any]) -> Iterator[str]:
    columns = f"{'size':>4} {'clients':>7} {'':16} {'req/s':>9} {'p50 ms':>9} {'p99 ms':>9} {'CPU us':>9}"
    for title, rows in _sections(result):
        yield title
        yield f"{columns}   ratios of CPU: median (min to max)"
        for (size, clients), row in rows.items():
            for name, seen in row["seen"].items():
                figures = f"{seen['per_second']:9.1f} {seen['p50_ms']:9.2f} {seen['p99_ms']:9.2f} {seen['cpu_us']:9.1f}"
                ratios = [f"{pair} {one['median']:.2f} ({spread(one)})" for pair, one in row["cpu_ratio"].items()]
                said = "; ".join(one for one in ratios if one.startswith(f"{name} /"))
                yield f"{size:>4} {clients:>7} {name:16} {figures}   {said}".rstrip()
        yield ""
    log, gain = result["log"], result["workers"]["gain"]
    yield f"one fdatasync of 4 KB: {log['fdatasync_us']:.0f} us of CPU"
    yield f"two workers: ours {gain['ours']['median']:.2f} times the requests, no-op {gain['noop']['median']:.2f} times"
    for name, start in result["start"].items():
        yield f"start of {name}: {start['cpu_s']['median']:.2f} s of CPU, first answer after {start['wall_s']['median']:.2f} s"
    for stage, servers in result["memory_mb"].items():
        yield f"memory MB, {stage}: " + ", ".join(f"{name} {seen['VmRSS']:.0f}" for name, seen in servers.items())


Rows = dict[tuple[str, str], dict[str, Any]]  # by size and number of clients


def _sections(result: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    yield "order-sign, two cards, durable log (ours), beside the anchors", _by_size(result["firing"])
    yield "order-sign without a card", _by_size(result["silent"])
    yield "order-sign, two warnings, by number of cards shown before", _by_size({"S": result["prior"]["rows"]})
    yield "data fetched from a FHIR server on this machine, and sent", _by_size(result["fetched"])
    yield "with and without the log", _by_size({"S": result["log"]["rows"]})
    yield "one worker and two, on all cores", {("S", "32"): result["workers"]}


def _by_size(rows: dict[str, dict[str, Any]]) -> Rows:
    return {(size, clients): row for size, by_clients in rows.items() for clients, row in by_clients.items()}


def _in_process(result: dict[str, Any]) -> Iterator[str]:
    yield "in process, no log: body to cards, and json.loads of the same body (CPU time, collector frozen and on)"
    columns = f"{'':>13} {'size':>4} {'bytes':>9} {'ours us':>9} {'json us':>10}"
    yield f"{columns}   ratio: median (min to max); without collector; longest collection ms"
    for kind, rows in result["in_process"]["kinds"].items():
        for size, row in rows.items():
            if size != "growth_exponent":
                ratio, without = row["ratio"], row["without_gc"]["ratio"]["median"]
                figures = (
                    f"{row['bytes']:9} {row['ours_us']:9.0f} {row['json_us']:10.0f}   {ratio['median']:.2f} ({spread(ratio)})"
                )
                yield f"{kind:>13} {size:>4} {figures}; {without:.2f}; {row['longest_pause_ms']:.2f}"


def _not_measured(result: dict[str, Any]) -> Iterator[str]:
    if not any("healthchain_noop" in row["seen"] for rows in result["firing"].values() for row in rows.values()):
        yield "not measured: against HealthChain (make bench-healthchain)"
    if not result["memory_without_development"]:
        yield "not measured: worker memory (make bench-memory)"
