"""nginx and HAProxy with the samples of the documentation, in front of servers that a test has started."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.server import free_port
from tests.docs import ROOT
from tests.sockets import certificates

DEPLOY = ROOT / "cds_service/docs/deploy"
PROXIES = ("nginx", "haproxy")
NAME = "cds.hospital.example"
_CERTIFICATES = "/etc/ssl/cramp-cds"


class Proxied(NamedTuple):
    """Where a proxy listens, and what a client needs to trust it."""

    port: int
    trust: ssl.SSLContext


@contextmanager
def proxied(proxy: str, folder: Path, ports: Sequence[int]) -> Iterator[Proxied]:
    """The TLS port of a real proxy with its sample, in front of servers on `ports` (two at most)."""
    _, trust = certificates(folder, NAME)
    for name in ("fullchain.pem", "key.pem", "haproxy.pem"):
        shutil.copy(folder / f"{NAME}.pem", folder / name)  # it holds both
    port = free_port()
    program = shutil.which(proxy) or shutil.which(proxy, path="/usr/sbin")
    assert program is not None, f"apt install {proxy}"
    command = [program, *(_nginx if proxy == "nginx" else _haproxy)(folder, port, ports)]
    with (folder / f"{proxy}.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        _wait(port, process, folder / f"{proxy}.txt")
        yield Proxied(port, trust)
    finally:
        process.terminate()
        process.wait(20)


def _sample(name: str, changes: dict[str, str]) -> str:
    """The sample with other ports and paths. Raises AssertionError where it has changed, so that nothing would be replaced."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    return text


def _nginx(folder: Path, port: int, ports: Sequence[int]) -> list[str]:
    changes = {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", _CERTIFICATES: str(folder), "127.0.0.1:8000": _address(ports[0])}
    if len(ports) > 1:
        changes["# server 127.0.0.1:8010"] = f"server {_address(ports[1])}"
    (folder / "sample.conf").write_text(_sample("nginx.conf", changes), encoding="utf-8")
    temporary = "".join(f"{one}_temp_path {folder}/{one};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole = f"pid {folder}/pid; events {{}} http {{ access_log off; {temporary} include {folder}/sample.conf; }}"
    (folder / "nginx.conf").write_text(whole, encoding="utf-8")
    return ["-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def _haproxy(folder: Path, port: int, ports: Sequence[int]) -> list[str]:
    changes = {"bind :443": f"bind 127.0.0.1:{port}", _CERTIFICATES: str(folder), "127.0.0.1:8000": _address(ports[0])}
    if len(ports) > 1:
        changes["# server two 127.0.0.1:8010"] = f"server two {_address(ports[1])}"
    (folder / "haproxy.cfg").write_text(_sample("haproxy.cfg", changes), encoding="utf-8")
    return ["-db", "-f", str(folder / "haproxy.cfg")]


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"


def _wait(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.05)
        else:
            return
