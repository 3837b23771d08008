"""Measure what a call's record takes: bytes on disk with all indexes, and CPU.

    python -m tests.bench.log_size [--calls 3000] [--train]

The calls are those of `log_mix`, which no other run has seen; each has its delivery, and a third of the shown cards has feedback.
They are appended 16 at a time, as with 16 clients. CPU is that of this process, the best of the rounds; `record` is the event
loop's part, `append` the writer's with SQLite, zstd and the operating system.

With `--train` it makes the dictionary that comes with the program (`alert_log/bodies.dict`) from other calls first.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec

from cds_service.alert_log.body import encode_body
from cds_service.alert_log.compression import PACKAGED, Compressor, train
from cds_service.alert_log.records import CallRecord, DeliveryRecord, FeedbackRecord, Record, new_call_id
from cds_service.alert_log.store import Store
from tests.bench.log_mix import Evaluated, evaluated, record_of, records

_TRAINED_ON = 3000
_SEEDS = (1_000_000, 5_000_000)  # of the dictionary, of what is measured
_BATCH = 16
_ROUNDS = 5


def of_a_call(call: CallRecord, position: int) -> Iterator[Record]:
    """Everything that is stored of a call."""
    yield call
    yield DeliveryRecord(call.id, call.received_at, 900, 4_000, delivered=True)
    for n, card in enumerate(call.cards):
        if card.mode == "live" and card.state == "shown" and (position + n) % 3 == 0:
            reason = ("urn:reasons", "benefit", "Benefit outweighs risk")
            item = FeedbackRecord(call.received_at, call.service, card.uuid, "overridden", [], *reason, 0, "2025-12-01T09:00:00Z")
            yield msgspec.structs.replace(item, client=call.client)


def stored(path: Path, calls: Sequence[CallRecord]) -> list[float]:
    """Append all calls, and as many calls of other patients with the same decisions; return CPU seconds of both."""
    seconds = []
    with closing(Store(path)) as store:
        for pass_ in (calls, [another(call) for call in calls]):
            batches = [
                [record for n, call in enumerate(pass_[at : at + _BATCH]) for record in of_a_call(call, at + n)]
                for at in range(0, len(pass_), _BATCH)
            ]
            began = time.process_time()
            for batch in batches:
                store.append(batch)
            seconds.append(time.process_time() - began)
    return seconds


def another(call: CallRecord) -> CallRecord:
    """A call a day later, of another patient with the same findings."""
    at = call.received_at + timedelta(days=1)
    key = f"k1:{random.randbytes(16).hex()}"
    cards = tuple(msgspec.structs.replace(card, uuid=str(uuid.uuid4())) for card in call.cards)
    change = {"id": new_call_id(at), "received_at": at, "patient_key": key, "digest": random.getrandbits(63), "cards": cards}
    return msgspec.structs.replace(call, **change)


def sizes(path: Path) -> dict[str, int]:
    """Bytes of each table with its indexes, by name; what is there before the first call is not among them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = connection.execute(
            "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) GROUP BY 1 ORDER BY 2 DESC"
        )
        return {name: size for name, size in found if name not in ("dictionary", "knowledge", "sqlite_schema")}


def cpu_of_records(made: Sequence[Evaluated]) -> float:
    began = time.process_time()
    for one in made:
        record_of(one)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--train", action="store_true", help="make the dictionary of the program anew first")
    options = parser.parse_args()
    if options.train:
        PACKAGED.write_bytes(train(encode_body(one) for one in records(_TRAINED_ON, _SEEDS[0])))
    made = list(evaluated(options.calls, _SEEDS[1]))
    calls = [record_of(one) for one in made]
    bodies = [encode_body(call) for call in calls]
    compress = Compressor(PACKAGED.read_bytes())
    small = [compress(body) for body in bodies]
    count = len(calls)
    began = time.process_time()
    for body in bodies:
        compress(body)
    compressing = time.process_time() - began
    with tempfile.TemporaryDirectory() as folder:
        rounds = [stored(Path(folder) / f"{n}.sqlite3", calls) for n in range(_ROUNDS)]
        first, then = (min(one) / count * 1e6 for one in zip(*rounds, strict=True))
        of_tables = sizes(Path(folder) / "0.sqlite3")
    recording = min(cpu_of_records(made) for _ in range(_ROUNDS))
    print(f"{count} calls, {sum(len(call.cards) for call in calls)} cards")
    print(f"body: {sum(map(len, bodies)) / count:,.0f} bytes of JSON, {sum(map(len, small)) / count:,.0f} compressed")
    print(f"on disk: {sum(of_tables.values()) / count / 2:,.0f} bytes a call")
    print("  " + ", ".join(f"{name} {size / count / 2:,.0f}" for name, size in of_tables.items() if size / count >= 1))
    print(f"CPU a call: record {recording / count * 1e6:.0f} us; append {then:.0f} us, of which compressing")
    print(f"  {compressing / count * 1e6:.0f} us, and {first:.0f} us while most combinations of decisions are new to the file")


if __name__ == "__main__":
    main()
