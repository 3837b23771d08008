"""The page of exports: what it says before, what it hands out, and what the audit has afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds_service.access.audit import AuditError, AuditLog
from cds_service.exports.formats import FORMATS
from cds_service.review import export_stream
from tests.core import NOW
from tests.review.fired_log import MALARIA, NO_LABS, QUININE, database, fire, pages

DAYS = "from=2025-11-01&to=2025-11-30"
CALLS = [(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, ""), (MALARIA, ""), (NO_LABS, "")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    asyncio.run(fire(folder, CALLS, end=NOW - timedelta(hours=10)))
    return folder


def audit(folder: Path) -> list[dict[str, Any]]:
    with closing(database(folder)) as opened:
        return opened.rows("SELECT reader, action, object, reason, detail FROM review.audit ORDER BY seq")


async def export(client: httpx2.AsyncClient, name: str, query: str = DAYS, **form: str) -> httpx2.Response:
    return await client.post(f"/review/exports?{query}", data={"format": name, "reason": "for the committee", **form})


@pytest.mark.parametrize("name", FORMATS)
async def test_each_format_is_handed_out_as_a_file_and_audited_with_its_hash(folder: Path, name: str) -> None:
    async with pages(folder, "Ann") as client:
        answer = await export(client, name)

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="cramp-cds-{name}-2025-11-01-to-2025-11-30.')
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith(FORMATS[name].media_type)
    began, finished = audit(folder)[-2:]
    for entry in (began, finished):
        assert (entry["reader"], entry["reason"], entry["object"]) == ("Ann", "for the committee", f"/review/exports?{DAYS}")
    detail = json.loads(finished["detail"])
    assert (finished["action"], detail["sha256"]) == ("export finished", hashlib.sha256(answer.content).hexdigest())
    assert detail["bytes"] == len(answer.content)


async def test_the_page_says_how_many_rows_before(folder: Path) -> None:
    async with pages(folder, "Ann") as client:
        await client.get("/review")
        said = (await client.get(f"/review/exports.json?{DAYS}&card=quinine-avoid")).json()
        rows = (await export(client, "ndjson", f"{DAYS}&card=quinine-avoid")).text.splitlines()
        html = (await client.get(f"/review/exports?{DAYS}&card=quinine-avoid&case=a/b/1")).text

    assert (said["cards"], said["cards_exactly"]) == (len(rows), True)
    assert len(rows) == 3
    assert "a/b/1</textarea>" in html
    assert "userFeedback" in html


async def test_listed_cases_are_the_evidence_of_a_change(folder: Path) -> None:
    async with pages(folder, "Ann") as client:
        rows = [json.loads(line) for line in (await export(client, "evaluations-ndjson")).text.splitlines()]
        wanted = [f"{one['call']}/{one['cardId']}/{one['nth']}" for one in rows if one["cardId"] == "quinine-avoid"][:2]
        got = await export(client, "evaluations-ndjson", cases="\r\n".join(wanted))
        refused = await export(client, "csv", cases=wanted[0])
        wrong = await export(client, "evaluations-csv", cases="nothing")

    assert [f"{one['call']}/{one['cardId']}/{one['nth']}" for one in map(json.loads, got.text.splitlines())] == wanted
    assert (refused.status_code, wrong.status_code) == (400, 400)
    assert "case 1" in wrong.text


@pytest.mark.parametrize(
    "form", [{"format": "exe"}, {"format": "csv", "reason": " "}, {"format": "csv", "reason": "x" * 501}, {}]
)
async def test_a_form_without_reason_or_format_hands_out_nothing(folder: Path, form: dict[str, str]) -> None:
    async with pages(folder, "Ann") as client:
        await client.get("/review")  # makes the review database
        before = len(audit(folder))
        answer = await client.post(f"/review/exports?{DAYS}", data=form)

    assert answer.status_code == 400
    assert "content-disposition" not in answer.headers
    assert len(audit(folder)) == before


async def test_an_audit_that_can_t_be_written_hands_out_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AuditError("The audit can't be written")

    monkeypatch.setattr(AuditLog, "append", fails)
    async with pages(folder, "Ann") as client:
        for _ in range(export_stream.AT_ONCE + 1):  # nothing is held afterwards
            answer = await export(client, "csv")

    assert answer.status_code == 503
    assert "be written" in answer.text
    assert "quinine" not in answer.text.partition("<main")[2]


async def test_more_than_two_at_once_are_told_to_wait(folder: Path) -> None:
    held = [export_stream._free.acquire(blocking=False) for _ in range(export_stream.AT_ONCE)]
    try:
        async with pages(folder, "Ann") as client:
            answer = await export(client, "csv")
    finally:
        for _ in held:
            export_stream._free.release()

    assert held == [True] * export_stream.AT_ONCE
    assert answer.status_code == 503
    assert "under way" in answer.text
