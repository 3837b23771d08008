"""A flood of refusals is a few lines and a summary."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.log_lines import configure_logging, summarise_refusals
from cds_service.telemetry.refusal_lines import AT_FIRST, MINUTE, RefusalLines

Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def written(now: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Returns the lines of a process since the last call."""
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:]

    class Clocked(RefusalLines):
        def __init__(self) -> None:
            super().__init__(lambda: now[0])

    monkeypatch.setattr("cds_service.telemetry.log_lines.RefusalLines", Clocked)
    for name in ("sys.excepthook", "sys.unraisablehook", "threading.excepthook"):
        monkeypatch.setattr(name, None)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root.handlers[:] = []
    configure_logging("production", stream)

    def lines() -> list[dict[str, Any]]:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [msgspec.json.decode(line) for line in text.splitlines()]

    yield lines
    logging.captureWarnings(False)
    root.handlers[:] = before


def refuse(times: int, why: str = "no_token", peer: str = "10.0.0.5") -> None:
    for _ in range(times):
        tell(Event.CALLER_REFUSED, why=why, client="-", peer=peer)


def test_the_first_of_a_kind_are_written_and_a_summary_of_all(now: list[float], written: Told) -> None:
    refuse(1000)
    refuse(2, "expired")
    refuse(30, peer="10.0.0.6")
    assert [line["why"] for line in written()] == ["no_token"] * AT_FIRST + ["expired"] * 2
    now[0] = MINUTE - 1
    summarise_refusals()
    assert written() == []
    now[0] = MINUTE
    summarise_refusals()
    told = [(line["event"], line["kind"], line["why"], line["count"], line["peers"]) for line in written()]
    assert told == [
        ("refusals", "caller_refused", "no_token", 1030, "10.0.0.5 (1000), 10.0.0.6 (30)"),
        ("refusals", "caller_refused", "expired", 2, "10.0.0.5 (2)"),
    ]


def test_the_next_minute_begins_anew(now: list[float], written: Told) -> None:
    refuse(20)
    now[0] = MINUTE
    summarise_refusals()
    written()
    refuse(3)
    assert len(written()) == 3
    now[0] = 3 * MINUTE
    summarise_refusals()
    summarise_refusals()
    assert [line["count"] for line in written()] == [3]


def test_many_addresses_are_named_by_their_number(now: list[float], written: Told) -> None:
    for n in range(3000):
        refuse(1, peer=f"10.1.{n // 256}.{n % 256}")
    refuse(5, peer="10.1.0.0")
    written()
    now[0] = MINUTE
    summarise_refusals()
    (line,) = written()
    assert line["count"] == 3005
    assert line["peers"].endswith(", others (2995)")
    assert "10.1.0.0 (6)" in line["peers"]


def test_what_is_no_refusal_is_never_folded(written: Told) -> None:
    for _ in range(50):
        tell(Event.UNEXPECTED_ERROR, error="KeyError", place="-", trace="0")
    assert len(written()) == 50


@pytest.mark.parametrize("peers", [False, True])
def test_a_line_has_the_address_only_where_the_site_asks_for_it(peers: bool, written: Told) -> None:
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []
    configure_logging("production", stream, peers=peers)
    refuse(1)
    assert ("10.0.0.5" in stream.getvalue()) is peers
