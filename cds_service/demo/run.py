"""Fire the calls of made-up months at the real service under a moving clock, and answer its cards."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from fastapi import FastAPI

from cds_service.demo.calls import Call, generate
from cds_service.demo.changes import changes, write_cards
from cds_service.demo.clients import CLIENTS, Client
from cds_service.demo.feedback import Answer, Clinicians
from cds_service.demo.schedule import Period
from cds_service.demo.service import ChartServer, MovingClock, NamedCallers, post
from cds_service.files.paths import cards_dir
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.runtime import Runtime, new_alert_log, new_runtime
from cds_service.settings import Settings

CreateApp = Callable[[Settings, Runtime], FastAPI]  # the application of these settings with this runtime
OnCall = Callable[[datetime, int], None]  # told the moment of each call and how many there were

# No other database gets to know the made-up calls, no registry is needed, and the cards are the shipped ones.
_ALONE = {
    "log_database_url": "",
    "database_url": "",
    "clients_file": None,
    "cards_dir": None,
    "overlay_dir": None,
    "checking_seconds": 0,
}
_PATIENCE = 30.0  # seconds


class Made(msgspec.Struct):
    """What was fired."""

    calls: int = 0
    cards: int = 0
    answers: int = 0  # items of feedback
    statuses: dict[int, int] = {}  # of calls: how often


async def make_log(
    settings: Settings,
    create_app: CreateApp,
    period: Period,
    calls_per_day: float,
    seed: int,
    on_call: OnCall,
    clients: Sequence[Client] = CLIENTS,
    *,
    changed: bool = True,
) -> Made:
    """Write the log of `settings.log_path` by firing the calls of `period`; the cards are the shipped ones.

    The service is started anew for each version of the cards, as at an update; without `changed` there is one version.

    Raises KnowledgeError, ChangedTextError, and what the log's start raises.
    """
    settings = settings.model_copy(update=_ALONE)
    run = _Run(seed, period, on_call)
    calls = generate(period, calls_per_day, seed, load_knowledge(settings), clients)
    coming = changes(period) if changed else []
    steps = sorted({period.start, *(one.at for one in coming if one.at > period.start)})
    with TemporaryDirectory(prefix="demo-cards-") as folder:
        for number, (begins, ends) in enumerate(itertools.zip_longest(steps, steps[1:])):
            run.clock.now, cards = begins, Path(folder) / str(number)
            write_cards(cards_dir(), cards, [one for one in coming if one.at <= begins])
            runtime = new_runtime(settings.model_copy(update={"cards_dir": cards}))
            # A busy machine must not change what is shown: the log has time to say what was shown before.
            log = new_alert_log(runtime.settings, runtime.knowledge, clock=run.clock, patience=_PATIENCE, prior_limit=_PATIENCE)
            runtime = msgspec.structs.replace(
                runtime, callers=NamedCallers(clients), alert_log=log, clock=run.clock, http=run.server
            )
            app = create_app(runtime.settings, runtime)
            async with app.router.lifespan_context(app):
                calls = await run.fire(app, runtime, calls, ends)
    return run.made


class _Run:
    """One run, through all versions of the cards."""

    def __init__(self, seed: int, period: Period, on_call: OnCall) -> None:
        self.clock = MovingClock(period.start)
        self.server = ChartServer(seed)
        self.made = Made()
        self._clinicians = Clinicians(seed)
        self._feedback: list[tuple[datetime, int, Answer]] = []  # to come, a heap
        self._count = itertools.count()
        self._on_call = on_call
        self._end = period.end

    async def fire(self, app: FastAPI, runtime: Runtime, calls: Iterator[Call], until: datetime | None) -> Iterator[Call]:
        """Fire the calls and the feedback before `until`, None for all; return the calls that are left."""
        services = {one.hook: one.id for one in runtime.knowledge.services}
        for call in calls:
            if until is not None and call.at >= until:
                await self._send_feedback(app, until)
                return itertools.chain([call], calls)
            await self._send_feedback(app, call.at)
            if call.order not in self._clinicians.removed or not call.order:
                await self._call(app, call, services[call.hook])
        await self._send_feedback(app, until or self._end)
        return calls

    async def _call(self, app: FastAPI, call: Call, service: str) -> None:
        self.clock.now = call.at
        self.server.know(call.unsent, call.at.isoformat())
        status, body = await post(app, f"/cds-services/{service}", call.client, call.body, authorised=call.authorised)
        self.made.calls += 1
        self.made.statuses[status] = self.made.statuses.get(status, 0) + 1
        self._on_call(call.at, self.made.calls)
        if status != 200:
            return
        cards: list[Any] = msgspec.json.decode(body)["cards"]
        self.made.cards += len(cards)
        if not call.again:
            for answer in self._clinicians.answers(call, service, cards):
                heapq.heappush(self._feedback, (answer.sent_at, next(self._count), answer))

    async def _send_feedback(self, app: FastAPI, until: datetime) -> None:
        """Send the feedback that is due before `until`; what is due together at one service goes in one batch."""
        due: list[Answer] = []
        while self._feedback and self._feedback[0][0] < until:
            due.append(heapq.heappop(self._feedback)[2])
        for (at, client, service), batch in itertools.groupby(due, lambda one: (one.sent_at, one.client, one.service)):
            self.clock.now = at
            items = [one.item for one in batch]
            await post(app, f"/cds-services/{service}/feedback", client, msgspec.json.encode({"feedback": items}))
            self.made.answers += len(items)
