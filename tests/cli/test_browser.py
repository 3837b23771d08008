"""`serve --open`: the browser is started once the service listens."""

from __future__ import annotations

import socket
import threading

import pytest

from cds_service.cli.browser import open_later, open_when_served
from tests.bench.server import free_port

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]


def test_the_page_is_opened_as_soon_as_something_listens() -> None:
    port = free_port()
    opened: list[str] = []
    seen = threading.Event()

    def show(url: str) -> bool:
        opened.append(url)
        seen.set()
        return True

    waiting = threading.Thread(target=open_when_served, args=(f"http://127.0.0.1:{port}/", show))
    waiting.start()
    assert not seen.wait(0.3)
    with socket.create_server(("127.0.0.1", port)):
        assert seen.wait(10)
        waiting.join()
    assert opened == [f"http://127.0.0.1:{port}/"]


def test_nothing_is_opened_where_nothing_listens() -> None:
    def show(url: str) -> bool:
        raise AssertionError(url)

    assert not open_when_served(f"http://127.0.0.1:{free_port()}/", show, limit=0.2)


def test_a_terminal_without_a_screen_gets_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    open_later("http://127.0.0.1:8000/")
    assert capsys.readouterr().err == "--open: this terminal has no browser; open http://127.0.0.1:8000/\n"
