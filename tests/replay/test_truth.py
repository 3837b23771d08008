"""A replay with other cards says what the request would have got with them, or that it can't say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from cds_service.alert_log.body import encode_body
from cds_service.alert_log.call_record import ReceivedCall, call_record
from cds_service.alert_log.inputs import Inputs, unpack_inputs
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import CallRecord
from cds_service.alert_log.sealing import SealingKey
from cds_service.criteria.facts import Facts
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.present.cards import Presenter
from cds_service.replay.again import decide_again
from cds_service.replay.answerable import asked_differently, same_reading
from cds_service.replay.inputs import Reading
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
from tests.replay.truth_calls import NAME, SentCall, made_up_calls

pytestmark = pytest.mark.slow

Change = Callable[[Path, Random], None]

KEY = SealingKey(1, b"r" * 32)
CALLS = proofs.examples("CDS_TRUTH_CALLS", 100, 100)
# The long form, CDS_TRUTH_CALLS=2000, takes half an hour.
SETS: dict[Change, int] = {number: 20, table: 10, value_set: 10} if CALLS > 100 else {number: 6, table: 4, value_set: 5}


class Recorded(NamedTuple):
    """What the log holds of a call."""

    call: SentCall
    body: StoredBody
    facts: Facts
    inputs: Inputs | None


def evaluated(call: SentCall, engine: Engine) -> tuple[HookRequest, Evaluation] | None:
    """The request and its evaluation from prefetch alone; None where it is refused."""
    try:
        request = decode_request(call.body, call.hook, Caller(client=call.client))
        return request, asyncio.run(evaluate_request(request, engine, call.at))
    except (CdsError, RequestRefusedError):
        return None


def record(call: SentCall, engine: Engine, *, keep_inputs: bool) -> CallRecord | None:
    """What the log would keep of a call; None where it is refused."""
    found = evaluated(call, engine)
    if found is None:
        return None
    request, done = found
    context = request.context
    hashed = Pseudonyms(bytes(32), request.caller, request.fhirServer, context.patientId, context.encounterId)
    terminology = engine.knowledge.terminology if keep_inputs else None
    received = ReceivedCall(request, "service", call.at, 1, hashed, "hash", "US", KEY, terminology)
    return call_record(
        received, done.facts, done.decisions, done.shown, done.shadows, done.held_back, done.body, chart=done.chart
    )


def recorded(call: SentCall, engine: Engine, *, keep_inputs: bool = True) -> Recorded | None:
    made = record(call, engine, keep_inputs=keep_inputs)
    if made is None:
        return None
    body = msgspec.json.decode(encode_body(made), type=StoredBody)
    sealed = [one for one in made.sealed if one.kind == "inputs"]
    content = [KEY.open_bytes(made.id, "inputs", one.content) for one in sealed]
    return Recorded(call, body, msgspec.json.decode(body.facts, type=Facts), unpack_inputs(content[0]) if content else None)


@pytest.fixture(scope="module")
def calls() -> list[SentCall]:
    """Calls with all that may be missing."""
    return made_up_calls(CALLS)


def expect_the_same(facts: Facts, cards: Cards, real: StoredBody) -> None:
    """The facts, decided again, give what the request itself got; ids may be others."""
    again = decide_again(facts, cards, real.hook_instance, "", stand_in_for(map(bytes, real.cards)))
    wanted = comparable_cards([comparable_evaluations(bytes(real.evaluations))])
    assert comparable_cards([comparable_evaluations(again.evaluations())]) == wanted
    assert comparable_cards(again.cards()) == comparable_cards(map(bytes, real.cards))


@pytest.mark.proof
def test_inputs_are_read_as_the_request_was_and_name_nobody(calls: list[SentCall]) -> None:
    base = knowledge()
    cards, engine = Cards(base, Presenter(base)), Engine(base, Presenter(base))
    reading = Reading(base.terminology, base.terminology)
    seen: Counter[str] = Counter()
    for call in calls:
        kept = recorded(call, engine)
        if kept is None or kept.inputs is None:
            seen["refused" if kept is None else "not kept"] += 1
            continue
        assert NAME[:5].lower() not in msgspec.json.encode(kept.inputs).decode().lower()
        read = reading.facts(kept.facts, kept.inputs)
        assert isinstance(read, Facts)
        expect_the_same(read, cards, kept.body)
        seen["the same"] += 1
    print(dict(seen))
    assert seen["not kept"] < 0.02 * len(calls)


@pytest.mark.proof
@pytest.mark.parametrize("change", [number, table, value_set])
def test_no_difference_is_silent(calls: list[SentCall], change: Change, tmp_path: Path) -> None:
    base = knowledge()
    before = Engine(base, Presenter(base))
    seen: Counter[str] = Counter()
    known = [recorded(call, before) for call in calls]
    for candidate in changed(tmp_path, change, SETS[change], base):
        cards = Cards(candidate, Presenter(candidate))
        engine, reading = Engine(candidate, cards.presenter), Reading(base.terminology, candidate.terminology)
        for call, kept in zip(calls, known, strict=True):
            truth = recorded(call, engine, keep_inputs=False)
            if kept is None or truth is None:
                assert kept is truth  # what is refused is refused with any cards
                seen["refused"] += 1
                continue
            moved = _outcomes(truth.body) != _outcomes(kept.body)
            facts = kept.facts if same_reading(base, candidate) else _from_inputs(kept, reading)
            why = asked_differently(base, candidate, call.hook)
            if why is not None or isinstance(facts, str):
                seen[f"unanswerable: {why or facts}"] += 1
                seen["unanswerable and another answer"] += moved
                continue
            expect_the_same(facts, cards, truth.body)
            seen["the same"] += 1
            seen["another answer"] += moved
    print(change.__name__, dict(seen))  # the figures of the long form, with `-s`
    assert seen["another answer"]


def _from_inputs(kept: Recorded, reading: Reading) -> Facts | str:
    return "no inputs" if kept.inputs is None else reading.facts(kept.facts, kept.inputs)


def _outcomes(body: StoredBody) -> list[tuple[str, str, int]]:
    rows = msgspec.json.decode(body.evaluations, type=list[dict[str, object]])
    return [(str(one["card"]), str(one["outcome"]), int(str(one.get("row", -1)))) for one in rows if one["card"] != "*"]
