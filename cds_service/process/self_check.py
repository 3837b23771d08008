"""Known patients, decided again and again: the one way to notice that a service which answers has stopped to fire.

One patient about whom the cards speak and one about whom they have nothing to say go the whole way of a call (decode → gather →
read → judge → draw → choose), at the clock and with the knowledge of this process. They do not go through the alert log,
which holds what was shown to people and nothing else, and which says by itself whether it can be written.

What counts is what cards decide, not what is shown: a card that a site has not approved fires in shadow, and that is well. Drafts
are left out, as they may fire at anything while they are written.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import msgspec

from cds_service.authoring.samples import load_samples
from cds_service.decide.decision import Outcome
from cds_service.evaluate import Evaluation, evaluate_request
from cds_service.files.paths import fixtures_dir
from cds_service.runtime import Runtime
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.wire.hook_request import decode_request

POSITIVE, NEGATIVE = "quinine-for-cramps", "normal-chart"  # samples; an order needs no threshold that a site may have moved
_SPOKE = (Outcome.FIRED, Outcome.CAPPED, Outcome.GAVE_WAY)
_LATE = 2.5  # intervals without a result before it counts as overdue

State = Literal["off", "starting", "ok", "failed", "overdue", "unproven"]


class CheckFailedError(Exception):
    """A known patient was not decided as it should be. The text holds ids of cards only."""


class Checking:
    """Decides the known patients of one process every `interval` seconds (0: never)."""

    def __init__(self, runtime: Runtime, interval: float) -> None:
        self._runtime = runtime
        self._interval = interval
        samples = load_samples(fixtures_dir())
        self._samples = {"positive": samples[POSITIVE], "negative": samples[NEGATIVE]}
        settings = runtime.settings
        self._shipped = settings.cards_dir is None and settings.overlay_dir is None
        self._known: dict[str, set[str]] = {}  # which cards spoke at first
        self._last: float | None = None  # of time.monotonic
        self.failing: dict[str, str] = {}  # check → what is wrong

    @property
    def state(self) -> State:
        if not self._interval:
            return "off"
        if self._last is None:
            return "starting"
        if time.monotonic() - self._last > _LATE * self._interval:
            return "overdue"
        if self.failing:
            return "failed"
        return "ok" if self._known["positive"] else "unproven"

    @property
    def alarming(self) -> bool:
        """Whether something that was right is not right any more, or is not known to be."""
        return self.state in ("failed", "overdue")

    def report(self) -> dict[str, object]:
        """For `/health/checking`."""
        age = None if self._last is None else round(time.monotonic() - self._last, 1)
        known = {check: sorted(cards) for check, cards in self._known.items()}
        return {"status": self.state, "seconds_ago": age, "every": self._interval, "fires": known, "failing": self.failing}

    async def run(self) -> None:
        """Checks at once and then at every interval, until it is cancelled."""
        while self._interval:
            await self.check()
            await asyncio.sleep(self._interval)

    async def check(self) -> None:
        """Decides both patients once, and says what changed. Raises nothing: whatever fails is what this is there to find."""
        before = self.failing
        failing: dict[str, str] = {}
        for check in self._samples:
            try:
                self._compare(check, await self._fires(check))
            except CheckFailedError as error:
                failing[check] = str(error)
                if check not in before:
                    tell(Event.CHECK_FAILED, check=check, why=str(error))
            except Exception as error:  # noqa: BLE001 - as above
                failing[check] = type(error).__name__
                if check not in before:
                    tell(Event.CHECK_FAILED, check=check, error=type(error).__name__, place=place(error.__traceback__))
            metrics.CHECK_OK.labels(check).set(check not in failing)
        if before and not failing:
            tell(Event.CHECK_RECOVERED)
        if self._last is None and not failing and not self._known["positive"]:
            tell(Event.CHECK_UNPROVEN)
        self.failing = failing
        self._last = time.monotonic()
        metrics.CHECK_RUN.set(time.time())

    def _compare(self, check: str, fires: set[str]) -> None:
        """Raises CheckFailedError. What a site's own cards say of these patients is not known beforehand; it must not change."""
        if self._shipped and fires and check == "negative":
            raise CheckFailedError(f"fires: {_names(fires)}")
        if self._shipped and not fires and check == "positive":
            raise CheckFailedError("nothing fires")
        known = self._known.setdefault(check, fires)
        if fires != known:
            raise CheckFailedError(f"fires: {_names(fires)}; at the start: {_names(known)}")

    async def _fires(self, check: str) -> set[str]:
        """Ids of cards that speak about the patient, live or in shadow. Raises CheckFailedError where one broke or is lost."""
        runtime, sample = self._runtime, self._samples[check]
        now = runtime.clock()
        call = decode_request(msgspec.json.encode(sample.request(now)), sample.hook)
        evaluation = await evaluate_request(call, runtime.engine, now)
        _expect_whole(evaluation)
        return {one.card.id for one in evaluation.decisions if one.outcome in _SPOKE and one.card.file.status == "active"}


def _expect_whole(evaluation: Evaluation) -> None:
    """What was decided is also drawn, and in the body that an EHR would get."""
    broken = {one.card.id for one in evaluation.decisions if one.outcome is Outcome.FAILED}
    if broken:
        raise CheckFailedError(f"broke: {_names(broken)}")
    fired = {one.card.id for one in evaluation.decisions if one.outcome is Outcome.FIRED}
    drawn = {one.decision.card.id for one in (*evaluation.shown, *evaluation.shadows) if one.decision is not None}
    if fired != drawn:
        raise CheckFailedError(f"fired, not drawn: {_names(fired ^ drawn)}")
    sent = [card["uuid"] for card in msgspec.json.decode(evaluation.body)["cards"]]
    if sent != [one.uuid for one in evaluation.shown]:
        raise CheckFailedError("the answer does not hold the cards that were drawn")


def _names(cards: set[str]) -> str:
    return ", ".join(sorted(cards)) or "none"
