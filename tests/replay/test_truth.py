"""A replay with other cards says what the request would have got with them, or that it can't say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pytest

from cds_service.alert_log.body import encode_body
from cds_service.alert_log.call_record import ReceivedCall, call_record
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.criteria.facts import Facts
from cds_service.demo.calls import Call, generate
from cds_service.demo.schedule import Period
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.present.cards import Presenter
from cds_service.replay.again import decide_again
from cds_service.replay.answerable import between
from cds_service.replay.knowledge import Cards
from cds_service.replay.records import StoredBody
from cds_service.replay.same import comparable_cards, comparable_evaluations, stand_in_for
from cds_service.trust import Caller
from cds_service.wire.errors import CdsError
from cds_service.wire.hook_request import HookRequest, decode_request
from cds_service.wire.refusal import RequestRefusedError
from tests import proofs
from tests.core import knowledge
from tests.replay.changed_knowledge import changed, number, table, value_set

END = datetime(2026, 3, 6, 18, tzinfo=UTC)
Change = Callable[[Path, Random], None]

CALLS = proofs.examples("CDS_TRUTH_CALLS", 100, 100)  # 2000 in the long form, in some minutes
SETS: dict[Change, int] = {number: 20, table: 10, value_set: 10} if proofs.FULL else {number: 4, table: 3, value_set: 2}


def evaluated(call: Call, engine: Engine) -> tuple[HookRequest, Evaluation] | None:
    """The request and its evaluation from prefetch alone; None where it is refused."""
    try:
        request = decode_request(call.body, call.hook, Caller(client=call.client.name))
        return request, asyncio.run(evaluate_request(request, engine, call.at))
    except (CdsError, RequestRefusedError):
        return None


def record(request: HookRequest, found: Evaluation, at: datetime) -> tuple[Pseudonyms, StoredBody]:
    """What the log would keep, and the hashes that it is kept with."""
    context = request.context
    hashed = Pseudonyms(bytes(32), request.caller, request.fhirServer, context.patientId, context.encounterId)
    received = ReceivedCall(request, "service", at, 1, hashed, "hash", "US")
    made = call_record(received, found.facts, found.decisions, found.shown, found.shadows, found.held_back, found.body)
    return hashed, msgspec.json.decode(encode_body(made), type=StoredBody)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Calls of a made-up week with what may be missing or broken."""
    made = generate(Period.of_days(30, END), CALLS / 10, 1, knowledge())
    drawn = [one for one in made if len(one.body) < 1_000_000]
    return Random(1).sample(drawn, min(CALLS, len(drawn)))


@pytest.mark.proof
@pytest.mark.parametrize("change", [number, table, value_set])
def test_no_difference_is_silent(calls: list[Call], change: Change, tmp_path: Path) -> None:
    base = knowledge()
    before = Engine(base, Presenter(base))
    seen: Counter[str] = Counter()
    recorded = [(call, evaluated(call, before)) for call in calls]
    for candidate in changed(tmp_path, change, SETS[change], base):
        cards = Cards(candidate, Presenter(candidate))
        engine = Engine(candidate, cards.presenter)
        for call, then in recorded:
            truth = evaluated(call, engine)
            if then is None or truth is None:
                assert then is truth  # what is refused is refused with any cards
                seen["refused"] += 1
                continue
            _, kept = record(then[0], then[1], call.at)
            _, real = record(truth[0], truth[1], call.at)
            moved = _outcomes(real) != _outcomes(kept)
            if between(base, candidate, call.hook) is not None:
                seen["unanswerable"] += 1
                seen["unanswerable and another answer"] += moved
                continue
            facts = msgspec.json.decode(kept.facts, type=Facts)
            again = decide_again(facts, cards, kept.hook_instance, "", stand_in_for(map(bytes, real.cards)))
            assert comparable_evaluations(again.evaluations()) == comparable_evaluations(bytes(real.evaluations))
            assert comparable_cards(again.cards()) == comparable_cards(map(bytes, real.cards))
            seen["the same"] += 1
            seen["another answer"] += moved
    print(change.__name__, dict(seen))  # the figures of the long form, with `-s`
    assert seen["unanswerable" if change is value_set else "another answer"]


def _outcomes(body: StoredBody) -> list[tuple[str, str, int]]:
    rows = msgspec.json.decode(body.evaluations, type=list[dict[str, object]])
    return [(str(one["card"]), str(one["outcome"]), int(str(one.get("row", -1)))) for one in rows if one["card"] != "*"]
