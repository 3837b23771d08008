"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from prometheus_client import Counter

from cds_service.call_counts import flush
from cds_service.metrics import REGISTRY

# No deadline: a busy machine is not a bug. The same examples in every CI run, so that a failure there is one of the change.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _counts_of_a_new_process() -> None:
    """No test sees what another has counted."""
    flush()
    for metric in list(REGISTRY._collector_to_names):
        if getattr(metric, "_labelnames", ()):
            metric.clear()  # type: ignore[attr-defined]
        elif isinstance(metric, Counter):
            metric.reset()
