"""A load client that costs little: prepared bytes on raw keep-alive sockets, `hookInstance` and patient id changed in place."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections import Counter
from typing import NamedTuple

from tests.bench.resources import PATIENT_ID

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
INSTANCE = re.compile(rb'"hookInstance":"[0-9a-f-]{24}([0-9a-f]{12})"')
PATIENT = re.compile(rb"%s([0-9a-f]{12})" % PATIENT_ID[:-12].encode())
INDICATOR = b'"indicator":'  # once in every card
_numbers = itertools.count(1)


class Answer(NamedTuple):
    status: int
    body: bytes


class Load(NamedTuple):
    """One burst of requests. Latencies in seconds; what came as (status, number of cards)."""

    latencies: list[float]
    seconds: float
    came: Counter[tuple[int, int]]


class Connection:
    """One keep-alive connection with its own copy of the request."""

    def __init__(self, port: int, service: str, body: bytes, calls_per_patient: int = 1) -> None:
        """`calls_per_patient`: after so many calls comes a patient that the server has not seen; 0: always the same patient.

        No EHR asks about one patient hundreds of times a second, and to look among its calls for one that is repeated costs more.
        """
        head = (
            f"POST /cds-services/{service} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        self._message = bytearray(head + body)
        found = INSTANCE.search(self._message)
        if found is None:
            raise ValueError("the request has no hookInstance that is a UUID")
        self._unique = slice(*found.span(1))
        del found  # a match keeps the bytearray locked
        self._patient = [match.start(1) for match in PATIENT.finditer(bytes(self._message))]
        self._calls_per_patient = calls_per_patient
        self._asked = 0
        self._port = port

    async def __aenter__(self) -> Connection:
        """Connect; a connection that was closed may be entered again."""
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def ask(self) -> Answer:
        """Send the request under a new hookInstance and read the whole answer."""
        if self._calls_per_patient and self._asked % self._calls_per_patient == 0:
            another = b"%012x" % next(_numbers)
            for start in self._patient:
                self._message[start : start + 12] = another
        self._asked += 1
        self._message[self._unique] = b"%012x" % next(_numbers)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, self._message)
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += await self._receive(loop)
        declared = CONTENT_LENGTH.search(data, 0, end + 2)
        if declared is None:
            raise ConnectionError("the answer has no Content-Length")
        whole = end + 4 + int(declared[1])
        while len(data) < whole:
            data += await self._receive(loop)
        return Answer(int(data[9:12]), data[end + 4 :])

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> bytes:
        data = await loop.sock_recv(self._socket, 65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


async def first_answer(port: int, service: str, body: bytes) -> Answer:
    """One request on a connection of its own."""
    async with Connection(port, service, body) as connection:
        return await connection.ask()


async def burst(
    port: int, service: str, body: bytes, concurrency: int, seconds: float, calls_per_patient: int = 1, most: int = 2**62
) -> Load:
    """Closed-loop load: `concurrency` connections ask one after the other until `seconds` have passed, then finish.

    At most about `most` calls: each connection finishes the one that it has begun.
    """
    latencies: list[float] = []
    came: Counter[tuple[int, int]] = Counter()

    async def keep_asking(connection: Connection) -> None:
        while (asked := time.perf_counter()) < deadline and len(latencies) < most:
            answer = await connection.ask()
            latencies.append(time.perf_counter() - asked)
            came[answer.status, answer.body.count(INDICATOR)] += 1

    connections = [Connection(port, service, body, calls_per_patient) for _ in range(concurrency)]
    await asyncio.gather(*(connection.__aenter__() for connection in connections))
    try:
        begun = time.perf_counter()
        deadline = begun + seconds
        await asyncio.gather(*map(keep_asking, connections))
        return Load(latencies, time.perf_counter() - begun, came)
    finally:
        for connection in connections:
            await connection.__aexit__()
