"""A server process of the real service, and a client that speaks HTTP as badly as it is told to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec

from cds_service.authoring.samples import load_samples
from cds_service.clock import utc_now
from cds_service.files.paths import fixtures_dir
from tests.bench.server import Server, free_port

SERVICE = "cramp-care-order-sign"
SAMPLE = load_samples(fixtures_dir())["quinine-for-cramps"].request(utc_now())
CALL = msgspec.json.encode(SAMPLE)


@contextmanager
def served(folder: Path, workers: int = 1, **settings: str) -> Iterator[Server]:
    """A server that listens; `settings` are those of the environment."""
    port = free_port()
    command = [sys.executable, "-m", "cds_service.cli.main", "serve", "--quiet", "--port", str(port), "--workers", str(workers)]
    environ = {"CDS_LOG_PATH": str(folder / "alerts.sqlite3"), "CDS_PROFILE": "dev", **settings}
    with Server(command, port, folder, None, environ) as server:
        server.wait()
        yield server


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def head(path: str = f"/cds-services/{SERVICE}", *more: str) -> bytes:
    """The head of a POST."""
    return "\r\n".join((f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", *more, "", "")).encode()


def whole(body: bytes, path: str = f"/cds-services/{SERVICE}") -> bytes:
    return head(path, f"content-length: {len(body)}") + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer. Raises asyncio.IncompleteReadError where the server closed the connection."""
    top = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.partition(b":")[2]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(top[9:12]), await reader.readexactly(length)


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
