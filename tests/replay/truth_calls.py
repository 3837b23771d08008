"""Calls with all that may be missing, broken or written in words, to see whether a replay says what a request would have got."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import msgspec

from cds_service.demo.calls import generate
from cds_service.demo.schedule import Period
from tests.bench.log_mix import body_of
from tests.core import NOW, knowledge

END = datetime(2026, 3, 6, 18, tzinfo=UTC)
NAME = "Kanarienvogel"  # of a person: what is kept must not hold it
_DRUGS = ("MedicationRequest", "MedicationStatement")
_ON_RESULTS = ("haemolysed, told Dr {}", "not haemolysed", "slightly hemolyzed; {} will call", "{} took the sample")
_ON_DRUGS = (
    "leg cramps at night, asked by {}",
    "no cramps; for malaria",
    "had malaria in 1998",
    "spasticity in multiple sclerosis ({})",
    "for {}'s insomnia",
)
_SIGS = (
    "take 1 tablet three times a day for {}",
    "{}: one half of a tablet at bedtime as needed for leg cramps",
    "10 mg TID then 20 mg at night, ask {}",
    "via pump, {}",
    "inhale 2 puffs when required for {}'s wheeze",
    "maximal 30 mg daily as {} said",
    "2 tablets every 4-6 hours if needed",
)
_VALUES = (
    *("{}", "3,1", "< 3.0 mmol/L", "2.2 mmol/L [3.5 - 5.1]", "1.200"),
    *("not performed", "haemolysed, {}", "see note of {}: 2.9"),
)


class SentCall(NamedTuple):
    """One call as it came."""

    at: datetime
    hook: str
    client: str
    body: bytes


def made_up_calls(count: int) -> list[SentCall]:
    """Return calls: half of a made-up month, half of mixtures of faults; words are added to a third."""
    made = generate(Period.of_days(30, END), count / 15, 1, knowledge())
    drawn = [SentCall(one.at, one.hook, one.client.name, one.body) for one in made if len(one.body) < 1_000_000]
    calls = Random(1).sample(drawn, min(count // 2, len(drawn)))
    for seed in range(count - len(calls)):
        body = body_of(seed)
        hook = msgspec.json.decode(body)["hook"]
        calls.append(SentCall(NOW + timedelta(seconds=seed), hook, "", body))
    return [one if place % 3 else one._replace(body=with_words(one.body, Random(place))) for place, one in enumerate(calls)]


def with_words(body: bytes, chance: Random) -> bytes:
    """Return the body with notes, dosages and values in words, and a date of birth that matters."""
    try:
        call = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body
    for resource in _resources(call):
        _add_words(resource, chance)
    return msgspec.json.encode(call)


def _add_words(resource: dict[str, Any], chance: Random) -> None:
    kind = resource.get("resourceType")
    if kind == "Observation":
        if chance.random() < 0.3:
            resource["note"] = [{"text": chance.choice(_ON_RESULTS).format(NAME)}]
        if chance.random() < 0.15:
            resource["interpretation"] = [{"text": f"critical, {NAME} was told"}]
        if chance.random() < 0.15:
            resource.pop("valueQuantity", None)
            resource["valueString"] = chance.choice(_VALUES).format(NAME)
    elif kind in _DRUGS:
        if chance.random() < 0.3:
            resource["note"] = [{"text": chance.choice(_ON_DRUGS).format(NAME)}]
        if chance.random() < 0.4:
            sig: dict[str, Any] = {"text": chance.choice(_SIGS).format(NAME)}
            if chance.random() < 0.3:
                sig["patientInstruction"] = f"{NAME} must not drive"
            resource["dosageInstruction" if kind == "MedicationRequest" else "dosage"] = [sig]
    elif kind == "Patient" and chance.random() < 0.5:
        resource |= {"birthDate": f"{chance.randrange(1930, 2010)}-{chance.randrange(1, 13):02}-15", "name": [{"text": NAME}]}


def _resources(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for one in value for found in _resources(one)]
    if not isinstance(value, dict):
        return []
    own = [value] if isinstance(value.get("resourceType"), str) else []
    return own + [found for one in value.values() for found in _resources(one)]
