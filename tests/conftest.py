"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from prometheus_client import Counter
from respx.mocks import HTTPCoreMocker

from cds_service.settings import OPTIONS
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.metrics import REGISTRY

# No deadline: a busy machine is not a bug. The same examples in every CI run, so that a failure there is one of the change.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# respx knows the connections of httpcore alone; those of its successor have the same methods.
HTTPCoreMocker.add_targets("httpcore2._async.connection.AsyncHTTPConnection")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Settings()` has the defaults."""
    for option in OPTIONS:
        monkeypatch.delenv(option.variable, raising=False)


@pytest.fixture(autouse=True)
def _counts_of_a_new_process() -> None:
    """No test sees what another has counted."""
    flush()
    for metric in list(REGISTRY._collector_to_names):
        if getattr(metric, "_labelnames", ()):
            metric.clear()  # type: ignore[attr-defined]
        elif isinstance(metric, Counter):
            metric.reset()
