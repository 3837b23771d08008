"""A patient who was seen under the key before is the same patient under the new one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log import AlertLog
from cds_service.alert_log.key_pairs import hash_bytes, same_ids
from cds_service.app import create_app
from cds_service.database import open_database
from cds_service.present.cards import Presenter
from cds_service.retention.keys_left import keys_in_use
from cds_service.runtime import key_problem, new_runtime
from cds_service.settings import Settings
from tests.alert_log.test_shown_before import KNOWN, LOOP, NORMAL, Ehr
from tests.core import NOW
from tests.http_side import running

OLD, NEW = "o" * 32, "n" * 32
BOTH: dict[str, Any] = {"hash_secret": NEW, "hash_secret_old": OLD, "hash_generation": 2}


async def topics(folder: Path, calls: int = 1, **keys: Any) -> list[list[str]]:
    """Call a service with these keys about one patient; what each call shows."""
    chosen = Settings.model_validate({"log_path": folder / "alerts.sqlite3", **keys})
    log = AlertLog(chosen.log_path, prior_limit=10)
    runtime = msgspec.structs.replace(
        new_runtime(chosen), knowledge=KNOWN, presenter=Presenter(KNOWN), alert_log=log, clock=lambda: NOW
    )
    async with running(create_app(chosen, runtime=runtime)) as client:
        one = Ehr(client, chosen.log_path)
        return [await one.topics("patient-view", LOOP, NORMAL) for _ in range(calls)]


async def test_a_card_shown_under_the_old_key_is_not_shown_again(tmp_path: Path) -> None:
    assert await topics(tmp_path, hash_secret=OLD) == [["advice"]]
    assert await topics(tmp_path, **BOTH) == [[]]


async def test_without_the_old_key_the_patient_is_another(tmp_path: Path) -> None:
    assert await topics(tmp_path, hash_secret=OLD) == [["advice"]]
    assert await topics(tmp_path, hash_secret=NEW, hash_generation=2) == [["advice"]]


async def test_both_hashes_are_kept_once_and_lead_to_each_other(tmp_path: Path) -> None:
    await topics(tmp_path, hash_secret=OLD)
    await topics(tmp_path, calls=3, **BOTH)
    log = tmp_path / "alerts.sqlite3"
    with closing(sqlite3.connect(log)) as file:
        calls = file.execute("SELECT key, patient FROM call ORDER BY seq").fetchall()
        assert [key for key, _ in calls] == [1, 2, 2, 2]
        assert file.execute("SELECT count(*) FROM key_pair").fetchone() == (2,)  # patient and user
        assert file.execute("SELECT max(seq) FROM (SELECT seq FROM call UNION SELECT seq FROM key_pair)").fetchone() <= (
            file.execute("SELECT last_seq FROM source").fetchone()
        )
    old, new = calls[0][1], calls[1][1]
    with closing(open_database(log, tmp_path / "review.sqlite3", writes_review=True)) as database:
        assert same_ids(database, old) == [old, new]
        assert same_ids(database, new) == [new, old]
        assert [(one.generation, one.calls, one.pairs) for one in keys_in_use(database)] == [(1, 1, 2), (2, 3, 0)]


def test_a_hash_is_read_with_or_without_its_generation() -> None:
    digits = "0123456789abcdef" * 2
    assert hash_bytes(f"k2:{digits}") == hash_bytes(digits.upper()) == bytes.fromhex(digits)
    assert hash_bytes("k2:0123") is None


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"hash_secret": NEW}, ""),
        (BOTH, ""),
        (BOTH | {"hash_generation": 1}, "CDS_HASH_GENERATION"),
        ({"hash_secret_old": OLD, "hash_generation": 2}, "CDS_HASH_SECRET"),
        (BOTH | {"hash_secret_old": NEW}, "another key"),
        ({"hash_secret": NEW, "reveal_key": NEW}, "another key"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys: dict[str, object], problem: str) -> None:
    found = key_problem(Settings.model_validate(keys))
    assert problem in found
    assert bool(problem) == bool(found)
    assert NEW not in found
