"""Write `/metrics` of one worker or of many.

prometheus-client chooses when it is first imported where values live: in the process, or where there is a `metrics_folder` in
mapped files of that folder, one set per process, which any worker can add up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from cds_service.telemetry import metrics
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.metrics_folder import metrics_folder
from cds_service.telemetry.process_metrics import WorkerProcesses

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, over all workers."""
    flush()
    folder = metrics_folder()
    if folder is None:
        return generate_latest(metrics.REGISTRY) + _of_processes([os.getpid()])
    _remove_ended_workers(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry) + _of_processes(sorted(_live_workers(folder)))


def _of_processes(pids: Iterable[int]) -> bytes:
    registry = CollectorRegistry()
    registry.register(WorkerProcesses(pids))
    return generate_latest(registry)


def reserve_disk_space() -> None:
    """Allocate the mapped files of this process on disk.

    A write into a hole of a sparse file would end the process where the disk is full.
    To be called at the end of the start, after all possible labels have been used once.
    """
    folder = metrics_folder()
    if folder is None:
        return
    for path in folder.glob(f"*_{os.getpid()}.db"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def forget_own() -> None:
    """Remove the mapped files of this process, which loads for its workers and counts nothing.

    Its zeros would be the lowest values of gauges. A worker gets files of its own when it first counts.
    """
    folder = metrics_folder()
    if folder is not None:
        for path in folder.glob(f"*_{os.getpid()}.db"):
            path.unlink()


def _live_workers(folder: Path) -> set[int]:
    """Return the numbers of the processes that have live gauges in the folder."""
    return {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}


def _remove_ended_workers(folder: Path) -> None:
    """Remove the gauges of workers that were killed; their counters stay."""
    for pid in _live_workers(folder):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # a process of another user has this number now
