"""What all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from prometheus_client import Counter
from respx.mocks import HTTPCoreMocker

from cds_service.files.paths import cards_dir
from cds_service.knowledge.knowledge import Knowledge, ShadowRule, unless_active
from cds_service.knowledge.loader import read_knowledge
from cds_service.settings import OPTIONS
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.metrics import REGISTRY
from cds_service.terminology.terminology import Terminology
from tests.core import knowledge
from tests.reading import terminology

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


@pytest.fixture(autouse=True, scope="session")
def _shipped_knowledge_is_read_once() -> Iterator[None]:
    """Let commands and applications share the shipped cards and value sets: reading them takes longer than most tests."""
    value_sets, cards, known = terminology(), cards_dir(), knowledge()
    load_value_sets = Terminology.load

    def shared_value_sets(folder: Path, rxnorm_file: Path | None = None) -> Terminology:
        shipped = folder == cards / "value_sets" and (rxnorm_file is None or not rxnorm_file.exists())
        return value_sets if shipped else load_value_sets(folder, rxnorm_file)

    def shared_cards(
        folder: Path, terms: Terminology, overlay: Path | None = None, shadow: ShadowRule = unless_active
    ) -> Knowledge:
        shipped = folder == cards and terms is value_sets and overlay is None and shadow is unless_active
        return known if shipped else read_knowledge(folder, terms, overlay, shadow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Terminology, "load", shared_value_sets)
        patch.setattr("cds_service.knowledge.site_knowledge.read_knowledge", shared_cards)
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
