"""Exports of a log in PostgreSQL are those of the file that was shipped there."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cds_service.alert_log.store import Store
from cds_service.rollups.filter import Filter
from cds_service.rollups.rollup import roll_up
from tests.alert_log_samples import a_call, a_card, a_feedback
from tests.core import NOW
from tests.exports.exporting import UTC_DAYS, exported, json_rows, opened
from tests.log_tables import postgres_database
from tests.review.fired_log import MALARIA, NO_LABS, QUININE, TWO_ORDERS, fire
from tests.shipping.test_link import ship_all

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

CALLS = [(QUININE, "accepted"), (QUININE, "overridden"), (MALARIA, ""), (TWO_ORDERS, ""), (NO_LABS, "")]


def test_all_formats_hold_the_same_and_go_on_from_a_cursor(tmp_path: Path) -> None:
    asyncio.run(fire(tmp_path, CALLS, end=NOW - timedelta(hours=10)))
    log = tmp_path / "alerts.sqlite3"
    with postgres_database() as url:
        ship_all(log, url)
        with opened(log) as file, opened(log, url) as server:
            for one in (file, server):
                roll_up(one, UTC_DAYS, lambda: NOW)
            for name in ("csv", "parquet", "evaluations-csv", "guidance-response", "detected-issue", "measure-report"):
                assert exported(server, name) == exported(file, name), name
            for name in ("ndjson", "evaluations-ndjson"):
                assert [row | {"cursor": ""} for row in json_rows(server, name)] == [
                    row | {"cursor": ""} for row in json_rows(file, name)
                ]
            chosen = Filter.of(response="overridden", repeated="no", user=json_rows(file, "ndjson")[0]["userKey"])
            assert exported(server, "csv", chosen) == exported(file, "csv", chosen)
            whole = exported(server, "ndjson").splitlines(keepends=True)
            with closing(Store(log)) as store:
                late = a_call(a_card("u9"), received_at=NOW - timedelta(hours=14), tenant="", client="")
                store.append([late, a_feedback("u9")])
            ship_all(log, url)
            for count in range(1, len(whole) + 1):
                cursor = json.loads(whole[count - 1])["cursor"]
                assert b"".join(whole[:count]) + exported(server, "ndjson", after=cursor) == b"".join(whole)
            assert len(json_rows(server, "ndjson")) == len(whole) + 1
