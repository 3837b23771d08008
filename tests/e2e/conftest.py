"""For the browser tests: a started service, a page on another origin, and Debian's Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.server import Server, free_port, service_command

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def sandbox_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `cds-service serve` in the dev profile, with a log of its own."""
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    with Server(service_command(port), port, folder, None, {"CDS_LOG_PATH": str(folder / "alerts.sqlite3")}) as server:
        server.wait()
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def sandbox_origin() -> Iterator[str]:
    """The address of a web server with the files of this folder, which is another origin than the service."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(Path(__file__).parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium (`apt install chromium`); a test that needs it fails where it is missing."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def sandbox_page(browser: Browser, sandbox_origin: str, sandbox_service: str) -> Iterator[Page]:
    """The page of the imitated sandbox. Afterwards: nothing went to a third place, and the page had no errors of its own."""
    page = browser.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on(
        "request",
        lambda one: elsewhere.append(one.url) if not one.url.startswith((sandbox_origin, sandbox_service, "data:")) else None,
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{sandbox_origin}/sandbox.html")
    yield page
    page.close()
    assert elsewhere == []
    assert errors == []
