"""The command `cds-service serve`: one server process, or several workers that share what this one has loaded."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cds_service import __version__
from cds_service.cli.browser import open_later
from cds_service.cli.listening import require_free_port, warn_where_others_reach
from cds_service.files.folder_watch import FolderWatch
from cds_service.files.yaml_file import KnowledgeError
from cds_service.settings import Settings, SettingsError, load_settings
from cds_service.telemetry.metrics_folder import metrics_of_workers

if TYPE_CHECKING:
    from cds_service.playground.recorder import Announce
    from cds_service.runtime import Runtime


def add_serve_command(
    commands: argparse._SubParsersAction[Any], port: Callable[[str], int], at_least_one: Callable[[str], int]
) -> None:
    """Add `serve` to `commands`; `port` and `at_least_one` read numbers."""
    serve = commands.add_parser("serve", help="start the service")
    serve.add_argument("--profile", choices=["dev", "production"], help="overrides CDS_PROFILE")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=port, default=8000)
    serve.add_argument("--workers", type=at_least_one, default=1, help="processes that share the port and the log")
    serve.add_argument("--reload", action="store_true", help="in the dev profile: load the cards again whenever one is saved")
    serve.add_argument("--open", action="store_true", help="open the playground in a browser")
    serve.add_argument("--quiet", action="store_true", help="in the dev profile: print no line for each call, and keep none")
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    gc.disable()  # until all lasting objects are made: they stay, and to look at them again and again takes a tenth of a start
    _import_framework()
    try:
        if options.workers == 1 and not options.reload:
            return _serve_alone(options)
        with metrics_of_workers():  # before prometheus-client is imported
            return _serve_with_workers(options)
    finally:
        gc.enable()


def _import_framework() -> None:
    """Import FastAPI so that its models of an OpenAPI document are built only when somebody asks for one."""
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        import fastapi.openapi.models  # noqa: F401
    finally:
        del BaseModel.model_config["defer_build"]


def _serve_alone(options: argparse.Namespace) -> int:
    import uvicorn

    from cds_service.app import create_app, freeze_collector
    from cds_service.process.management import management_socket

    runtime = _load(options)
    require_free_port(options.host, options.port)
    announce, management = _announce_of(options, runtime.settings), management_socket(runtime.settings)
    app = create_app(runtime.settings, runtime=runtime, announce=announce, management=management)
    freeze_collector()
    _greet(options, runtime.settings)
    uvicorn.run(app, **_server_options(runtime.settings), host=options.host, port=options.port)
    return 0


def _serve_with_workers(options: argparse.Namespace) -> int:
    import msgspec
    import uvicorn

    from cds_service.app import create_app, freeze_collector
    from cds_service.process.management import management_socket
    from cds_service.process.workers import Serve, Workers
    from cds_service.runtime import new_alert_log
    from cds_service.telemetry.events import Event, tell
    from cds_service.telemetry.log_lines import configure_logging
    from cds_service.telemetry.prometheus import forget_own

    def served(shared: Runtime) -> Serve:
        freeze_collector()
        forget_own()
        settings = shared.settings

        def serve(show_life: Callable[[Callable[[], bool]], None]) -> None:
            configure_logging(settings.profile, peers=settings.log_peers)  # the lines have the number of the process
            own = msgspec.structs.replace(shared, alert_log=new_alert_log(settings, shared.knowledge))
            app = create_app(settings, runtime=own, announce=_announce_of(options, settings), management=management)
            freeze_collector()
            server = uvicorn.Server(uvicorn.Config(app, **_server_options(settings)))
            show_life(lambda: server.started)
            server.run([listening])

        return serve

    def load_anew() -> Serve | None:
        gc.unfreeze()
        gc.collect()  # what only workers that have ended by now were forked with
        try:
            loaded = _load(options)
        except (SettingsError, KnowledgeError, OSError, ValueError) as error:
            tell(Event.RELOAD_FAILED, error=type(error).__name__)
            print(error, file=sys.stderr, flush=True)
            if options.reload:
                print("The cards before go on; mend and save again.", file=sys.stderr, flush=True)
            return None
        if options.reload:
            knowledge = loaded.knowledge
            print(f"Loaded again: {len(knowledge.cards)} cards, content {knowledge.hash[:12]}", flush=True)
        return served(loaded)

    runtime = _load(options)
    if options.reload and runtime.settings.profile != "dev":
        raise SettingsError("--reload is for the dev profile; in production send SIGHUP once the files are checked")
    require_free_port(options.host, options.port)
    _greet(options, runtime.settings)
    where = {"host": options.host, "port": options.port}
    config = uvicorn.Config(create_app(runtime.settings, runtime=runtime), **_server_options(runtime.settings), **where)
    config.load()  # as a worker does; what is imported for it is shared then
    config.get_loop_factory()
    listening = config.bind_socket()
    changed = FolderWatch(_watched(runtime.settings)).changed if options.reload else lambda: False
    management = management_socket(runtime.settings)
    return Workers(served(runtime), options.workers, load_anew, changed).run()


def _watched(settings: Settings) -> list[Path]:
    """Return the files and folders that the knowledge and the registry of clients are read from."""
    from cds_service.files.paths import cards_dir

    places = (settings.cards_dir or cards_dir(), settings.overlay_dir, settings.approvals_file, settings.clients_file)
    return [place for place in places if place is not None]


def _announce_of(options: argparse.Namespace, settings: Settings) -> Announce | None:
    """Return what prints a line about each call with the address of its page; None where calls are not to be kept."""
    if settings.profile != "dev" or options.quiet:
        return None
    base = _base_url(options)
    return lambda line, path: print(f"{line}  {base}{path}" if path else line, flush=True)


def _base_url(options: argparse.Namespace) -> str:
    return f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{options.port}"


def _load(options: argparse.Namespace) -> Runtime:
    """Read settings, cards and clients, and set up logging.

    Raises what `new_runtime` raises.
    """
    from cds_service.runtime import new_runtime
    from cds_service.telemetry.log_lines import configure_logging

    settings = load_settings(profile=options.profile)
    configure_logging(settings.profile, peers=settings.log_peers)
    return new_runtime(settings, _base_url(options) if settings.profile == "dev" and options.port else "")


def _server_options(settings: Settings) -> dict[str, Any]:
    from cds_service.process.connection_limits import LimitedConnection

    return {
        "http": LimitedConnection,
        "ws": "none",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "timeout_graceful_shutdown": max(4, settings.deadline_ms // 1000 + 1),  # calls under way still get their deadline
    }


def _greet(options: argparse.Namespace, settings: Settings) -> None:
    if settings.profile == "dev":
        warn_where_others_reach(options.host)
        print(_start_screen(_base_url(options), settings), flush=True)
        if options.open:
            open_later(f"{_base_url(options)}/")


def _start_screen(base: str, settings: Settings) -> str:
    command = Path(sys.argv[0]).absolute()
    here = Path.cwd()
    who = "answers every caller" if settings.clients_file is None else "answers the registered clients"
    shown = command.relative_to(here) if command.is_relative_to(here) else command.name
    # Browsers let a page of the public sandbox call 127.0.0.1 although it has no TLS.
    set_up = {"patientId": "mild-potassium", "fhirServiceUrl": f"{base}/fhir", "serviceDiscoveryURL": f"{base}/cds-services"}
    sandbox = urlencode(set_up)
    health = f"http://{settings.management_address}" if settings.management else base
    return f"""
Cramp CDS {__version__}, dev profile: {who}, for machines without patient data.

  Playground  {base}/     (fire a hook, see the cards and why)
  Calls       {base}/playground/calls     (what every client sent and got, and why)
  Review      {base}/review     (what the quality team reads)
  A card      {shown} sample quinine-for-cramps | \\
                curl -s -H content-type:application/json --data-binary @- {base}/cds-services/cramp-care-order-sign
  Sandbox     https://sandbox.cds-hooks.org/?{sandbox}
  Patients    {base}/fhir/Patient     (FHIR R4, read-only; {shown} sample lists them)
  Discovery   {base}/cds-services
  Health      {health}/health
  The log     {shown} log export --format ndjson     (in {settings.log_path})
  Stop        Ctrl-C
"""
