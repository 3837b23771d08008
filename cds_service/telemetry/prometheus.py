"""`/metrics` of one worker or of many.

prometheus-client chooses when it is first imported where values live: in the process, or where `PROMETHEUS_MULTIPROC_DIR` is set
in mapped files of that folder, one set per process, which any worker can add up. `cds-service serve --workers N` sets it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from cds_service.telemetry import metrics
from cds_service.telemetry.call_counts import flush

CONTENT_TYPE = CONTENT_TYPE_LATEST
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it is made by mkdtemp


def exposition() -> bytes:
    """All metrics in Prometheus' text format, over all workers."""
    flush()
    folder = _folder()
    if folder is None:
        return generate_latest(metrics.REGISTRY)
    _forget_the_dead(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def reserve() -> None:
    """Gives the mapped files of this process their room on the disk: writing into a hole of a full disk would end the process.

    For the end of the start, when the labels that there can be have been used once.
    """
    folder = _folder()
    if folder is None:
        return
    for path in folder.glob(f"*_{os.getpid()}.db"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


@contextmanager
def metrics_of_workers() -> Iterator[None]:
    """A folder for the metrics of the workers that are started meanwhile; in memory where that can be had, removed afterwards."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="cds-metrics-", dir=place)
    os.environ[_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path | None:
    name = os.environ.get(_VARIABLE)
    return Path(name) if name else None


def _forget_the_dead(folder: Path) -> None:
    """A worker that was killed says nothing of its present state any more; what it counted stays counted."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # somebody else's process: this one's number is taken again
