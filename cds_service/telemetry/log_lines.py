"""Write log records to stderr: JSON, one line per event, without library texts that could hold data.

Records of this program carry an event (`events.Line`). All others come from libraries, whose messages may repeat addresses,
headers, bodies or parameters of statements: of them only the logger's name, the severity, the class and place of an exception,
and a few texts known to be harmless are written.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import msgspec

from cds_service import __version__
from cds_service.telemetry.events import Event, Fields, Line, place, tell
from cds_service.telemetry.refusal_lines import RefusalLines

_LIBRARIES = ("asyncio", "concurrent", "httpcore2", "httpx2", "opentelemetry", "psycopg", "py", "urllib3", "uvicorn")

# Texts of uvicorn when it starts and stops: the number of the process and the address that it listens on.
_HARMLESS = re.compile(
    r"(Started|Finished) server process \[\d+\]"
    r"|Waiting for application (startup|shutdown)\.|Application (startup|shutdown) complete\."
    r"|Application (startup|shutdown) failed\. Exiting\."
    r"|Uvicorn running on https?://[0-9a-zA-Z.:\[\]-]+ \(Press CTRL\+C to quit\)"
    r"|Waiting for (connections to close|background tasks to complete)\. \(CTRL\+C to force quit\)"
    r"|Cancel \d+ running task\(s\), timeout graceful shutdown exceeded"
    r"|Shutting down|Invalid HTTP request received\.|Unsupported upgrade request\."
)


def configure_logging(profile: str, stream: TextIO | None = None, *, peers: bool = False) -> None:
    """Send all log lines and uncaught exceptions to `stream` (stderr). Only for the start of a process.

    JSON, or in a terminal of the dev profile the same fields for people. `peers`: each refusal with the address it came from.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.addFilter(_without_doubles)
    handler.addFilter(RefusalLines())
    handler.setFormatter(_ForPeople(profile) if profile == "dev" and stream.isatty() else _Json(profile, peers))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.raiseExceptions = False  # a handler that fails would print the record
    logging.captureWarnings(True)
    sys.excepthook = _unhandled
    threading.excepthook = lambda args: _unhandled(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _unhandled(args.exc_type, args.exc_value, args.exc_traceback)


def summarise_refusals() -> None:
    """Write the summary of refusals that is due. To be called every second in a process whose logging is configured."""
    for handler in logging.getLogger().handlers:
        for one in handler.filters:
            if isinstance(one, RefusalLines):
                one.summarise()


def silence_database_driver() -> None:
    """Keep psycopg and its pool from logging: their lines hold addresses and users of databases."""
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _without_doubles(record: logging.LogRecord) -> bool:
    """Drop uvicorn's line on a request that is no HTTP: `connection_refused` says it, and is folded."""
    return record.msg != "Invalid HTTP request received."


class _Json(logging.Formatter):
    def __init__(self, profile: str, peers: bool) -> None:
        super().__init__()
        self._hidden = () if peers else ("peer",)
        self._constant = {"profile": profile, "version": __version__, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        line = line_of(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": at, "level": record.levelname, "event": line.event.label}
        fields = {name: value for name, value in line.fields.items() if name not in self._hidden}
        return msgspec.json.encode(head | self._constant | fields).decode()


class _ForPeople(logging.Formatter):
    def __init__(self, profile: str) -> None:
        super().__init__(f"%(asctime)sZ %(levelname)s profile={profile} %(message)s", "%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        own = logging.LogRecord(record.name, record.levelno, "", 0, line_of(record), None, None)
        own.created, own.msecs = record.created, record.msecs
        return super().format(own)


def line_of(record: logging.LogRecord) -> Line:
    """Return the line for a log record: its event, or the harmless parts of a library's record."""
    return record.msg if isinstance(record.msg, Line) else Line(Event.LIBRARY, _of_library(record))


def _of_library(record: logging.LogRecord) -> Fields:
    fields = Fields(logger=record.name if record.name.partition(".")[0] in _LIBRARIES else "other")
    text = _message(record)
    if _HARMLESS.fullmatch(text):
        fields["text"] = text
        return fields
    error = record.exc_info[1] if record.exc_info else record.msg if isinstance(record.msg, BaseException) else None
    if error is not None:
        fields["error"], fields["place"] = type(error).__name__, place(error.__traceback__)
        if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
            fields["code"] = errno.errorcode[error.errno]
    elif record.levelno >= logging.WARNING:  # where to read what it says
        fields["place"] = f"{record.filename}:{record.lineno} {record.funcName}"
    return fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's arguments that don't fit its text; the line is written without it
        return ""


def _unhandled(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log an uncaught exception by class and place, without its message."""
    names = " < ".join(type(one).__name__ for one in _with_causes(error)) or kind.__name__
    tell(Event.UNHANDLED, error=names, place=place(trace))


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(4):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
