"""The end of a process: the signal that is held back."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cds_service.process.shutdown import delay_sigterm


async def test_the_signal_to_end_is_held_back_and_told_at_once() -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("server"))
    try:
        with delay_sigterm(0.2, lambda: heard.append("not ready")):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
            assert heard == ["not ready"]
            await asyncio.sleep(0.3)
            assert heard == ["not ready", "server"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("seconds", [0, 0.2])
async def test_a_second_signal_changes_nothing(seconds: float) -> None:
    heard: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("server"))
    try:
        with delay_sigterm(seconds, lambda: heard.append("not ready")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert heard == ["not ready", "server"]
    finally:
        signal.signal(signal.SIGTERM, before)
