"""Asks a server whose answer has no end, and prints what became of it, after how many ms, and by how many MB memory grew at most.

Argument: what the server does. It runs in a process of its own, so that only the asking side is measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2

from cds_service.gather.fhir_client import MAX_RESPONSE_BYTES
from cds_service.outbound.checked_network import RequestError
from cds_service.outbound.http_client import HttpClient

TEN_GB = 10 * 1024**3
KEYS = 64 * 1024
HEADS = {
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % TEN_GB,
    "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\n\r\n",
    "keys": b"HTTP/1.1 200 OK\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\n",
    "continue": b"",
}
CHUNK = b"10000\r\n" + b"\x00" * 65536 + b"\r\n"
PIECES = {
    "gzip": CHUNK,
    "length": b" " * 65536,
    "chunks": CHUNK,
    "close": b" " * 65536,
    "keys": b" " * 65536,
    "header": b"x-more: " + b"x" * 65536 + b"\r\n",
    "continue": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
}


def serve(listening: socket.socket, bomb: str) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):  # the other side has had enough
        connection.recv(65536)
        connection.sendall(HEADS[bomb])
        for _ in range(TEN_GB // 65536):
            connection.sendall(PIECES[bomb])


def peak_mb() -> float:
    """The most memory that this process had so far (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def ask(port: int, limit: int) -> str:
    http_client = HttpClient()
    try:
        async with asyncio.timeout(2):
            await http_client.get(httpx2.URL(f"http://127.0.0.1:{port}/x"), [], private=True, limit=limit)
    except RequestError as error:
        return error.fault
    except TimeoutError:
        return "timeout"
    finally:
        await http_client.aclose()
    return "answered"


def main(bomb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listening, bomb), daemon=True)
        server.start()
        before, started = peak_mb(), time.perf_counter()
        outcome = asyncio.run(ask(listening.getsockname()[1], KEYS if bomb == "keys" else MAX_RESPONSE_BYTES))
        print(f"{outcome} {(time.perf_counter() - started) * 1000:.0f} {peak_mb() - before:.1f}")
        server.terminate()
        server.join(5)


if __name__ == "__main__":
    main(sys.argv[1])
