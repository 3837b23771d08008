"""Limit the number of connections, and the time and size of a request's head on each.

uvicorn waits for the rest of a request for ever, and collects all bytes before the empty line that ends the headers (and after a
chunked body: trailers). A few thousand half-sent requests would use up a process (slowloris). Limits of the body: `hooks.body`.

Connections are files of the process, as its logs and its requests to FHIR servers are. Beyond a share of the files that it may
have open, further connections are refused, so that those that are open can still be served.

A request may offer to go on in another protocol (`Upgrade: h2c`, which Java's HttpClient sends with each POST). A server may
ignore the offer (RFC 9110, section 7.8); the parser however takes the body for the other protocol. Such a head is parsed once
more without the offer.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.metrics import REFUSED, SHED

HEAD_SECONDS = 10.0  # from the connection, or from the first byte of a further request, to the end of its headers
MAX_HEAD_BYTES = 64 * 1024  # a bearer token has a few
MAX_HEADERS = 100
CONNECTIONS_SHARE = 0.8  # of the files that the process may have open
# Bytes of a refused body that are read and thrown away before the connection is closed. If it were closed at once, many senders
# would get a broken pipe in place of the response that says why (RFC 9112, section 9.6).
MAX_LEFTOVER_BYTES = 16 * 1024 * 1024


def _refusal(status: str, text: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: text/plain; charset=utf-8", f"content-length: {len(text)}", *headers]
    return "\r\n".join([*lines, "connection: close", "", text]).encode()


_TOO_LARGE = _refusal("431 Request Header Fields Too Large", "The headers are too large.")
_HOST = _refusal("400 Bad Request", "A request has exactly one Host header.")
_TOO_MANY = _refusal("503 Service Unavailable", "Too many connections are open.", "retry-after: 1")


def most_connections() -> int:
    """Return how many connections this process may have at once."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if files == resource.RLIM_INFINITY else int(files * CONNECTIONS_SHARE)


class _Parser(httptools.HttpRequestParser):
    """Parse requests, and keep the bytes that follow a head with an offer of another protocol."""

    rest: memoryview | bytes = b""

    def __init__(self, connection: HttpToolsProtocol) -> None:
        super().__init__(connection)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own parser

    def feed_data(self, data: Any) -> None:  # bytes or a view of bytes
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self.rest = memoryview(data)[offer.args[0] :]
            raise


class LimitedConnection(HttpToolsProtocol):
    """A connection of uvicorn with these limits, for `uvicorn.run(http=...)`."""

    parser: _Parser
    _timer: asyncio.TimerHandle | None = None
    _in_head = False  # a request has begun and its headers are not complete
    _in_body = False  # its headers are complete and its body is not
    _bytes = 0  # received since there was progress: a request, its headers, a piece of its body
    _leftover = 0  # bytes of the body that came after the answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.parser = _Parser(self)
        self._unparsed: deque[bytes | memoryview] = deque()
        if len(self.connections) > most_connections():
            SHED.labels("connections").inc()
            self._refuse_with(_TOO_MANY, 503, "too many connections")
            return
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        self._unparsed.append(data)
        while self._unparsed:
            super().data_received(self._unparsed.popleft())  # type: ignore[arg-type]  # the parser takes any buffer
        if self._bytes > MAX_HEAD_BYTES:
            self._refuse()
        # The application does not read the rest of a body that was already answered; the rest has the time of a head.
        elif self._timer is None and (self._in_head or (self._in_body and self.cycle.response_complete)):
            self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        self._bytes = self._leftover = 0
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Ignore trailers (RFC 9110, section 6.5.1), which could replace headers that a proxy has checked in the head."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            self._refuse()
            raise ValueError("too many headers")  # ends the parsing of this connection
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):  # RFC 9112, section 3.2
            self._refuse_with(_HOST, 400, "Host")
            raise ValueError("not exactly one Host header")
        if self._ignores_upgrade():
            return
        self._stop()
        self._bytes = 0
        self._in_head, self._in_body = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bytes = 0
        if self.cycle.response_complete:
            self._leftover += len(body)
            if self._leftover > MAX_LEFTOVER_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._in_head:  # the offer of another protocol ended it
            return
        self._stop()
        self._bytes = 0
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._tell(400, "not HTTP")
            super().send_400_response(msg)

    def _ignores_upgrade(self) -> bool:
        """Say whether the head offers another protocol that this server does not support; CONNECT is not an offer."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT" and not self._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Parse the head once more without `Connection: upgrade`, and the bytes behind it as its body."""
        if not self._in_head:
            return
        kept = [(name, _without_upgrade(value) if name == b"connection" else value) for name, value in self.headers]
        line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        head = b"\r\n".join([line, *(b"%b: %b" % header for header in kept), b"", b""])
        self._unparsed.extendleft((self.parser.rest, head))
        self.parser = _Parser(self)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """Close without a response, because the client may no longer be there."""
        self._timer = None
        self.transport.close()

    def _refuse(self) -> None:
        self._stop()
        if self._in_head and not self.transport.is_closing():
            self._refuse_with(_TOO_LARGE, 431, "head too large")
        self.transport.close()

    def _refuse_with(self, response: bytes, status: int, why: str) -> None:
        self._stop()
        self._tell(status, why)
        self.transport.write(response)
        self.transport.close()

    def _tell(self, status: int, why: str) -> None:
        REFUSED.labels(str(status)).inc()
        tell(Event.CONNECTION_REFUSED, status=status, why=why, peer=self.client[0] if self.client else "-")


def _without_upgrade(tokens: bytes) -> bytes:
    return b",".join(token for token in tokens.split(b",") if token.strip().lower() != b"upgrade")
