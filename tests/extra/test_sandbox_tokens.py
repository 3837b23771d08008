"""Tokens that the public sandbox really sent, verified by the preset at the moment when they were sent (CDS_SHARED/protocol)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cds_service.trust.caller import Endpoint
from cds_service.trust.refusal import CallerRefusedError
from tests.extra.test_real_records import SHARED
from tests.trusting import NOW, Clock, callers

RECORDED = [
    (request["path"].removeprefix("/cds-services"), request["at"], headers["authorization"], headers["host"])
    for file in sorted((SHARED / "protocol" / "sandbox_traffic").glob("*.json"))
    for request in json.loads(file.read_text(encoding="utf-8"))["requests"]
    if "authorization" in (headers := dict(request["headers"]))
]


def test_there_are_recordings() -> None:
    assert len(RECORDED) >= 7


@pytest.mark.parametrize(("path", "at", "authorization", "host"), RECORDED)
async def test_a_recorded_token_is_accepted_where_and_when_it_was_sent_and_once(
    path: str, at: float, authorization: str, host: str, tmp_path: Path
) -> None:
    clock = Clock()
    clock.passed = at - NOW
    known = callers(tmp_path, {"name": "sandbox", "preset": "sandbox"}, clock=clock, public_url=f"http://{host}")
    headers = [(b"authorization", authorization.encode())]
    assert (await known.identify(headers, Endpoint(path))).client == "sandbox"
    clock.passed += 1.0
    for where, later in ((path, 0.0), (f"{path}/else", 0.0), (path, 400.0)):
        clock.passed += later
        with pytest.raises(CallerRefusedError):
            await known.identify(headers, Endpoint(where))
