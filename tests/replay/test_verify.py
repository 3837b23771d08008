"""`cds-service replay --verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log import CallRecord
from cds_service.cli.main import main
from cds_service.decide.judge import judge
from cds_service.replay import again
from cds_service.replay.verify import Verified, verify
from cds_service.settings import Settings
from tests.replay.replayed_log import some_records, without_archive, write_log

COUNT = 150


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The log of some records."""
    return write_log(tmp_path_factory.mktemp("log"), some_records(COUNT))


def verified(settings: Settings, processes: int = 1) -> Verified:
    steps: list[tuple[int, int]] = []
    found = verify(settings, 0, processes, lambda done, of: steps.append((done, of)))
    assert steps[-1] == (found.records, found.records)
    return found


def test_every_record_follows_from_its_facts_and_the_cards_of_its_time(settings: Settings) -> None:
    assert verified(settings) == Verified(same=COUNT)


@pytest.mark.slow
def test_processes_find_the_same(settings: Settings) -> None:
    assert verified(settings, 2) == Verified(same=COUNT)


def test_an_engine_that_decides_differently_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(*arguments: Any) -> Any:
        return [
            msgspec.structs.replace(one, outcome="not_fired") if one.card.id == "electrolyte-hypokalaemia" else one
            for one in judge(*arguments)
        ]

    monkeypatch.setattr(again, "judge", hasty)
    different = verified(settings).different
    assert different
    assert all("electrolyte-hypokalaemia" in one.cards for one in different)


def changed(record: CallRecord, old: bytes, new: bytes, member: str) -> CallRecord:
    whole = getattr(record, member)
    assert old in whole
    return msgspec.structs.replace(record, **{member: whole.replace(old, new, 1)})


@pytest.mark.parametrize("member", ["evaluations", "cards"])
@pytest.mark.slow
def test_a_record_that_was_altered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, member: str) -> None:
    records = some_records(40)
    place, record = next((place, one) for place, one in enumerate(records) if b'"outcome":"fired"' in one.evaluations)
    if member == "cards":
        cards = (changed_card(record), *record.cards[1:])
        records[place] = msgspec.structs.replace(record, cards=cards)
    else:
        records[place] = changed(record, b'"outcome":"fired"', b'"outcome":"capped"', member)
    settings = write_log(tmp_path, records)
    (one,) = verified(settings).different
    assert one.parts == (member,)
    assert one.cards
    monkeypatch.setenv("CDS_LOG_PATH", str(settings.log_path))
    assert main(["replay", "--verify", "--processes", "1"]) == 1
    out = capfd.readouterr().out
    assert f"{member} of {one.cards[0]} differ" in out
    assert "39 records give the same evaluations and cards, 1 differ" in out


def changed_card(record: CallRecord) -> Any:
    card = record.cards[0]
    return msgspec.structs.replace(card, body=card.body.replace(b'"summary":"', b'"summary":"X', 1))


def test_what_can_not_be_replayed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    records = some_records(4)
    records[0] = without_archive(records[0])
    records[1] = msgspec.structs.replace(records[1], degraded="engine_failed")
    records[2] = msgspec.structs.replace(records[2], facts=b"")
    settings = write_log(tmp_path, records)
    assert verified(settings) == Verified(1, [], {"no_knowledge": 1, "engine_failed": 1, "refused": 1})
    monkeypatch.setenv("CDS_LOG_PATH", str(settings.log_path))
    assert main(["replay", "--verify", "--processes", "1"]) == 0
    assert "1 not replayed: the cards of its time are not in the log's archive" in capfd.readouterr().out


def test_a_log_of_which_nothing_can_be_replayed_is_not_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_log(tmp_path, map(without_archive, some_records(2)), archived=False)
    monkeypatch.setenv("CDS_LOG_PATH", str(settings.log_path))
    assert main(["replay", "--verify", "--processes", "1"]) == 1
