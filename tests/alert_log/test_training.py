"""A dictionary of a log's own calls."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from cds_service.alert_log import CallRecord
from cds_service.alert_log.reading import bodies_of, open_for_reading
from cds_service.alert_log.store import Store
from cds_service.alert_log.training import NotEnoughCallsError, train_from
from cds_service.cli.main import main
from tests.alert_log_samples import a_call, rows

WORDS = [f"{word}-of-this-site" for word in ("potassium", "magnesium", "quinine", "baclofen", "digoxin", "cirrhosis", "dialysis")]


def calls(count: int) -> list[CallRecord]:
    """Calls with words that only this site has."""
    chance = Random(1)
    return [
        a_call(minute=n, facts=json.dumps({word: chance.choice(WORDS) * 3 for word in chance.sample(WORDS, 5)}).encode())
        for n in range(count)
    ]


def test_bodies_get_smaller_and_those_that_are_there_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    logged = calls(600)
    with closing(Store(path)) as store:
        store.append(logged)

    trained = train_from(path)
    with closing(Store(path)) as store:
        store.append(calls(601)[-1:])

    assert trained.calls == 600
    assert trained.after < trained.before
    assert trained.dictionary_id in rows(path, "SELECT id FROM dictionary")
    assert rows(path, "SELECT count(*) FROM dictionary") == [2]
    with closing(open_for_reading(path)) as connection:
        body_of = bodies_of(connection)
        found = [body_of(seq) for seq in (1, 600, 601)]
    assert [body is not None and json.loads(bytes(body.facts)) for body in found] == [
        json.loads(one.facts) for one in (logged[0], logged[599], calls(601)[600])
    ]


def test_a_few_calls_are_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    assert main(["log", "train"]) == 1
    assert "no alert log" in capsys.readouterr().err
    with closing(Store(path)) as store:
        store.append(calls(10))

    with pytest.raises(NotEnoughCallsError):
        train_from(path)
    assert main(["log", "train"]) == 1
    assert "10 calls are too few to learn from" in capsys.readouterr().err
