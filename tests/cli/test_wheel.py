"""`make dist`: the wheel holds all that a service needs, and serves from a folder in which nothing of the repository is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx2
import pytest

from tests.bench.server import free_port
from tests.real_server import REPOSITORY

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]
LIMIT = 60.0  # seconds, for machines that are busy


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was unpacked into, which is what installing it does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [str(Path(sys.executable).with_name("uv")), "build", "--quiet", "--wheel", "--no-build-isolation", "--offline"]
    subprocess.run([*command, "--python", sys.executable, "--out-dir", str(folder)], cwd=REPOSITORY, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "installed")
    return folder / "installed"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "cds_service.cli.main", *arguments]
    return subprocess.run(program, cwd=cwd, env=environ(installed, cwd), check=True, capture_output=True, text=True)


def environ(installed: Path, cwd: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(installed), "CDS_LOG_PATH": str(cwd / "alerts.sqlite3")}


def test_it_evaluates_a_sample_with_its_own_cards(installed: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import cds_service; print(cds_service.__file__)"]
    where = subprocess.run(program, cwd=tmp_path, env=environ(installed, tmp_path), capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(installed))
    (tmp_path / "request.json").write_text(run(installed, tmp_path, "sample", "quinine-for-cramps").stdout)
    assert "Quinine should not be used for cramps" in run(installed, tmp_path, "fire", "request.json").stdout


def test_it_serves_its_pages_and_cards(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    program = [sys.executable, "-m", "cds_service.cli.main", "serve", "--quiet", "--port", str(port)]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(program, cwd=tmp_path, env=environ(installed, tmp_path), stdout=output, stderr=output)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until_ready(client)
            request = json.loads(run(installed, tmp_path, "sample", "quinine-for-cramps").stdout)
            cards = client.post("/cds-services/cramp-care-order-sign", json=request).json()["cards"]
            assert cards[0]["summary"].startswith("Quinine should not be used for cramps")
            for path in ("/", "/playground/playground.css", "/docs", "/fhir/Patient", "/build-sheets/epic"):
                assert client.get(path).status_code == 200, path
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)


def wait_until_ready(client: httpx2.Client) -> None:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server does not start")
