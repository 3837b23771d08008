"""What is known of cards shown before where two places are asked: what each lacks is said, and never taken for "none"."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cds_service.alert_log.prior import Incomplete, PriorCards
from cds_service.alert_log.prior_everywhere import PriorEverywhere, PriorSourceDownError
from cds_service.alert_log.records import PriorRecord
from tests.core import NOW

HERE = PriorRecord("u1", "card", "1.0.0", "info", "", 0, "", "order-sign", "", NOW, "")
ELSEWHERE = msgspec.structs.replace(HERE, uuid="u2", shown_at=NOW - timedelta(days=1))


class File(PriorCards):
    def __init__(self, found: list[PriorRecord]) -> None:
        super().__init__(Path("nowhere"), 0.05)
        self.found = found

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        return self.found


class OtherMachines:
    """Finds what it is given; raises an exception that it is given; never answers for None."""

    def __init__(self, found: list[PriorRecord] | Exception | None) -> None:
        self.found = found

    async def find(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        if self.found is None:
            await asyncio.Event().wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found or []

    async def open(self) -> None: ...

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("here", "there", "found", "incomplete"),
    [
        ([HERE], [ELSEWHERE], [HERE, ELSEWHERE], False),
        ([], [], [], False),
        (Incomplete(), [ELSEWHERE], [ELSEWHERE], True),
        ([HERE], PriorSourceDownError("Paused"), [HERE], True),
        ([HERE], None, [HERE], True),
        ([], None, [], True),
        (Incomplete(), None, [], True),
    ],
)
async def test_a_place_that_does_not_answer_leaves_the_list_incomplete(
    here: list[PriorRecord], there: list[PriorRecord] | Exception | None, found: list[PriorRecord], incomplete: bool
) -> None:
    asked = PriorEverywhere(File(here), OtherMachines(there), 0.05)
    known = await asked.find("k1:" + "0" * 32, "client", {"card": NOW - timedelta(days=90)}, ())
    assert known == found
    assert isinstance(known, Incomplete) == incomplete
    assert asked.unanswered == (1 if not isinstance(there, list) else 0)
    await asked.close()
