"""A log of records that the engine made, with the knowledge in its archive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec

from cds_service.alert_log import AlertLog
from cds_service.alert_log.knowledge_archive import pack_knowledge
from cds_service.alert_log.records import CallRecord
from cds_service.alert_log.sealing import sealing_key
from cds_service.alert_log.store import Archive
from cds_service.database import open_database
from cds_service.files.paths import cards_dir
from cds_service.settings import Settings
from tests.bench.log_mix import evaluated, record_of
from tests.core import NOW, knowledge

REVEAL_KEY = "r" * 32


def some_records(count: int, seed: int = 1, *, keep_inputs: bool = False) -> list[CallRecord]:
    """Records of made-up calls, a second apart."""
    if not keep_inputs:
        return [record_of(one) for one in evaluated(count, seed)]
    change = {"sealing": sealing_key(REVEAL_KEY, 1), "terminology": knowledge().terminology}
    return [record_of((msgspec.structs.replace(received, **change), done)) for received, done in evaluated(count, seed)]


def write_log(folder: Path, records: Iterable[CallRecord], *, archived: bool = True) -> Settings:
    """Write the records; return the settings of their log."""
    path = folder / "alerts.sqlite3"

    async def write() -> None:
        pack = partial(pack_knowledge, cards_dir(), None)
        log = AlertLog(path, patience=60, archive=Archive(knowledge().hash, pack, lambda: NOW) if archived else None)
        log.start()
        for written in asyncio.as_completed([log.append(one) for one in records]):
            assert await written
        await log.close()

    asyncio.run(write())
    settings = Settings(log_path=path, hash_secret="0" * 32)
    open_database(path, folder / "review.sqlite3", writes_review=True).close()
    return settings


def without_archive(record: CallRecord) -> CallRecord:
    """The record, as if it were made with knowledge that no archive has."""
    return msgspec.structs.replace(record, knowledge_hash="another")
