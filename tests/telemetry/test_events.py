"""What gets into the service's own log: events of a closed list with fields of a closed list, one line each, and nothing else."""

from __future__ import annotations

import ast
import io
import logging
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import cds_service
from cds_service.telemetry.events import WITHHELD, Event, Fields, Line, place, tell
from cds_service.telemetry.log_lines import configure_logging, line_of

PACKAGE = Path(cds_service.__file__).parent
SECRET = "SECRET-of-patient-123"
ALWAYS = {"time", "level", "event", "profile", "version", "pid"}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where the log of a production process goes; logging is as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root.handlers[:] = []
    stream = io.StringIO()
    configure_logging("production", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def payloads(number: int) -> Iterator[str]:
    """Texts that break lines, quotes, terminals and JSON."""
    dice = random.Random(4)
    pieces = ["\n", "\r\n", "\u2028", "\x85", "\x1b[2J", '"', "\\", "\x00", "}{", '","event":"started', "\ud800", "\u202e", "x=1"]
    for _ in range(number):
        yield SECRET + "".join(dice.choices(pieces, k=dice.randint(1, 8)))


def test_a_thousand_payloads_give_a_thousand_lines_and_none_of_them_gets_in(lines: io.StringIO) -> None:
    for payload in payloads(1000):
        tell(Event.CHECK_FAILED, status=400, code=payload, service=payload)
    assert [line["event"] for line in told(lines)] == ["check_failed"] * 1000
    assert {line["code"] for line in told(lines)} == {WITHHELD}
    assert SECRET not in lines.getvalue()


def test_a_thousand_payloads_through_libraries_give_a_thousand_lines_and_none_of_them_gets_in(lines: io.StringIO) -> None:
    for payload in payloads(1000):
        logging.getLogger("uvicorn.error").error("failed: %s", payload)
    assert len(told(lines)) == 1000
    assert SECRET not in lines.getvalue()


def test_a_line_has_the_time_in_utc_and_who_wrote_it(lines: io.StringIO) -> None:
    tell(Event.STARTED)
    (line,) = told(lines)
    assert set(line) == ALWAYS
    assert (line["level"], line["profile"], line["version"]) == ("INFO", "production", cds_service.__version__)
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


def test_a_field_that_is_not_on_the_list_is_dropped_at_run_time_too() -> None:
    smuggled: Any = {"status": 400, "name": SECRET}
    assert Line(Event.REFUSED, smuggled).fields == {"status": 400}


NO_WORDS = [SECRET.encode(), [SECRET], {SECRET: 1}, None, object(), "x" * 2000, f'"{SECRET}"', f"{SECRET}?q=1"]


@pytest.mark.parametrize("value", NO_WORDS)
def test_what_is_not_a_plain_text_or_number_is_withheld(value: object) -> None:
    smuggled: Any = {"code": value}
    assert Line(Event.REFUSED, smuggled).fields == {"code": WITHHELD}


def _calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                function = node.func
                called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if called == name:
                    yield path.relative_to(PACKAGE).as_posix(), node


def test_nothing_is_logged_but_events() -> None:
    """`log_lines` sets logging up, `events` writes, a quiet library; nobody else has a logger."""
    loggers = {path for path, _ in _calls("getLogger")}
    assert loggers <= {"telemetry/log_lines.py", "telemetry/events.py", "outbound/http_client.py"}
    assert {path for path, _ in _calls("print_exc")} == set()


def test_every_event_is_used_and_every_field_is_written_somewhere() -> None:
    calls = [call for _, call in _calls("tell")]
    events = {arg.attr for call in calls for arg in call.args if isinstance(arg, ast.Attribute)}
    fields = {word.arg for call in calls for word in call.keywords}
    by_libraries = {"logger", "text"}
    assert events | {"LIBRARY"} == {event.name for event in Event}
    assert fields | by_libraries == set(Fields.__annotations__)
    assert all(event.meaning for event in Event)


# Libraries


def _record(name: str, level: int, message: object, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord(name, level, "/usr/lib/python3/site-packages/somewhere.py", 12, message, args, info, "function")


def _raised(error: Exception) -> Exception:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    return caught.value


LIBRARIES = ["uvicorn.error", "httpx2", "httpcore2.http11", "psycopg.pool", "asyncio", "py.warnings", "else.where"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_of_a_library_only_its_name_and_the_place_are_written(name: str) -> None:
    for record in (
        _record(name, logging.WARNING, f"GET https://ehr.example/Patient/{SECRET}"),
        _record(name, logging.ERROR, "error connecting in %r: %s", SECRET, SECRET),
        _record(name, logging.ERROR, "%s %s", SECRET),  # does not fit its arguments
        _record(name, logging.ERROR, "Task exception was never retrieved", error=_raised(ValueError(SECRET))),
        _record(name, logging.ERROR, ValueError(SECRET)),
    ):
        line = line_of(record)
        assert line.event is Event.LIBRARY
        assert SECRET not in str(line)
        assert line.fields["logger"] == (name if name != "else.where" else "other")
        assert "somewhere.py:12 function" in str(line) or "ValueError" in str(line)


@pytest.mark.parametrize(
    "text",
    [
        "Started server process [4711]",
        "Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
        "Uvicorn running on http://[::1]:8000 (Press CTRL+C to quit)",
        "Application startup complete.",
        "Invalid HTTP request received.",
    ],
)
def test_what_uvicorn_says_of_its_processes_is_written(text: str) -> None:
    assert line_of(_record("uvicorn.error", logging.INFO, text)).fields["text"] == text


def test_that_a_port_is_taken_can_be_read_from_its_code() -> None:
    import errno

    line = line_of(_record("uvicorn.error", logging.ERROR, OSError(errno.EADDRINUSE, SECRET)))
    assert (line.fields["error"], line.fields["code"]) == ("OSError", "EADDRINUSE")
    assert SECRET not in str(line)


# What nothing catches


SCRIPT = """
import asyncio, logging, sys, threading, warnings
from cds_service.telemetry.log_lines import configure_logging
configure_logging("production")

def fail():
    raise ValueError("{secret}")

threading.Thread(target=fail).start()
class Dies:
    def __del__(self):
        fail()
Dies()
async def leave():
    task = asyncio.ensure_future(later())
    await asyncio.sleep(0.01)
    del task
async def later():
    fail()
asyncio.run(leave())
warnings.warn("{secret}", stacklevel=1)
logging.getLogger("uvicorn.error").error("%s %s", "{secret}")
try:
    fail()
except ValueError as error:
    raise KeyError("{secret}") from error
"""


def test_an_exception_that_nothing_catches_is_a_line_with_its_class_and_place() -> None:
    script = SCRIPT.replace("{secret}", SECRET)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    told_lines = [msgspec.json.decode(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert SECRET not in ended.stderr + ended.stdout
    unhandled = [line for line in told_lines if line["event"] == "unhandled"]
    assert [line["error"] for line in unhandled] == ["ValueError", "ValueError", "KeyError < ValueError"]
    assert unhandled[0]["place"].startswith("<string>:7 fail")
    assert {line["logger"] for line in told_lines if line["event"] == "library"} == {"asyncio", "py.warnings", "uvicorn.error"}


def test_a_place_is_the_innermost_frame_and_those_around_it() -> None:
    error = _raised(ValueError(SECRET))
    assert place(error.__traceback__).startswith(f"{Path(__file__).name}:")
    assert place(None) == "?"


def test_a_terminal_of_the_dev_profile_gets_the_same_fields_for_people(lines: io.StringIO) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure_logging("dev", terminal)
    tell(Event.REFUSED, status=400, code=f"{SECRET}\n")
    logging.getLogger("httpx2").warning(SECRET)
    first, second = terminal.getvalue().splitlines()
    assert first.endswith(f"Z INFO profile=dev refused status=400 code={WITHHELD}")
    assert "WARNING profile=dev library logger=httpx2" in second
    assert SECRET not in terminal.getvalue()
