"""Recordings of the public sandbox, replayed with their headers and tokens as they are (CDS_SHARED/protocol/sandbox_traffic)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cds_service.app import create_app
from tests.core import a_runtime
from tests.extra.test_real_records import SHARED
from tests.http_side import running

RECORDED = sorted((SHARED / "protocol" / "sandbox_traffic").glob("*.json"))
SERVED = {"host", "content-length", "accept-encoding", "connection"}  # what the client of this test writes itself
# The cards of a living patient who has nothing but the draft order; all other recordings have none.
# A second click on the current tab sends no draft order, which is said.
CARDS = {"08-rx-view-choose-medication": ["quinine-avoid"], "14-rx-view-tab-again": ["not-checked"]}
DIED = "2008-12-25T21:51:36+00:00"  # of the recorded patient


def requests(path: Path) -> Iterator[tuple[str, str, dict[str, str], Any]]:
    """(method, path at this service, headers, body) of each recorded request."""
    for one in json.loads(path.read_text())["requests"]:
        headers = {name: value for name, value in one["headers"] if name not in SERVED}
        yield one["method"], one["path"].replace("/stub-", "/cramp-care-"), headers, one["body"]


def test_the_recordings_are_there() -> None:
    assert len(RECORDED) >= 6


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recording_is_answered_as_a_browser_needs_it(tmp_path: Path, path: Path) -> None:
    runtime = a_runtime(tmp_path)
    methods = []
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for method, address, headers, body in requests(path):
            methods.append(method)
            if isinstance(body, dict):
                body.pop("fhirServer", None)  # nobody is asked
            answer = await client.request(method, address, headers=headers, json=body)
            assert answer.headers["access-control-allow-origin"] in ("*", headers["origin"])
            if method == "OPTIONS":
                assert answer.status_code in (200, 204)
                allowed = {one.strip().lower() for one in answer.headers["access-control-allow-headers"].split(",")}
                assert set(headers["access-control-request-headers"].split(",")) <= allowed
                continue
            document = answer.json()
            if method == "GET":
                assert (answer.status_code, len(document["services"])) == (200, 3)
            elif address.endswith("/feedback"):
                assert (answer.status_code, document) == (200, {"received": 1})
            else:  # the recorded service prefetched under keys of its own, so ours are missing and there is nowhere to ask
                assert answer.status_code == 412
                assert "Not sent in `prefetch`" in document["issue"][0]["details"]["text"]
    assert "POST" in methods


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_call_with_all_keys_gets_cards_or_none(tmp_path: Path, path: Path) -> None:
    """Add what our prefetch would have found, which is nothing, and send each call for the living and the deceased patient.

    The patient in the recordings died in 2008, and no card is shown for a deceased patient. Without the date of death the
    same call shows what the service answers to this draft order.
    """
    runtime = a_runtime(tmp_path)
    keys = next(iter(runtime.knowledge.services)).prefetch
    called = 0
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for method, address, headers, body in requests(path):
            if method == "POST" and not address.endswith("/feedback"):
                body.pop("fhirServer", None)
                patient = body.get("prefetch", {}).get("patient") or {"id": body["context"]["patientId"]}
                patient |= {"resourceType": "Patient"}
                patient.pop("deceasedDateTime", None)
                for death, cards in (({}, CARDS.get(path.stem, [])), ({"deceasedDateTime": DIED}, [])):
                    body["prefetch"] = dict.fromkeys(keys) | {"patient": patient | death}
                    answer = await client.post(address, headers=headers, json=body)
                    assert answer.status_code == 200
                    assert [card["source"]["topic"]["code"] for card in answer.json()["cards"]] == cards
                called += 1
    assert called or "dismiss" in path.stem
