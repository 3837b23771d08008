"""Make records of a mix of generated calls, as a hospital's log holds them: each of another patient, most of them silent.

Seven tenths are calls of the cards' cases, some of two patients' cases in one, a quarter of them with data missing or broken. The
rest are the benchmark's charts of three sizes with values drawn anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import msgspec

from cds_service.alert_log.call_record import ReceivedCall, call_record
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import CallRecord
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.wire.errors import CdsError
from cds_service.wire.hook_request import decode_request
from cds_service.wire.refusal import RequestRefusedError
from tests.bench import generate, resources
from tests.core import NOW, knowledge, presenter
from tests.fault_mix import mix

_SECRET = bytes(32)
_SIZES = (("S", 4), ("M", 5), ("L", 1))


Evaluated = tuple[ReceivedCall, Evaluation]


def records(count: int, first_seed: int) -> Iterator[CallRecord]:
    """Return that many records, a second apart. Equal arguments give equal records but for their ids and times."""
    return (record_of(one) for one in evaluated(count, first_seed))


def evaluated(count: int, first_seed: int) -> Iterator[Evaluated]:
    """Return that many evaluated calls; those that are refused are left out."""
    known = knowledge()
    engine = Engine(known, presenter(known))
    seed, made = first_seed, 0
    while made < count:
        seed += 1
        one = asyncio.run(_evaluated(seed, engine))
        if one is not None:
            made += 1
            yield one


def record_of(one: Evaluated) -> CallRecord:
    """Return the record, made as `respond` makes it."""
    received, found = one
    cards = (found.shown, found.shadows, found.held_back)
    return call_record(received, found.facts, found.decisions, *cards, found.body, chart=found.chart)


async def _evaluated(seed: int, engine: Engine) -> Evaluated | None:
    """Evaluate one call; None where it is refused."""
    body = body_of(seed)
    now = NOW + timedelta(seconds=seed)
    hook = msgspec.json.decode(body)["hook"]
    try:
        call = decode_request(body, hook)
        evaluation = await evaluate_request(call, engine, now)
    except (CdsError, RequestRefusedError):
        return None
    context = call.context
    hashed = Pseudonyms(_SECRET, call.caller, call.fhirServer, context.patientId, context.encounterId)
    service = next(one.id for one in engine.knowledge.services if one.hook == hook)
    return ReceivedCall(call, service, now, len(body), hashed, engine.knowledge.hash, "US"), evaluation


def body_of(seed: int) -> bytes:
    """Return the request with this seed."""
    chance = Random(seed)
    patient = f"p-{chance.getrandbits(40)}".encode()
    if chance.random() < 0.3:
        size = chance.choices([name for name, _ in _SIZES], [weight for _, weight in _SIZES])[0]
        case = chance.choice(["silent", "silent", "silent", "firing"])
        hook: generate.Hook = chance.choice(["order-sign", "patient-view"])
        body = generate.request(generate.SIZES[size], hook, NOW, case, seed)
        return body.replace(resources.PATIENT_ID.encode(), patient)
    one = mix(seed, ["unused"], ["unused"])
    sent = one.sent if chance.random() < 0.25 else one.whole
    sent = {name: value for name, value in sent.items() if name not in ("fhirServer", "fhirAuthorization")}
    sent["context"] = sent["context"] | {
        "userId": f"Practitioner/{chance.randrange(300)}",
        "encounterId": f"e-{chance.getrandbits(40)}",
    }
    return msgspec.json.encode(sent).replace(b"patient-1", patient)
