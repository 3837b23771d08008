"""What all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings
from prometheus_client import Counter
from respx.mocks import HTTPCoreMocker

from cds_service.settings import OPTIONS
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.metrics import REGISTRY
from tests import proofs
from tests.knowledge_once import read_once

# No deadline: a busy machine is not a bug. The same examples in every CI run, so that a failure there is one of the change.
EXAMPLES = 100 if proofs.FULL else 25
settings.register_profile("local", deadline=None, max_examples=EXAMPLES)
settings.register_profile("ci", deadline=None, max_examples=EXAMPLES, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for `-n auto`: one more than cores, because some tests wait for a server or the disk."""
    return (os.cpu_count() or 1) + 1


# respx knows the connections of httpcore alone; those of its successor have the same methods.
HTTPCoreMocker.add_targets("httpcore2._async.connection.AsyncHTTPConnection")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_this_machine() -> Iterator[None]:
    """`Settings()` has the defaults."""
    with pytest.MonkeyPatch.context() as patch:
        for option in OPTIONS:
            patch.delenv(option.variable, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _knowledge_is_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        read_once(patch)
        yield


@pytest.fixture(autouse=True)
def _counts_of_a_new_process() -> None:
    """No test sees what another has counted."""
    flush()
    for metric in list(REGISTRY._collector_to_names):
        if getattr(metric, "_labelnames", ()):
            metric.clear()  # type: ignore[attr-defined]
        elif isinstance(metric, Counter):
            metric.reset()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape lone surrogates, which hostile texts leave in logs: a test process can't send them to its parent."""
    return _sendable((yield))


def _sendable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_sendable(name): _sendable(inner) for name, inner in value.items()}
        case list() | tuple():
            return type(value)(_sendable(inner) for inner in value)
    return value


def pytest_collection_finish() -> None:
    """Keep the collector from walking again and again through modules and tests, which stay."""
    gc.collect()
    gc.freeze()
