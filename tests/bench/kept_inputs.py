"""Measure what CDS_KEEP_INPUTS costs: `python -m tests.bench.kept_inputs [--calls 60]`.

For calls of three sizes: sealed bytes in the log, and CPU time of the record with inputs against that without, as a ratio to the
whole call. The charts are not those of any test.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

import msgspec

from cds_service.alert_log.call_record import ReceivedCall, call_record
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import CallRecord
from cds_service.alert_log.sealing import SealingKey
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.wire.hook_request import decode_request
from tests.bench.generate import SIZES, request
from tests.core import NOW, knowledge, presenter

_FIRST_SEED = 7_000


def measure(size: str, calls: int) -> str:
    """Return a line on calls of one size, each with another chart."""
    known = knowledge()
    engine = Engine(known, presenter(known))
    sealed: list[int] = []
    whole: list[float] = []
    without: list[float] = []
    with_inputs: list[float] = []
    kept = 0
    for seed in range(_FIRST_SEED, _FIRST_SEED + calls):
        body = request(SIZES[size], "order-sign", NOW, "firing" if seed % 2 else "silent", seed)
        began = time.process_time()
        call = decode_request(body, "order-sign")
        found = asyncio.run(evaluate_request(call, engine, NOW))
        whole.append(time.process_time() - began)
        hashed = Pseudonyms(bytes(32), call.caller, None, call.context.patientId, call.context.encounterId)
        plain = ReceivedCall(call, "service", NOW, len(body), hashed, known.hash, "US", SealingKey(1, bytes(32)))
        asked = msgspec.structs.replace(plain, terminology=known.terminology)
        without.append(_seconds(lambda received=plain, done=found: _record(received, done))[0])  # type: ignore[misc]
        seconds, record = _seconds(lambda received=asked, done=found: _record(received, done))  # type: ignore[misc]
        with_inputs.append(seconds)
        inputs = [len(one.content) for one in record.sealed if one.kind == "inputs"]
        kept += len(inputs)
        sealed += inputs
    cost = statistics.median(with_inputs) - statistics.median(without)
    return (
        f"{size}: {len(body) / 1024:,.0f} KB, {kept} of {calls} kept, {statistics.median(sealed) / 1024:.1f} KB sealed, "
        f"{cost * 1e3:.2f} ms more for the record, {cost / statistics.median(whole):.2f} x the evaluation of the call"
    )


def _record(received: ReceivedCall, found: Evaluation) -> CallRecord:
    cards = (found.shown, found.shadows, found.held_back)
    return call_record(received, found.facts, found.decisions, *cards, found.body, chart=found.chart)


def _seconds(work: Callable[[], CallRecord]) -> tuple[float, CallRecord]:
    began = time.process_time()
    record = work()
    return time.process_time() - began, record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what keeping inputs costs.")
    parser.add_argument("--calls", type=int, default=60)
    for name in ("S", "M", "L"):
        print(measure(name, parser.parse_args().calls if name != "L" else 10))
