"""The service changed in one respect, to measure what that costs; else as `cds-service serve` starts it.

    python -m tests.bench.variants without_log|cpu_timed PORT

`without_log` makes no record and writes none. `cpu_timed` times its phases by the CPU clock of the event loop's thread.
"""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import uvicorn

from cds_service.app import create_app, freeze_collector
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.knowledge.services import ServiceDefinition
from cds_service.process.connection_limits import LimitedConnection
from cds_service.respond import respond
from cds_service.runtime import Runtime
from cds_service.settings import load_settings
from cds_service.telemetry import timings
from cds_service.telemetry.log_lines import configure_logging
from cds_service.wire.client_connection import ClientConnection
from cds_service.wire.hook_request import HookRequest


async def evaluate_only(call: HookRequest, _: ServiceDefinition, runtime: Runtime, connection: ClientConnection) -> Evaluation:
    return await evaluate_request(call, runtime.engine, runtime.clock(), client_gone=connection.wait_until_closed)


def main() -> None:
    variant, port = sys.argv[1], int(sys.argv[2])
    if variant == "cpu_timed":
        vars(timings)["time"] = SimpleNamespace(perf_counter=time.thread_time)
    settings = load_settings(profile="dev")
    configure_logging(settings.profile)
    answering = evaluate_only if variant == "without_log" else respond
    app = create_app(settings, respond=answering, own_address=f"http://127.0.0.1:{port}")
    freeze_collector()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        http=LimitedConnection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
    )


if __name__ == "__main__":
    main()
