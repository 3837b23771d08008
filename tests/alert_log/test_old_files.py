"""What a file of an earlier schema becomes when this program opens it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.alert_log import AlertLog, PriorRecord
from cds_service.alert_log.old_schema import OLD_MIGRATIONS
from cds_service.alert_log.schema import SCHEMA_VERSION
from cds_service.alert_log.store import Store
from tests.alert_log_samples import START, a_call, a_card, a_feedback, a_key, rows
from tests.core import Json

AT = START.isoformat(timespec="microseconds")
SINCE = {"quinine-avoid": START}


def write_old_file(path: Path, version: int) -> None:
    """A file as a program of that schema wrote it, with a call, two cards and feedback on the first."""
    path.parent.mkdir(exist_ok=True)
    call: Json = {"id": "old", "received_at": AT, "service": "s", "hook": "order-select", "hook_instance": "i", "client": "ehr"}
    call |= {"patient_key": a_key("patient"), "user_key": a_key("user"), "encounter_key": "", "status": 200, "outcome": "fired"}
    call |= {"evaluations": "[]", "sources": "{}", "timings": "{}", "service_version": "0.1.0", "knowledge_hash": "feed"}
    call |= {"jurisdiction": "US", "bytes_in": 1, "bytes_out": 1}
    card: Json = {
        "call_seq": 1,
        "card": "quinine-avoid",
        "version": "1.0.0",
        "content_hash": "h",
        "indicator": "info",
        "mode": "live",
    }
    card |= {"order_key": a_key("order"), "body": "{}"}
    card |= {"patient_key": a_key("patient"), "about": "quinine", "table_row": 0} if version > 1 else {}
    said: Json = {
        "received_at": AT,
        "service": "s",
        "card_uuid": "old0",
        "outcome": "overridden",
        "accepted": "[]",
        "reason_system": "",
    }
    said |= {"reason_code": "", "reason_display": "", "comment_length": 0, "outcome_timestamp": "", "repeats": 1}
    said |= {"client": "ehr", "tenant": ""} if version > 2 else {}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for migration in OLD_MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
        _insert(connection, "call", call)
        for position in range(2):
            _insert(connection, "card", card | {"position": position, "uuid": f"old{position}"})
        _insert(connection, "feedback", said)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


def _insert(connection: sqlite3.Connection, table: str, row: Json) -> None:
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608 - written here


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "alerts.sqlite3"


@pytest.mark.parametrize("version", range(1, len(OLD_MIGRATIONS) + 1))
async def test_old_cards_are_still_known_and_new_ones_beside_them(path: Path, version: int) -> None:
    write_old_file(path, version)
    log = AlertLog(path, prior_limit=10)
    log.start()
    old = await log.prior_cards(a_key("patient"), "ehr", SINCE, ())
    await log.append(a_call(a_card("new", about="quinine"), client="ehr", minute=1))
    await log.append_feedback([a_feedback("new", client="ehr")])
    both = await log.prior_cards(a_key("patient"), "ehr", SINCE, ())
    await log.close()

    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION]
    assert rows(path, "SELECT count(*) FROM old_card") == [2]
    if version == 1:  # which patient a card was about was not kept then
        assert old == []
        assert [one.about for one in both] == ["quinine"]
        return
    answered = "overridden"
    assert [(one.uuid, one.about, one.row, one.answered) for one in old] == [
        ("old1", "quinine", 0, ""),
        ("old0", "quinine", 0, answered),
    ]
    assert [one.shown_at for one in both] == sorted((one.shown_at for one in both), reverse=True)
    assert len(both) == 3
    assert isinstance(both[0], PriorRecord)


def test_two_processes_that_open_an_old_file_together_migrate_it_once(path: Path) -> None:
    write_old_file(path, 5)
    stores: list[Store] = []
    errors: list[sqlite3.Error] = []

    def open_it() -> None:
        try:
            stores.append(Store(path))
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert errors == []
    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION]
    assert rows(path, "SELECT count(*) FROM source") == [1]
