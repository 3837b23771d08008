"""What the README's first screen says, done: `make serve`, the playground's address, a card in the terminal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

from tests.bench.server import free_port
from tests.docs import ROOT

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

BLOCKS = re.findall(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
COMMANDS, ASK, DRAWN = BLOCKS[:3]
SERVE, TEST = (line.partition("#")[0].strip() for line in COMMANDS.splitlines())
[RECEIVED] = re.findall(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`make serve` as the README has it, on a free port and with a log of its own; ended as Ctrl-C ends it."""
    chosen = free_port()
    environ = os.environ | {"CDS_LOG_PATH": str(tmp_path_factory.mktemp("log") / "alerts.sqlite3")}
    started = partial(subprocess.Popen, cwd=ROOT, env=environ, text=True, start_new_session=True)
    words = [*SERVE.split(), f"SERVE_ARGS=--port {chosen}"]
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        printed = list(takewhile(lambda line: "Ctrl-C" not in line, process.stdout or ()))
        assert any(f"http://127.0.0.1:{chosen}/" in line for line in printed)
        _wait(chosen)
        yield chosen
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)


def _wait(port: int) -> None:
    """Until the port accepts connections: what is printed comes a moment before."""
    for _ in range(300):
        with closing(socket.socket()) as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the service does not listen")


def _here(text: str, port: int) -> str:
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")


def test_a_card_is_on_the_screen(port: int) -> None:
    answer = subprocess.run(_here(ASK, port), shell=True, cwd=ROOT, check=True, capture_output=True)  # noqa: S602 (the README's own line)
    [card] = msgspec.json.decode(answer.stdout)["cards"]
    assert card["source"]["topic"]["code"] == "quinine-avoid"
    assert card["summary"] in DRAWN
    [detail] = re.findall(r'"detail": "(.*?) \.\.\."', RECEIVED)
    assert card["detail"].startswith(detail)


def test_the_tests_are_run_by_the_command_of_the_readme() -> None:
    assert TEST == "make test"
    assert f"step test {TEST}" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_addresses_of_the_readme_answer(port: int) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    addresses = set(re.findall(r"<(http://127\.0\.0\.1:8000[^>]*)>", text))
    assert len(addresses) > 2
    for address in addresses:
        with urllib.request.urlopen(_here(address, port), timeout=10) as answer:  # noqa: S310 (http on this machine)
            assert answer.status == 200, address


def test_the_drawn_card_is_what_the_terminal_draws() -> None:
    command = ".venv/bin/cds-service sample quinine-for-cramps | .venv/bin/cds-service fire -"
    drawn = subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S602
    lines = [line.strip("|+- \n").removesuffix(" ...") for line in DRAWN.splitlines()]
    assert Path(ROOT / ".venv").is_dir()
    assert [line for line in lines if line not in drawn] == []
