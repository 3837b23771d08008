"""Evaluate two known patients at intervals, to notice a service that answers calls but fires no cards.

Cards fire for the positive patient and none for the negative one. Both go the whole way of a call (decode → gather → read →
judge → draw → choose) at the clock and with the knowledge of this process. They are kept out of the alert log, which holds only
what was shown to people and reports by itself whether it can be written.

The check compares decisions, not shown cards: a card that a site has not approved fires in shadow, and that is right. Drafts are
left out, because they may fire at anything while they are being written.
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
_FIRED = (Outcome.FIRED, Outcome.CAPPED, Outcome.GAVE_WAY)
_LATE = 2.5  # intervals without a result before it counts as overdue

State = Literal["off", "starting", "ok", "failed", "overdue", "unproven"]


class CheckFailedError(Exception):
    """Raised where a known patient was not decided as expected. The text holds only ids of cards."""


class SelfCheck:
    """Evaluate the known patients of one process every `interval` seconds (0: never)."""

    def __init__(self, runtime: Runtime, interval: float) -> None:
        self._runtime = runtime
        self._interval = interval
        samples = load_samples(fixtures_dir())
        self._samples = {"positive": samples[POSITIVE], "negative": samples[NEGATIVE]}
        settings = runtime.settings
        self._shipped = settings.cards_dir is None and settings.overlay_dir is None
        self._expected: dict[str, set[str]] = {}  # check → ids of the cards that fired at the first check
        self._last: float | None = None  # of time.monotonic
        self.failing: dict[str, str] = {}  # check → the difference found

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
        return "ok" if self._expected["positive"] else "unproven"

    @property
    def alarming(self) -> bool:
        """Say whether the last check failed, or is overdue."""
        return self.state in ("failed", "overdue")

    def report(self) -> dict[str, object]:
        """Return the body of `/health/checking`."""
        age = None if self._last is None else round(time.monotonic() - self._last, 1)
        fires = {check: sorted(cards) for check, cards in self._expected.items()}
        return {"status": self.state, "seconds_ago": age, "every": self._interval, "fires": fires, "failing": self.failing}

    async def run(self) -> None:
        """Check at once and then at every interval, until cancelled."""
        while self._interval:
            await self.check()
            await asyncio.sleep(self._interval)

    async def check(self) -> None:
        """Evaluate both patients once, and log a change. Catches every exception, because any fault fails the check."""
        before = self.failing
        failing: dict[str, str] = {}
        for check in self._samples:
            try:
                self._compare(check, await self._fired_cards(check))
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
        if self._last is None and not failing and not self._expected["positive"]:
            tell(Event.CHECK_UNPROVEN)
        self.failing = failing
        self._last = time.monotonic()
        metrics.CHECK_RUN.set(time.time())

    def _compare(self, check: str, fires: set[str]) -> None:
        """Compare the fired cards with those expected. Raises CheckFailedError where they differ.

        For the cards that came with the service the result is known beforehand. For a site's own cards, the first check says
        what to expect.
        """
        if self._shipped and fires and check == "negative":
            raise CheckFailedError(f"fires: {_names(fires)}")
        if self._shipped and not fires and check == "positive":
            raise CheckFailedError("nothing fires")
        expected = self._expected.setdefault(check, fires)
        if fires != expected:
            raise CheckFailedError(f"fires: {_names(fires)}; at the start: {_names(expected)}")

    async def _fired_cards(self, check: str) -> set[str]:
        """Return the ids of the cards that fire for the patient, live or in shadow.

        Raises CheckFailedError where a card failed or is missing from the response.
        """
        runtime, sample = self._runtime, self._samples[check]
        now = runtime.clock()
        call = decode_request(msgspec.json.encode(sample.request(now)), sample.hook)
        evaluation = await evaluate_request(call, runtime.engine, now)
        _expect_complete(evaluation)
        return {one.card.id for one in evaluation.decisions if one.outcome in _FIRED and one.card.file.status == "active"}


def _expect_complete(evaluation: Evaluation) -> None:
    """Check that every card that fired was drawn and is in the response body. Raises CheckFailedError."""
    failed = {one.card.id for one in evaluation.decisions if one.outcome is Outcome.FAILED}
    if failed:
        raise CheckFailedError(f"failed: {_names(failed)}")
    fired = {one.card.id for one in evaluation.decisions if one.outcome is Outcome.FIRED}
    drawn = {one.decision.card.id for one in (*evaluation.shown, *evaluation.shadows) if one.decision is not None}
    if fired != drawn:
        raise CheckFailedError(f"fired, not drawn: {_names(fired ^ drawn)}")
    sent = [card["uuid"] for card in msgspec.json.decode(evaluation.body)["cards"]]
    if sent != [one.uuid for one in evaluation.shown]:
        raise CheckFailedError("the response does not hold the cards that were drawn")


def _names(cards: set[str]) -> str:
    return ", ".join(sorted(cards)) or "none"
