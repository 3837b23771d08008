"""A real server process for tests: started, asked, told to end; what it wrote is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import msgspec

import cds_service
from tests.bench.server import free_port

REPOSITORY = Path(cds_service.__file__).resolve().parent.parent
START_LIMIT = 60.0  # seconds, on a machine that is busy with other tests


class RealServer:
    """`cds-service serve` (or another module that takes its arguments) with its log and its output in `folder`."""

    def __init__(self, folder: Path, module: str = "cds_service.cli.main", workers: int = 1, **settings: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log_path = Path(settings.get("log_path", folder / "alerts.sqlite3"))
        self.client = httpx2.Client(base_url=self.address, timeout=20, trust_env=False)
        self._output = {name: folder / f"server.{name}" for name in ("stdout", "stderr")}
        verb = ["serve", "--quiet"] if module == "cds_service.cli.main" else []
        self._command = [sys.executable, "-m", module, *verb, "--port", str(self.port), "--workers", str(workers)]
        variables = {f"CDS_{name.upper()}": value for name, value in settings.items()}
        self._environ = {**os.environ, "CDS_LOG_PATH": str(self.log_path), **variables}

    def restart(self) -> None:
        """Tell the process to end, wait until it has, and start another on the same port. Raises RuntimeError."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.__enter__()

    def __enter__(self) -> RealServer:
        with self._output["stdout"].open("wb") as out, self._output["stderr"].open("wb") as err:
            self.process = subprocess.Popen(self._command, cwd=REPOSITORY, stdout=out, stderr=err, env=self._environ)
        until = time.monotonic() + START_LIMIT
        while True:
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return self
            except httpx2.HTTPError:
                pass
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server does not start\n{self.output('stderr')}")
            time.sleep(0.02)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def output(self, name: str) -> str:
        """What it wrote to "stdout" or "stderr" so far."""
        return self._output[name].read_text(encoding="utf-8", errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Its log lines so far. Raises msgspec.DecodeError for one that is no JSON object."""
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self.output("stderr").splitlines()]
