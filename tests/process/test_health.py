"""What a process says to those who run it: alive and ready."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cds_service.process.health import ProcessState
from cds_service.process.self_check import SelfCheck
from tests.core import a_runtime, knowledge
from tests.http_side import got
from tests.unwritable_log import make_unwritable


async def test_a_process_that_answers_is_alive(tmp_path: Path) -> None:
    assert await got(a_runtime(tmp_path), "/health/live") == (200, {"status": "live"})


# Ready


async def test_a_process_is_ready_between_its_start_and_its_end(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    assert await got(runtime, "/health/ready") == (200, {"status": "ready", "because": []})
    process = ProcessState(runtime, SelfCheck(runtime, 0))
    assert process.not_ready() == ["starting"]
    process.started = True
    process.draining = True
    assert process.not_ready() == ["draining"]


async def test_a_process_without_cards_is_not_ready(tmp_path: Path) -> None:
    real = knowledge()
    none: Any = SimpleNamespace(services=real.services, cards=(), hash="", overrides=real.overrides, labels=real.labels)
    runtime = msgspec.structs.replace(a_runtime(tmp_path), knowledge=none)
    assert await got(runtime, "/health/ready") == (503, {"status": "not ready", "because": ["no cards"]})


@pytest.mark.parametrize(("required", "status"), [(True, 503), (False, 200)])
async def test_a_process_that_must_log_and_cannot_is_not_ready(tmp_path: Path, required: bool, status: int) -> None:
    runtime = a_runtime(tmp_path, log_required=required)
    make_unwritable(runtime.settings.log_path)
    assert (await got(runtime, "/health/ready"))[0] == status
