"""`serve --reload`: a saved card is served, and one with a mistake leaves the cards before it in place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from cds_service.authoring.shorthand import request_from_case
from cds_service.files.paths import cards_dir
from tests.bench.server import free_port
from tests.core import NOW
from tests.real_server import REPOSITORY

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]
LIMIT = 40.0  # seconds, for machines that are busy


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    shutil.copytree(cards_dir(), tmp_path / "cards")
    return tmp_path / "cards"


@pytest.fixture
def address(tmp_path: Path, cards: Path) -> Iterator[str]:
    port = free_port()
    environ = os.environ | {"CDS_LOG_PATH": str(tmp_path / "alerts.sqlite3"), "CDS_CARDS_DIR": str(cards)}
    command = [sys.executable, "-m", "cds_service.cli.main", "serve", "--reload", "--port", str(port)]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=out, stderr=err, env=environ)
    try:
        until(lambda: bool(summary(f"http://127.0.0.1:{port}")))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def summary(address: str) -> str:
    """The summary of the card about quinine, "" while nothing answers."""
    request = request_from_case(["order: quinine sulfate 324 mg"], "order-sign", NOW)
    try:
        answer = httpx2.post(f"{address}/cds-services/cramp-care-order-sign", content=json.dumps(request), trust_env=False)
    except httpx2.HTTPError:
        return ""
    return str(answer.json()["cards"][0]["summary"])


def test_a_saved_card_is_served_and_a_mistake_is_told_with_its_line(tmp_path: Path, cards: Path, address: str) -> None:
    card = cards / "quinine-avoid" / "card.yaml"
    was = card.read_text(encoding="utf-8")
    card.write_text(was.replace("Quinine should not be used", "Quinine must not be used"), encoding="utf-8")
    until(lambda: summary(address).startswith("Quinine must not be used"))
    assert "Loaded again: " in (tmp_path / "out").read_text()

    card.write_text(was.replace("\nhooks:", "\nhoks:"), encoding="utf-8")
    until(lambda: "The cards before go on" in (tmp_path / "err").read_text())
    assert "unknown name `hoks`; did you mean `hooks`?" in (tmp_path / "err").read_text()
    # The worker of the first cards may be ending, and closes a connection that it has not answered.
    shown = [one for one in (summary(address) for _ in range(5)) if one]
    assert shown
    assert all(one.startswith("Quinine must not be used") for one in shown)

    card.write_text(was, encoding="utf-8")
    until(lambda: summary(address).startswith("Quinine should not be used"))
