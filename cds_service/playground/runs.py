"""Send calls to the application of this process, and keep the last few.

A call is a real HTTP request to `/cds-services/{id}`, handed to the application in this process (httpx2.ASGITransport): it passes
through the same middleware, routes and log as one from the network, without a socket.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from cds_service.clock import Clock
from cds_service.evaluate import Evaluation
from cds_service.explain.explain import explain
from cds_service.explain.explanation import Explanation
from cds_service.hooks.service_calls import ON_EVALUATION
from cds_service.knowledge.knowledge import Knowledge
from cds_service.telemetry.timings import Timings

MOST_RUNS = 16  # kept in memory by each process; the oldest is dropped first


class SentFeedback(msgspec.Struct):
    """Hold one item of feedback and the response to it."""

    card: str
    words: str
    request: bytes
    status: int
    response: bytes


class Run(msgspec.Struct):
    """Hold one call and its response.

    Bodies are as they were on the wire; times are in ms.
    """

    id: str
    title: str
    at: datetime
    service: str
    base_url: str  # without a slash at the end
    request: bytes
    status: int
    response: bytes
    total_ms: float
    phases: dict[str, float] = {}
    explanation: Explanation | None = None  # None where the call was refused
    feedback: list[SentFeedback] = []

    @property
    def url(self) -> str:
        return f"{self.base_url}/cds-services/{self.service}"

    @property
    def cards(self) -> list[dict[str, Any]]:
        """Return the cards of the response; none where the call was refused."""
        return list(msgspec.json.decode(self.response)["cards"]) if self.status == 200 else []


class Runs:
    """Send calls, and keep the last ones of this process."""

    def __init__(self, knowledge: Knowledge, clock: Clock) -> None:
        self._knowledge = knowledge
        self._clock = clock
        self._runs: OrderedDict[str, Run] = OrderedDict()

    def get(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    async def fire(self, app: ASGIApp, base_url: str, service: str, body: bytes, title: str) -> Run:
        """Send `body` to a service, and keep the response with its explanation."""
        evaluations: list[tuple[Evaluation, Timings]] = []
        at = self._clock()
        observed = _with_callback(app, lambda evaluation, timings: evaluations.append((evaluation, timings)))
        response, total_ms = await _post(observed, base_url, f"/cds-services/{service}", body)
        run = Run(
            id=secrets.token_hex(8),
            title=title,
            at=at,
            service=service,
            base_url=base_url,
            request=body,
            status=response.status_code,
            response=response.content,
            total_ms=total_ms,
        )
        if evaluations and run.status == 200:
            evaluation, timings = evaluations[-1]
            run.phases = dict(timings.phases)
            run.explanation = explain(evaluation.facts, evaluation.decisions, self._knowledge, evaluation.sources)
        self._runs[run.id] = run
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)
        return run

    async def give_feedback(self, app: ASGIApp, run: Run, item: dict[str, Any], words: str) -> SentFeedback:
        """Send one item of feedback to the service of `run`; its `outcomeTimestamp` is now."""
        item = item | {"outcomeTimestamp": self._clock().isoformat(timespec="seconds")}
        body = msgspec.json.encode({"feedback": [item]})
        response, _ = await _post(app, run.base_url, f"/cds-services/{run.service}/feedback", body)
        sent = SentFeedback(item["card"], words, body, response.status_code, response.content)
        run.feedback.append(sent)
        return sent


def _with_callback(app: ASGIApp, on_evaluation: Callable[[Evaluation, Timings], None]) -> ASGIApp:
    """Wrap `app` so that it hands the evaluation and timings of each call to `on_evaluation`."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {ON_EVALUATION: on_evaluation}}, receive, send)

    return call


async def _post(app: ASGIApp, base_url: str, path: str, body: bytes) -> tuple[httpx2.Response, float]:
    """Return the response to a POST of JSON, and how many ms it took."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=base_url) as client:
        started = time.perf_counter()
        response = await client.post(path, content=body, headers={"content-type": "application/json"})
        return response, (time.perf_counter() - started) * 1000
