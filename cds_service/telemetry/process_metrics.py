"""Add memory, processor time and open files of each worker to the metrics, as other programs report theirs.

prometheus-client's own collector reads the process that it runs in, and is left out where several workers share their metrics.
The names are the usual ones (`process_resident_memory_bytes` …), with the worker's number as a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class WorkerProcesses(Collector):
    """Collect the metrics of several processes of this machine."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)

    def collect(self) -> Iterable[Metric]:
        """Return each metric with a sample for each process that still runs."""
        found: dict[str, Metric] = {}
        for pid in self._pids:
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                whole = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    whole.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return found.values()
