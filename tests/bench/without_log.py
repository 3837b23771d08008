"""The service without its alert log, to measure what the log costs: no record is made and none is written.

python -m tests.bench.without_log PORT
"""

from __future__ import annotations

import sys

import uvicorn

from cds_service.app import create_app, settle_collector
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.knowledge.services import ServiceDefinition
from cds_service.process.connection_limits import LimitedConnection
from cds_service.runtime import Runtime
from cds_service.settings import load_settings
from cds_service.telemetry.log_lines import configure_logging
from cds_service.wire.arrival import Arrival
from cds_service.wire.hook_request import HookRequest


async def evaluate_only(call: HookRequest, _: ServiceDefinition, runtime: Runtime, arrival: Arrival) -> Evaluation:
    return await evaluate_request(call, runtime.engine, runtime.clock(), gone=arrival.gone)


def main() -> None:
    settings = load_settings(profile="dev")
    configure_logging(settings.profile)
    port = int(sys.argv[1])
    app = create_app(settings, respond=evaluate_only, own_address=f"http://127.0.0.1:{port}")
    settle_collector()
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
