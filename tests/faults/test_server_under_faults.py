"""A real server under faults: told to end in the midst of calls, a disk that fills up, workers that are killed."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cds_service.authoring.shorthand import request_from_case
from cds_service.clock import utc_now
from tests.alert_log_samples import rows
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

PATH = "/cds-services/cramp-care-order-sign"
ROUNDS = int(os.environ.get("CDS_ROUNDS", "3"))  # of filling the disk; a nightly run can afford more
REQUEST = request_from_case(["order: quinine 300 mg, for leg cramps"], "order-sign", utc_now())


def body() -> bytes:
    """A call that was not made before, always as long as any other."""
    return msgspec.json.encode(REQUEST | {"hookInstance": str(uuid4())})


def fires(answer: httpx2.Response) -> bool:
    return answer.status_code == 200 and [card["source"]["topic"]["code"] for card in answer.json()["cards"]] == ["quinine-avoid"]


def within(seconds: float, what: Callable[[], bool]) -> float:
    """Seconds until `what` holds, which has to be within `seconds`."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds
        time.sleep(0.02)
    return time.monotonic() - begun


def totals(server: RealServer) -> dict[str, float]:
    """Samples of `/metrics` by name and labels."""
    with httpx2.Client(base_url=server.address, trust_env=False) as fresh:  # a new connection: any worker may answer
        text = fresh.get("/metrics").text
    return {
        " ".join([one.name, *one.labels.values()]): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


# SIGTERM


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_told_to_end_says_so_first_and_answers_what_is_under_way(tmp_path: Path, workers: int) -> None:
    with RealServer(tmp_path, workers=workers, drain_ms="1500") as server:
        address = ("127.0.0.1", server.port)
        half_sent = [socket.create_connection(address, timeout=15) for _ in range(20)]
        head = f"POST {PATH} HTTP/1.1\r\nhost: cds.example\r\ncontent-length: {len(body())}\r\n\r\n".encode()
        bodies = [body() for _ in half_sent]
        for connection, one in zip(half_sent, bodies, strict=True):
            connection.sendall(head + one[:100])
        answers: list[int | str] = []
        ready: list[int | str] = []

        def ask(path: str, method: str, seen: list[int | str]) -> None:
            """Calls on connections of their own until none is accepted any more."""
            limits = httpx2.Limits(max_keepalive_connections=0)
            with httpx2.Client(base_url=server.address, trust_env=False, timeout=15, limits=limits) as client:
                while True:
                    try:
                        seen.append(client.request(method, path, content=body() if method == "POST" else None).status_code)
                    except httpx2.ConnectError:
                        return  # the port is closed: a load balancer has gone elsewhere long ago
                    except httpx2.HTTPError as error:
                        seen.append(type(error).__name__)

        threads = [
            threading.Thread(target=ask, args=(PATH, "POST", answers)),
            threading.Thread(target=ask, args=("/health/ready", "GET", ready)),
        ]
        for thread in threads:
            thread.start()
        within(10, lambda: 200 in ready and 200 in answers)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        for connection, one in zip(half_sent, bodies, strict=True):
            connection.sendall(one[100:])
        for connection in half_sent:
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            connection.close()
        for thread in threads:
            thread.join()
        server.process.wait(12)
        took = time.monotonic() - begun
    assert took < 10
    assert set(ready) <= {200, 503, "RemoteProtocolError", "ReadError"}
    first = ready.index(503)
    assert 200 in ready[:first]
    assert ready[first:].count(200) == 0, "not ready stays not ready"
    assert answers.count(200) > 10
    # Between closing the port and ending, a connection that was just being made may be reset; it was never a call.
    assert [one for one in answers if one not in (200, "RemoteProtocolError", "ReadError")] == []
    lost = [one for one in answers if one != 200]
    assert len(lost) <= 2
    assert rows(server.log_path, "SELECT count(*) FROM call")[0] == answers.count(200) + 20
    assert "stopped" in [line["event"] for line in server.events()]


# A disk without room


class Disk(Protocol):
    """What can be done to the room that a server has for its files."""

    def fill(self) -> None: ...

    def free(self) -> None: ...


class Limit:
    """Nothing can be written beyond the first 128 KiB of a file. Needs no rights, and looks to SQLite as a disk that is full."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def fill(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (128 * 1024, resource.RLIM_INFINITY))

    def free(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Filled:
    """A small file system, with a file that takes all the rest."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def serve_on_a_disk_that_fills_up(server: RealServer, disk: Disk, rounds: int, sent: int) -> None:
    def log() -> dict[str, Any]:
        found: dict[str, Any] = server.client.get("/health").json()["log"]
        return found

    for _ in range(rounds):
        disk.fill()

        def degraded() -> bool:
            """There may be room in SQLite's write-ahead log yet; the first record that finds none is to be seen at once."""
            nonlocal sent
            assert fires(server.client.post(PATH, content=body())), "cards go out"
            sent += 1
            health = server.client.get("/health").json()
            assert health["status"] == "degraded" or health["log"]["written"] == sent
            return bool(health["status"] == "degraded")

        within(60, degraded)
        begun = time.monotonic()
        for _ in range(20):
            assert fires(server.client.post(PATH, content=body()))
        sent += 20
        assert time.monotonic() - begun < 5
        within(3, lambda: totals(server)["cds_log_state degraded"] == 1 and totals(server)["cds_log_waiting"] >= 20)
        disk.free()
        within(10, lambda: log()["state"] == "ok" and log()["waiting"] == 0)
    assert (log()["lost"], log()["quarantined"]) == (0, 0)
    assert rows(server.log_path, "SELECT count(*), count(DISTINCT id) FROM call") == [(sent, sent)]
    assert rows(server.log_path, "PRAGMA integrity_check") == ["ok"]
    events = [line["event"] for line in server.events()]
    assert events.count("log_unwritable") >= rounds
    assert events.count("log_writable") >= rounds


def test_cards_go_out_while_the_disk_is_full_and_the_log_catches_up(tmp_path: Path) -> None:
    with RealServer(tmp_path) as server:
        assert fires(server.client.post(PATH, content=body()))
        serve_on_a_disk_that_fills_up(server, Limit(server.process.pid), ROUNDS, sent=1)


if os.environ.get("CDS_SMALL_DISK"):  # needs the right to mount

    def test_the_same_on_a_file_system_that_is_really_full(tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk") as folder, RealServer(tmp_path, log_path=str(folder / "alerts.sqlite3")) as server:
            assert fires(server.client.post(PATH, content=body()))
            serve_on_a_disk_that_fills_up(server, Filled(folder), ROUNDS, sent=1)


# Several workers


def test_all_workers_have_the_files_of_the_start_until_they_are_read_again(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    labels = overlay / "labels.yaml"
    labels.write_text("source_label: Our hospital\n")
    with RealServer(tmp_path, workers=2, overlay_dir=str(overlay)) as server:
        ready = "Application startup complete."
        within(10, lambda: server.output("stderr").count(ready) == 2)
        labels.write_text("source_labl: [\n")
        for deaths, pid in enumerate(line["pid"] for line in server.events() if line["event"] == "started"):
            os.kill(pid, signal.SIGKILL)
            within(15, lambda deaths=deaths: server.output("stderr").count(ready) == 3 + deaths)  # type: ignore[misc]
        assert source_of_a_card(server) == "Our hospital"
        server.process.send_signal(signal.SIGHUP)
        within(15, lambda: "overlay/labels.yaml:2" in server.output("stderr"))
        assert source_of_a_card(server) == "Our hospital"
        labels.write_text("source_label: Their hospital\n")
        server.process.send_signal(signal.SIGHUP)
        within(30, lambda: server.output("stderr").count(ready) == 6)
        within(15, lambda: {source_of_a_card(server) for _ in range(8)} == {"Their hospital"})


def source_of_a_card(server: RealServer) -> str:
    with httpx2.Client(base_url=server.address, trust_env=False) as fresh:
        label: str = fresh.post(PATH, content=body()).json()["cards"][0]["source"]["label"]
        return label


def test_metrics_are_those_of_all_workers_also_after_one_was_killed(tmp_path: Path) -> None:
    with RealServer(tmp_path, workers=3) as server:
        within(10, lambda: sum(value for name, value in totals(server).items() if name.startswith("cds_workers ")) == 3)
        for _ in range(30):
            with httpx2.Client(base_url=server.address, trust_env=False) as fresh:
                assert fires(fresh.post(PATH, content=body()))
        calls = "cds_calls_total cramp-care-order-sign 200"
        within(3, lambda: totals(server)[calls] == 30)
        pids = {line["pid"] for line in server.events() if line["event"] == "started"}
        assert len(pids) == 3
        os.kill(min(pids), signal.SIGKILL)
        within(15, lambda: len({line["pid"] for line in server.events() if line["event"] == "started"}) == 4)
        within(15, lambda: sum(value for name, value in totals(server).items() if name.startswith("cds_workers ")) == 3)
        after = totals(server)
        assert after[calls] == 30, "what a worker has counted stays counted"
        assert after["cds_log_state ok"] == 3
        assert after["cds_cards_live"] > 0, "the parent, which shows no cards, is not counted"
        assert after["cds_check_ok positive"] == after["cds_check_ok negative"] == 1
