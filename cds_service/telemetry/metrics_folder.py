"""Keep the folder in which several workers share their metrics.

prometheus-client looks when it is first imported whether there is one; so this module is used before that and does not import it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it is made by mkdtemp


@contextmanager
def metrics_of_workers() -> Iterator[None]:
    """Make a folder for the metrics of workers, in memory where possible, and remove it afterwards."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="cds-metrics-", dir=place)
    os.environ[_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def metrics_folder() -> Path | None:
    """Return the folder, None in a process whose metrics are its own."""
    name = os.environ.get(_VARIABLE)
    return Path(name) if name else None
