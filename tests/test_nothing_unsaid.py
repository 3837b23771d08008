"""Whatever is missing or broken, no answer lets its reader believe that something was checked which was not.

`CDS_FAULT_COMBINATIONS=50000` for the long form, `CDS_SEED=7` for other combinations. A failure names its combination's seed.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from fastapi import FastAPI

from cds_service import evaluate as evaluation
from cds_service.alert_log import CallRecord, DeliveryRecord, LogHealth, PriorRecord
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.app import create_app
from cds_service.decide import one_card
from cds_service.decide.decision import Decision
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.knowledge.services import ServiceDefinition
from cds_service.outbound.http_client import Server
from cds_service.present import cards
from cds_service.present.card_template import CardTemplate
from cds_service.respond import respond
from cds_service.runtime import Runtime
from cds_service.trust import Caller
from cds_service.wire.hook_request import HookRequest, decode_request
from tests import proofs
from tests.core import NOW, Json, a_runtime, break_every_card, knowledge, presenter
from tests.fault_mix import Mix, fhir_server, mix
from tests.fuzz.drive import post
from tests.http_side import SameCaller, TransportClient
from tests.unsaid import SPOKE, Told, lost, unsaid

COMBINATIONS = proofs.examples("CDS_FAULT_COMBINATIONS", 150, 1500)
SEED = int(os.environ.get("CDS_SEED", "1"))
KNOWN = knowledge()
CRITERIA = list(KNOWN.criteria)
CARDS = [card.id for card in KNOWN.cards]


class MemoryLog:
    """A log that keeps what it is given, and is durable or silent as it is told."""

    def __init__(self) -> None:
        self.durable = self.silent = False
        self.last: CallRecord | None = None
        self.shown: dict[str, list[PriorRecord]] = {}
        self.uuids: set[str] = set()

    def start(self) -> None: ...

    async def close(self) -> None: ...

    def begin(self, state: str) -> None:
        """For the next call. What was shown long ago is forgotten."""
        self.durable, self.silent, self.last = state != "not durable", state == "silent", None
        if len(self.uuids) > 200:
            self.shown.clear()
            self.uuids.clear()

    async def append(self, record: CallRecord) -> bool:
        self.last = record
        return self.durable

    def withdraw(self, record: CallRecord, at: datetime) -> None:
        self.last = msgspec.structs.replace(record, status=503, outcome="log_unavailable", cards=())

    def delivered(self, note: DeliveryRecord) -> None: ...

    def refused(self, *_: object) -> None: ...

    def keep(self) -> None:
        """What the last call showed, for `prior_cards`: known when the answer was sent."""
        record = self.last
        if record is None or record.status != 200:
            return
        for one in record.cards:
            if one.mode == "live" and one.state == "shown":
                self.uuids.add(one.uuid)
                prior = PriorRecord(
                    *(one.uuid, one.card, one.version, one.indicator, one.about, one.row, one.order_key),  # type: ignore[arg-type]
                    *(record.hook, record.user_key, record.received_at, "overridden"),
                )
                self.shown.setdefault(record.patient_key, []).append(prior)

    async def prior_cards(
        self, patient_key: str, client: str, since: Mapping[str, datetime], apart: Collection[str]
    ) -> list[PriorRecord]:
        if self.silent:
            return []
        return [one for one in reversed(self.shown.get(patient_key, [])) if one.card in since and one.shown_at >= since[one.card]]

    @property
    def state(self) -> str:
        return self.health().state

    def health(self) -> LogHealth:
        return LogHealth("ok" if self.durable else "degraded", 0, 0, 0, "", 0, 0)


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("SECRET")


@contextmanager
def breaking(what: str, whom: str) -> Iterator[None]:
    """Makes one part raise, of one card or criterion where it is about one."""

    def only(real: Callable[..., Any], is_meant: Callable[..., bool]) -> Callable[..., Any]:
        return lambda *given, **named: (broken if is_meant(*given) else real)(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        match what, whom:
            case "criterion", _:
                victim = KNOWN.criteria[whom]
                kind: Any = type(victim)
                patch.setattr(kind, "find", only(kind.find, lambda self, *_: self is victim))
            case "judge", _:
                patch.setattr(one_card, "judge_card", only(one_card.judge_card, lambda card, *_: card.id == whom))
            case "draw", _:
                patch.setattr(CardTemplate, "draw", only(CardTemplate.draw, lambda one, *_: one.id == whom))
            case "part", "every card":
                break_every_card(patch)
            case "part", "every drawing":
                patch.setattr(CardTemplate, "draw", broken)
            case "part", "notice":
                patch.setattr(cards._Dialect, "_notice", broken)
            case "part", ("draw" | "compose"):
                patch.setattr(cards.Presenter, whom, broken)
            case "part", _:
                patch.setattr(evaluation, whom, broken)
        yield


class Asked(TransportClient):
    """The EHR's server as the combination of the moment has it; never asked before, so that no breaker is open."""

    def __init__(self) -> None:
        self.answer: Callable[[httpx2.Request], Any] = broken
        super().__init__(httpx2.MockTransport(lambda request: self.answer(request)))

    def server(self, base_url: str) -> Server:
        return Server()


class Bench:
    """An application for each choice of settings, on which combinations are tried."""

    def __init__(self, folder: Path) -> None:
        self.runtime = a_runtime(folder, KNOWN)
        self.log = MemoryLog()
        self.callers = SameCaller(Caller("ehr"))
        self.http = Asked()
        self.counts: Counter[str] = Counter()
        self._apps: dict[str, FastAPI] = {}
        self._answers: list[tuple[Evaluation, str]] = []

    async def respond(self, call: HookRequest, service: ServiceDefinition, runtime: Runtime, *given: Any) -> Evaluation:
        """Respond as the service does, and keep what was evaluated, and the session of its uuids."""
        hashed = Pseudonyms(runtime.hash_secret, call.caller, call.fhirServer, call.context.patientId, call.context.encounterId)
        self._answers.append((await respond(call, service, runtime, *given), hashed.session(call.hookInstance)))
        return self._answers[-1][0]

    async def problems(self, mixed: Mix) -> list[str]:
        """What the answer to a combination leaves unsaid."""
        self.callers.caller = Caller("ehr", dialect=mixed.dialect, deadline_ms=mixed.client_deadline_ms)
        self.http.answer = fhir_server(mixed)
        self.log.begin(mixed.log)
        self._answers.clear()
        with breaking(*mixed.breaks):
            path = f"/cds-services/cramp-care-{mixed.whole['hook']}"
            got = await post(self._app(mixed.settings), path, msgspec.json.encode(mixed.sent))
        self.counts[f"status {got.status}"] += 1
        if got.status != 200:
            return list(_refusal(got.status, got.body, self.log.last))
        ((answer, session),) = self._answers
        told = Told(got.body, session, mixed.dialect, KNOWN)
        self.counts["nothing said" if not told.cards else "a notice" if told.notices else "cards without a notice"] += 1
        self.counts.update(str(one.outcome) for one in answer.decisions if one.card.live)
        found = [*_logged(self.log.last, answer, told), *unsaid(told, answer, KNOWN, self.log.uuids)]
        if not answer.engine_failed:
            found += against_all_data(mixed, await _evaluated(mixed.whole), answer, told)
        self.log.keep()
        return found

    def _app(self, settings: dict[str, Any]) -> FastAPI:
        key = str(settings)
        if key not in self._apps:
            chosen = self.runtime.settings.model_copy(update=settings)
            parts = {"settings": chosen, "callers": self.callers, "alert_log": self.log, "http": self.http}
            self._apps[key] = create_app(chosen, runtime=msgspec.structs.replace(self.runtime, **parts), respond=self.respond)
        return self._apps[key]


async def _evaluated(request: Json) -> list[Decision]:
    """What is decided with all data."""
    call = decode_request(msgspec.json.encode(request), request["hook"])
    return (await evaluate_request(call, Engine(KNOWN, presenter(KNOWN)), NOW)).decisions


def against_all_data(mixed: Mix, whole: list[Decision], answer: Evaluation, told: Told) -> Iterator[str]:
    """What would have been said with all data, and is not said to be missing now."""
    entries = mixed.whole["context"].get("draftOrders", {}).get("entry", [])
    unreadable = {f"{entries[at]['resource']['resourceType']}/{entries[at]['resource']['id']}" for at in mixed.unreadable}
    yield from lost([one for one in whole if one.order is None or one.order.key not in unreadable], answer, told)
    if mixed.states.get("orders") == "without a name" and mixed.whole["hook"] != "order-sign":
        return  # one datum that can't be used, see 0004
    for one in whole:
        if one.order is None or one.order.key not in unreadable or one.outcome not in SPOKE or not one.card.live:
            continue
        declared = one.card.policy(one.card.file.for_each, missing=False) != "say_so"
        known_in_part = told.shows(one.card.id, one.order.key)  # which is enough to speak about it
        if not (declared or known_in_part or told.names(one.card)):
            yield f"{one.card.id} speaks about an order that could not be read, and nothing says so"


def _refusal(status: int, body: bytes, record: CallRecord | None) -> Iterator[str]:
    outcome: Json = msgspec.json.decode(body)
    if outcome.get("resourceType") != "OperationOutcome" or "cards" in outcome:
        yield f"{status} is answered with something else than an OperationOutcome"
    if record is not None and (record.status != status or record.cards):
        yield f"{status} is logged as {record.status} with {len(record.cards)} cards"


def _logged(record: CallRecord | None, answer: Evaluation, told: Told) -> Iterator[str]:
    """Whether the log has the answer as it was given."""
    if record is None:
        yield "the answer is not logged"
        return
    rows = [row for row in msgspec.json.decode(record.evaluations) if row["card"] != "*"]
    if [(row["card"], row["outcome"]) for row in rows] != [(one.card.id, one.outcome) for one in answer.decisions]:
        yield "the log has other decisions than the answer"
    if [(one.card, one.uuid) for one in record.cards if (one.mode, one.state) == ("live", "shown")] != told.cards:
        yield "the log has other cards than the answer"
    unchecked = any(one.outcome in ("could_not_check", "failed") and one.card.live for one in answer.decisions)
    if record.outcome == "not_fired" and (told.cards or unchecked):
        yield "the log has it as checked and nothing found"


@pytest.mark.proof
async def test_no_answer_implies_that_something_was_checked_which_was_not(tmp_path: Path) -> None:
    logging.disable(logging.CRITICAL)
    bench = Bench(tmp_path)
    bad: Counter[str] = Counter()
    examples: dict[str, str] = {}
    try:
        for seed in range(SEED * 1_000_000, SEED * 1_000_000 + COMBINATIONS):
            mixed = mix(seed, CRITERIA, CARDS)
            for problem in await bench.problems(mixed):
                bad[problem] += 1
                examples.setdefault(problem, f"seed {seed}: {mixed.whole['hook']}, {mixed.states}, breaks {mixed.breaks}")
    finally:
        logging.disable(logging.NOTSET)
    if os.environ.get("SHOW"):
        print(bench.counts)
    assert {f"{problem} ({count} times)": examples[problem] for problem, count in bad.most_common(40)} == {}
