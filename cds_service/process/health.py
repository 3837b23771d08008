"""Report the health of a process: to load balancers whether to send calls, to its operators all that they need to know."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, get_args

import msgspec
from fastapi import APIRouter, Response

from cds_service import __version__, short_cache
from cds_service.alert_log.key_check import foreign_keys
from cds_service.files.set_aside import files_set_aside
from cds_service.knowledge.site_knowledge import card_states
from cds_service.process.freed_memory import give_back
from cds_service.process.self_check import SelfCheck
from cds_service.runtime import Runtime
from cds_service.shipping.state import ShippingHealth, State
from cds_service.telemetry import metrics
from cds_service.telemetry.call_counts import flush
from cds_service.telemetry.events import Event, tell
from cds_service.telemetry.log_lines import summarise_refusals
from cds_service.telemetry.prometheus import CONTENT_TYPE, exposition

NO_CARD_SHOWN = "no card is shown: `cds-service cards approve` approves one, `cds-service cards approvals` says what is missing"
KEY_CHANGED = (
    "the key of the hashes k{} is not the one that this log began with, so its patients are not joined: set the old key again, "
    "or raise CDS_HASH_GENERATION (`cds-service log rotate-key`)"
)
_STATES = ("ok", "degraded", "failed")


class ProcessState:
    """Hold the state of one process between its start and its end."""

    def __init__(self, runtime: Runtime, self_check: SelfCheck) -> None:
        self.started = False
        self.draining = False
        self.self_check = self_check
        self.wrong_keys: list[int] = []  # generations of the log's hashes whose secret is not the one that the log began with
        self._runtime = runtime
        self._forget_at = time.monotonic() + short_cache.EMPTIED_EVERY
        self._waiting_since: float | None = None  # of time.monotonic

    def not_ready(self) -> list[str]:
        """Return the reasons not to send calls to this process; an empty list where it is ready."""
        reasons = {
            "starting": not self.started,
            "draining": self.draining,
            "no cards": not self._runtime.knowledge.cards,
            self._runtime.callers.all_refused or "callers": bool(self._runtime.callers.all_refused),
            "the log can't be written": self._runtime.settings.log_required and self._runtime.alert_log.health().state != "ok",
        }
        return [reason for reason, applies in reasons.items() if applies]

    async def check_keys(self) -> None:
        """Compare the secrets of the log's hashes with those that it began with. A difference is an alarm, and calls go on."""
        try:
            self.wrong_keys = await asyncio.to_thread(foreign_keys, self._runtime.settings.log_path, self._runtime.hash_secrets)
        except sqlite3.Error as error:
            tell(Event.KEY_UNCHECKED, error=type(error).__name__)
        metrics.WRONG_KEYS.set(len(self.wrong_keys))
        for generation in self.wrong_keys:
            tell(Event.KEY_CHANGED, count=generation)

    async def watch(self) -> None:
        """Measure every second until cancelled, so that the metrics are at most a second old; forget what charts said."""
        while True:
            if not self.measure():  # no call ended, so hardly any waits
                give_back()
            summarise_refusals()
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + short_cache.EMPTIED_EVERY
                short_cache.forget_all()
            await asyncio.sleep(1)

    def measure(self) -> int:
        """Set the metrics that no event sets, and flush the call counts. Return how many calls have ended since the last time."""
        log = self._runtime.alert_log.health()
        if not log.waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = time.monotonic()
        metrics.LOG_WAITING.set(log.waiting)
        metrics.SET_ASIDE.set(len(files_set_aside(self._runtime.settings.log_path.parent)))
        metrics.LOG_LAG.set(0 if self._waiting_since is None else time.monotonic() - self._waiting_since)
        for state in _STATES:
            metrics.LOG_STATE.labels(state).set(state == log.state)
        if self._runtime.shipper is not None:
            _measure_shipping(self._runtime.shipper.health())
        return flush()


def _measure_shipping(shipping: ShippingHealth) -> None:
    metrics.SHIPPING_WAITING.set(shipping.waiting or 0)
    metrics.SHIPPING_LAG.set(shipping.lag_seconds)
    for state in get_args(State):
        metrics.SHIPPING_STATE.labels(state).set(state == shipping.state)


def probe_routes(process: ProcessState) -> APIRouter:
    """Return `/health/live` and `/health/ready` without details, for a port that EHRs reach."""
    return _probes(process, detail=False)


def health_routes(runtime: Runtime, process: ProcessState) -> APIRouter:
    """Return the routes `/health…` and `/metrics`, for operators."""
    router = APIRouter(tags=["Operation"])
    states, configuration = card_states(runtime.knowledge), runtime.configuration

    @router.get("/health", summary="Whether everything works")
    async def health() -> Response:
        """Report the state of every part, always with 200, because calls are answered.

        `status` is `degraded` while the alert log can't be written or shipped, while used tokens can't be looked up, after a card
        failed, while the known patients are not decided as before, and where the key of the log's hashes is not the one that
        the log began with. `notes` are for the operator to read. `shipping` is null where the log is not shipped. `set_aside`
        names files beside the log that could not be used; while there is one, `status` is `degraded`, too.
        """
        log = runtime.alert_log.health()
        shipping = runtime.shipper.health() if runtime.shipper is not None else None
        failures = metrics.counts(metrics.EVALUATION_FAILURES)
        degraded = failures or metrics.count(metrics.ENGINE_FAILURES) or log.state != "ok" or runtime.callers.degraded
        kept = files_set_aside(runtime.settings.log_path.parent)
        degraded = degraded or bool(process.wrong_keys or kept)
        degraded = degraded or (shipping is not None and shipping.state in ("failing", "stopped"))
        report = {
            "status": "degraded" if degraded or process.self_check.alarming else "ok",
            "profile": runtime.settings.profile,
            "version": __version__,
            "configuration": configuration,
            "cards": states,
            "notes": [*([] if states["live"] else [NO_CARD_SHOWN]), *map(KEY_CHANGED.format, process.wrong_keys)],
            # Counts since this process started: requests answered with 500, and cards or criteria that failed, by id
            "unexpected_errors": metrics.count(metrics.UNEXPECTED_ERRORS),
            "evaluation_failures": failures,
            "security_events": metrics.counts(metrics.SECURITY_EVENTS),
            "callers": runtime.callers.health(),
            "checking": process.self_check.state,
            "log": msgspec.structs.asdict(log),
            "set_aside": kept,
            "shipping": msgspec.structs.asdict(shipping) if shipping is not None else None,
        }
        return _json(report, 200)

    @router.get("/health/checking", summary="Whether the known patients are decided as before")
    async def checking() -> Response:
        """Answer 200 only where the last check passed.

        Else 503: also where checking is off, has not begun, is overdue, or has no patient that makes a card fire.
        """
        report = process.self_check.report()
        return _json(report, 200 if report["status"] == "ok" else 503)

    @router.get("/metrics", summary="Metrics of all workers, for Prometheus", include_in_schema=False)
    async def all_metrics() -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE)

    router.include_router(_probes(process, detail=True))
    return router


def _probes(process: ProcessState, *, detail: bool) -> APIRouter:
    router = APIRouter(tags=["Operation"])

    @router.get("/health/live", summary="Whether the process answers")
    async def live() -> Response:
        """Answer 200. A supervisor that gets no answer may end the process."""
        return _json({"status": "live"}, 200)

    @router.get("/health/ready", summary="Whether calls should be sent here")
    async def ready() -> Response:
        """Answer 200, or 503 with the reasons.

        Reasons: the process starts or ends, it has no cards, every caller would be refused, or the log is required and can't be
        written.
        """
        reasons = process.not_ready()
        status = {"status": "not ready" if reasons else "ready"}
        return _json(status | ({"because": reasons} if detail else {}), 503 if reasons else 200)

    return router


def _json(report: Mapping[str, Any], status: int) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(msgspec.json.encode(report), status, headers, media_type="application/json")
