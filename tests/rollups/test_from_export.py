"""Every figure of the pages, counted anew in plain Python from the NDJSON export of real records, is the same.

`CDS_EXPORTED_CALLS=100000` is the long form.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from cds_service.alert_log import CallRecord, FeedbackRecord, call_lines
from cds_service.alert_log.records import DeliveryRecord, Record, RefusalRecord, WithdrawnRecord, call_id
from cds_service.alert_log.store import Store
from cds_service.database import open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import differences, roll_up
from tests.bench.log_mix import records
from tests.proofs import examples
from tests.rollups.compare import stored
from tests.rollups.plain_count import PlainLog, count
from tests.rollups.plain_export import read_export

START = datetime(2026, 3, 20, tzinfo=UTC)  # clocks change meanwhile in London
DAYS = 14
ZONE = "Europe/London"


def a_key(kind: str, number: int) -> str:
    return f"k1:{kind.encode().hex():0>16}{number:016x}"


class MadeLog:
    """Makes records of a few weeks from real ones: their cards, decisions and missing data, for people who come again."""

    def __init__(self, models: Sequence[CallRecord], seed: int) -> None:
        self.models = models
        self.rng = random.Random(seed)

    def records(self, calls: int) -> Iterator[Record]:
        rng = self.rng
        at = START
        for _ in range(calls):
            at += timedelta(seconds=rng.random() * 2 * DAYS * 86_400 / calls)
            call = self._call(at)
            yield call
            if rng.random() < 0.9:
                us = int(10 ** (3 + 2 * rng.random()))
                yield DeliveryRecord(call.id, at, None if rng.random() < 0.1 else 900, us, delivered=rng.random() < 0.99)
            if rng.random() < 0.02:
                yield WithdrawnRecord(call, at + timedelta(milliseconds=50))
            yield from self._feedback(call)
            if rng.random() < 0.03:  # the same again, within a minute
                again = at + timedelta(seconds=rng.randrange(1, 50))
                yield msgspec.structs.replace(call, id=call_id(again, rng.randbytes(10)), received_at=again)
            if rng.random() < 0.01:
                reason, status = rng.choice([("malformed", 400), ("expired", 401), ("too_long", 413), ("busy", 503)])
                minute = at.replace(second=0, microsecond=0)
                yield RefusalRecord(minute, call.tenant, call.client, call.hook, status, reason, rng.randrange(1, 9))

    def _call(self, at: datetime) -> CallRecord:
        rng = self.rng
        model = rng.choice(self.models)
        tenant = rng.choice(("north", "south"))
        # Keys hold the tenant and the client, as real ones do.
        client = rng.choice(("ehr-a", "ehr-b"))
        scope = (tenant == "north") * 2 + (client == "ehr-a")
        patient = rng.randrange(40) * 4 + scope
        visit = patient * 100 + at.day // 3
        orders = [a_key("order", visit * 10 + rng.randrange(4)) for _ in model.order_keys]
        renamed = dict(zip(model.order_keys, orders, strict=True))
        chance = rng.randbytes(10)
        return msgspec.structs.replace(
            model,
            id=call_id(at, chance),
            received_at=at,
            tenant=tenant,
            client=client,
            patient_key=a_key("patient", patient) if rng.random() < 0.95 else "",
            user_key=a_key("user", rng.randrange(6) * 4 + scope) if rng.random() < 0.95 else "",
            encounter_key=a_key("visit", visit) if rng.random() < 0.7 else "",
            order_keys=tuple(dict.fromkeys(orders)),
            digest=int.from_bytes(chance[:7]),
            took_us=None if rng.random() < 0.05 else rng.randrange(500, 90_000),
            cards=tuple(
                msgspec.structs.replace(
                    card,
                    uuid=str(_uuid(rng)),
                    order_key=renamed.get(card.order_key, card.order_key),
                    mode="live" if rng.random() < 0.9 else "shadow",
                )
                for card in model.cards
            ),
        )

    def _feedback(self, call: CallRecord) -> Iterator[FeedbackRecord]:
        rng = self.rng
        for card in call.cards:
            while rng.random() < 0.5:
                said = call.received_at + timedelta(minutes=rng.choice((0, 1, 1, 5, 300, 2_000)))
                stamp = rng.choice((said.isoformat(), said.isoformat(), said.replace(tzinfo=None).isoformat(), "yesterday", ""))
                accepted = rng.random() < 0.4
                client = call.client if rng.random() < 0.97 else "ehr-c"
                yield FeedbackRecord(
                    received_at=said + timedelta(seconds=rng.randrange(2)),
                    service=call.service,
                    card_uuid=card.uuid if rng.random() < 0.98 else str(_uuid(rng)),
                    outcome="accepted" if accepted else "overridden",
                    accepted=[],
                    reason_system="",
                    reason_code="" if accepted or rng.random() < 0.3 else rng.choice(("informed", "other")),
                    reason_display="",
                    comment_length=0 if rng.random() < 0.8 else 30,
                    outcome_timestamp=stamp,
                    client=client,
                    tenant=call.tenant,
                )


def _uuid(rng: random.Random) -> UUID:
    return UUID(bytes=rng.randbytes(16), version=4)


def write(path: Path, calls: int, seed: int) -> None:
    models = list(records(min(200, calls), seed))
    with closing(Store(path)) as store:
        batch: list[Record] = []
        for one in MadeLog(models, seed).records(calls):
            batch.append(one)
            if len(batch) == 500:
                store.append(batch)
                batch.clear()
        store.append(batch)


def exported(path: Path) -> PlainLog:
    written = path.with_suffix(".ndjson")
    with written.open("wb") as out:
        out.writelines(chunk for chunk, _ in call_lines(path))
    with written.open("rb") as lines:
        return read_export(lines)


@pytest.mark.proof
def test_all_figures_are_those_of_the_export(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    calls = examples("CDS_EXPORTED_CALLS", 300, 4_000)
    write(path, calls, seed=11)
    log = exported(path)
    assert len(log.calls) > calls
    days = SiteDays(ZONE)
    with closing(open_database(path, tmp_path / "review.sqlite3", limit_ms=None, writes_review=True)) as database:
        roll_up(database, days, lambda: START + timedelta(days=30))
        got, expected = stored(database), count(log, ZONE)
        got["release"] = {(*key[:-1], key[-1][:16]): n for key, n in got["release"].items()}  # so the export gives a hash
        for table, figures in expected.items():
            assert figures, table
            assert got[table] == figures, table
        assert list(differences(database, days)) == []
