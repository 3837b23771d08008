"""What is counted, and that alarms are about what is counted."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import cds_service
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.telemetry import metrics
from cds_service.telemetry.process_metrics import WorkerProcesses
from cds_service.telemetry.prometheus import exposition
from tests.core import NOW, a_runtime
from tests.http_side import running

ALERTS = Path(cds_service.__file__).parent / "docs" / "alerts.yml"
ALL = [one for one in vars(metrics).values() if isinstance(one, (Counter, Gauge, Histogram))]


def sample(name: str, **labels: str) -> float | None:
    """The value that `/metrics` shows."""
    for family in text_string_to_metric_families(exposition().decode()):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return float(one.value)
    return None


async def test_a_call_is_counted_with_its_phases_decisions_and_cards(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    quinine = request_from_case(["order: quinine 300 mg, for leg cramps"], "order-sign", NOW)
    unread = request_from_case(["source labs: error"], "patient-view", NOW)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        await client.post("/cds-services/cramp-care-order-sign", json=quinine)
        await client.post("/cds-services/cramp-care-order-sign", json={})
        await client.post("/cds-services/cramp-care-patient-view", json=unread)
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
    sign = {"service": "cramp-care-order-sign"}
    assert sample("cds_calls_total", **sign, status="200") == 1
    assert sample("cds_calls_total", **sign, status="400") == 1
    assert sample("cds_call_seconds_count", **sign) == 2
    assert sample("cds_refused_total", status="400") == 1
    assert sample("cds_decisions_total", card="quinine-avoid", outcome="fired") == 1
    assert sample("cds_cards_total", card="quinine-avoid", indicator="warning", mode="live") == 1
    assert sample("cds_cards_total", card="not-checked", indicator="info", mode="live") == 1
    assert sample("cds_not_checked_total", service="cramp-care-patient-view") == 1
    for phase in ("receive", "decode", "gather", "read", "judge", "draw", "choose", "log"):
        assert sample("cds_phase_seconds_count", phase=phase) == (3 if phase == "receive" else 2)
    assert sample("cds_log_records_total", outcome="written") == 2
    assert sample("cds_log_state", state="ok") == 1
    assert sample("cds_workers", version=cds_service.__version__, profile="dev", configuration=runtime.configuration) == 1


async def test_what_has_not_happened_yet_is_0_and_not_absent(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)):
        assert sample("cds_unexpected_errors_total") == 0
        assert sample("cds_evaluation_failures_total", card="quinine-avoid") == 0
        assert sample("cds_log_records_total", outcome="lost") == 0


async def test_labels_are_no_text_that_was_sent(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for path in ("/cds-services/SECRET", "/cds-services/SECRET/feedback", "/SECRET"):
            await client.post(path, json={"hook": "SECRET"})
    assert "SECRET" not in exposition().decode()


def test_counts_of_this_process_are_read_by_label_without_those_that_are_0() -> None:
    metrics.SECURITY_EVENTS.labels("one").inc(2)
    metrics.SECURITY_EVENTS.labels("none")
    metrics.UNEXPECTED_ERRORS.inc()
    assert metrics.counts(metrics.SECURITY_EVENTS) == {"one": 2}
    assert (metrics.count(metrics.SECURITY_EVENTS), metrics.count(metrics.UNEXPECTED_ERRORS)) == (2, 1)


def test_many_durations_at_once_are_observed_like_one_after_another() -> None:
    values = [0.0, 0.1, 0.2, 0.5, 0.5, 0.75, 1.0, 7.0]

    def page(*, at_once: bool) -> bytes:
        registry = CollectorRegistry()
        durations = metrics.Durations("a", "b", ["phase"], registry=registry, buckets=(0.1, 0.5, 1.0)).labels("c")
        if at_once:
            durations.observe_all(values)
        else:
            for value in values:
                durations.observe(value)
        return re.sub(rb"a_created.*", b"", generate_latest(registry))

    assert page(at_once=True) == page(at_once=False)


def test_each_process_has_its_memory_and_open_files() -> None:
    own = {"pid": str(os.getpid())}
    assert (sample("process_resident_memory_bytes", **own) or 0) > 1e6
    assert 0 < (sample("process_open_fds", **own) or 0) < (sample("process_max_fds", **own) or 0)
    assert sample("process_cpu_seconds_total", **own) is not None


def test_of_a_process_that_has_ended_nothing_is_shown() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert list(WorkerProcesses([ended.pid]).collect()) == []


def names() -> set[str]:
    """All names of samples that `/metrics` can have."""
    found: set[str] = set()
    for metric in ALL:
        for family in metric.describe():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            found |= {family.name + suffix for suffix in suffixes}
    return found | {one.name for metric in WorkerProcesses([os.getpid()]).collect() for one in metric.samples}


def rules() -> list[Any]:
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alarm_is_about_metrics_and_labels_that_there_are_and_says_what_it_means(rule: Any) -> None:
    used = set(re.findall(r"(?:cds|process)_\w+", rule["expr"]))
    assert used
    assert used <= names()
    labels = {label for metric in ALL if any(name.startswith(metric._name) for name in used) for label in metric._labelnames}
    said = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= labels
    assert set(re.findall(r"[{,](\w+)!?[=]", rule["expr"])) <= labels
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description"}
