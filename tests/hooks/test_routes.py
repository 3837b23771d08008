"""The routes of the framework: discovery to a client that knows it, and while the log is broken."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from tests.http_side import running
from tests.unwritable_log import make_unwritable, make_writable


async def test_a_client_that_knows_the_services_is_told_that_nothing_changed(app: FastAPI) -> None:
    async with running(app) as client:
        etag = (await client.get("/cds-services")).headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = await client.get("/cds-services", headers={"if-none-match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
            assert answer.headers["cache-control"] == "no-cache"
        assert (await client.get("/cds-services", headers={"if-none-match": '"other"'})).status_code == 200


async def test_discovery_answers_while_the_log_is_broken(app: FastAPI, tmp_path: Path) -> None:
    make_unwritable(tmp_path / "alerts.sqlite3")
    async with running(app) as client:
        assert (await client.get("/cds-services")).status_code == 200
        make_writable(tmp_path / "alerts.sqlite3")
