"""Start the process of the review pages."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from cds_service.cli.listening import require_free_port, warn_where_others_reach
from cds_service.settings import load_settings


def add_review_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], port: Callable[[str], int]) -> None:
    """Add `review` to `commands`; `port` reads the number of a port."""
    review = commands.add_parser("review", help="start the pages on which a quality team reads the log and judges cases")
    review.add_argument("--profile", choices=["dev", "production"], help="overrides CDS_PROFILE")
    review.add_argument("--host", default="127.0.0.1")
    review.add_argument("--port", type=port, default=8002)
    review.set_defaults(run=_review)


def _review(options: argparse.Namespace) -> int:
    import uvicorn

    from cds_service.review.app import create_review_app
    from cds_service.telemetry.log_lines import configure_logging

    settings = load_settings(profile=options.profile)
    configure_logging(settings.profile)
    app = create_review_app(settings)
    require_free_port(options.host, options.port)
    if settings.profile == "dev":
        warn_where_others_reach(options.host)
    address = settings.review_url or f"http://{options.host}:{options.port}"
    print(f"\nReview pages  {address}/review     Stop: Ctrl-C\n", flush=True)
    # No header may change the address of the peer: a proxy that signs people in is known by it.
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    return 0
