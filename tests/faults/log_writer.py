"""A process that appends to an alert log and prints the id of each call once the log has acknowledged it.

Arguments: the file, the number of calls (0: until killed), and the number of bytes that any file may have at first (0: any;
a limit is lifted when the log is found degraded, as a disk that was full and is not any more).
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from cds_service.alert_log import AlertLog
from tests.alert_log_samples import a_call, a_card


async def main(path: Path, count: int, limit: int) -> None:
    log = AlertLog(path)
    log.start()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    remaining = count or sys.maxsize

    async def client() -> None:
        nonlocal remaining
        while remaining:
            remaining -= 1
            call = a_call(a_card(), a_card())
            kind = "durable" if await log.append(call) else "waiting"
            os.write(1, f"{kind} {call.id.hex()}\n".encode())

    await asyncio.gather(*(client() for _ in range(16)))
    if limit:
        os.write(1, f"state {log.health().state}\n".encode())
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await log.close()
    health = log.health()
    os.write(1, f"lost {health.lost}\n".encode())


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
