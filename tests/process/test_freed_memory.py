"""Memory that was freed goes back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

from cds_service.process.freed_memory import give_back


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def test_gaps_that_large_requests_leave_are_given_back() -> None:
    bodies = [b"x" * 100_000 for _ in range(600)]
    kept = bodies[::100]  # between the gaps, so that the heap can't shrink
    glibc = platform.libc_ver()[0] == "glibc"  # other C libraries have nothing to call
    filled = resident_mb() if glibc else 0
    del bodies

    assert give_back() is glibc

    assert not glibc or resident_mb() < filled - 40
    assert [len(one) for one in kept] == [100_000] * 6
