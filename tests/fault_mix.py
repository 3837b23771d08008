"""Calls in which anything may be missing or broken, and all at once: data, the EHR's server, cards, the log, caps, dialects.

A `Mix` is made by one seed: the call as it is when all is well (`whole`), what is sent in its place, and what breaks meanwhile.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, NamedTuple

import httpx2
import msgspec
import yaml

from cds_service.authoring.shorthand import ShorthandError, request_from_case
from cds_service.files.paths import cards_dir
from tests.core import NOW, PATIENTS, Json, knowledge

BASE = "https://ehr.example/fhir"
DIALECTS = ("", "", "", "epic", "oracle", "sandbox")
TRUE = {"null", "empty", "stale"}  # states of a source that are the truth about the patient, with nothing missing
SLOW = "slow"


class Mix(NamedTuple):
    """One combination."""

    whole: Json  # the call with all its data
    sent: Json
    states: dict[str, str]  # what was done to each key that is not as in `whole`; "orders" among them
    unreadable: list[int]  # positions in `whole` of draft orders that are there and can't be read
    answers: dict[str, str]  # how the FHIR server answers for each key; empty where none is named
    breaks: tuple[str, str]  # (what, whom): ("criterion", id), ("judge", card), ("draw", card), ("part", name), ("", "")
    log: str  # ok, not durable, silent about what was shown before
    dialect: str
    settings: dict[str, Any]
    client_deadline_ms: int | None


@cache
def stories() -> dict[str, list[list[str]]]:
    """The lines of all cases and patients, by hook."""
    found: dict[str, list[list[str]]] = {"patient-view": [], "order-select": [], "order-sign": []}
    for hook, lines in PATIENTS.values():
        found[hook].append([line for line in lines if not line.startswith("source")])
    for path in sorted(cards_dir().glob("*/cases.yaml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8")):
            lines = [next(f"{k}: {v}" for k, v in one.items()) if isinstance(one, dict) else one for one in case["given"]]
            found[case["hook"]].append([line for line in lines if not line.startswith("source")])
    return found


def mix(seed: int, criteria: list[str], cards: list[str]) -> Mix:
    """The combination with this number."""
    chance = random.Random(seed)
    whole = _whole(chance)
    sent = copy.deepcopy(whole)
    states = _spoil_data(chance, sent)
    whole["prefetch"] |= copy.deepcopy({key: sent["prefetch"][key] for key, state in states.items() if state in TRUE})
    unreadable: list[int] = []
    if whole["hook"] != "patient-view" and chance.random() < 0.45:
        states["orders"] = chance.choice(list(_ORDERS))
        unreadable = _ORDERS[states["orders"]](chance, sent, whole)
    answers: dict[str, str] = {}
    if chance.random() < 0.55:
        sent["fhirServer"] = BASE
        sent["fhirAuthorization"] = {"access_token": "t0ken", "patient": whole["context"]["patientId"]}
        usual = chance.choice((*_ANSWERS, "whole", "whole"))
        answers = {
            key: chance.choice(_ANSWERS) if chance.random() < 0.4 else usual for key in sent["prefetch"] | whole["prefetch"]
        }
    if chance.random() < 0.01:
        sent["fhirAuthorization"] = {"access_token": "t0ken", "patient": "somebody-else"}
    settings = {
        "on_unavailable": chance.choice(("412", "card", "card")),
        "on_crash": chance.choice(("500", "card")),
        "log_required": chance.random() < 0.3,
        "max_entries": chance.choice((2000, 2000, 2000, 2000, 1, 3, 6)),
    }
    slow = SLOW in answers.values()
    return Mix(
        whole=whole,
        sent=sent,
        states=states,
        unreadable=unreadable,
        answers=answers,
        breaks=_breaks(chance, criteria, cards),
        log=chance.choice(("ok", "ok", "ok", "not durable", "silent")),
        dialect=chance.choice(DIALECTS),
        settings=settings,
        client_deadline_ms=170 if slow else None,
    )


def _whole(chance: random.Random) -> Json:
    """A call with all its data: one case, or two patients' cases in one."""
    while True:
        hook = chance.choice(("patient-view", "order-select", "order-sign", "order-sign"))
        lines = list(chance.choice(stories()[hook]))
        if chance.random() < 0.4:
            more = chance.choice(stories()[hook])
            lines += [line for line in more if not line.startswith("patient") and line not in lines]
        try:
            request = request_from_case(lines, hook, NOW)
        except ShorthandError:
            continue
        # Each call is another moment, with the same patient: what was shown before may hold a card back.
        request["hookInstance"] = f"{chance.getrandbits(32):08x}-0000-4000-8000-{chance.getrandbits(48):012x}"
        request["context"]["userId"] = "Practitioner/7"
        return request


# Prefetch


def _spoil_data(chance: random.Random, sent: Json) -> dict[str, str]:
    states: dict[str, str] = {}
    share = chance.choice((0.0, 0.15, 0.15, 0.35, 0.7, 1.0))
    usual = chance.choice(list(_STATES))
    for key in list(sent["prefetch"]):
        if chance.random() < share:
            state = usual if chance.random() < 0.3 else chance.choice(list(_STATES))
            if _STATES[state](chance, sent, key):
                states[key] = state
    return states


def _entries(sent: Json, key: str) -> list[Any]:
    value = sent["prefetch"][key]
    return value.get("entry", []) if isinstance(value, dict) and value.get("resourceType") == "Bundle" else []


def _resources(sent: Json, key: str) -> list[Json]:
    value = sent["prefetch"][key]
    return [value] if key == "patient" else [entry["resource"] for entry in _entries(sent, key)]


def _put(value: Any) -> Callable[[random.Random, Json, str], bool]:
    def put(chance: random.Random, sent: Json, key: str) -> bool:
        sent["prefetch"][key] = copy.deepcopy(value)
        return True

    return put


def _absent(chance: random.Random, sent: Json, key: str) -> bool:
    del sent["prefetch"][key]
    return True


def _garbage(chance: random.Random, sent: Json, key: str) -> bool:
    sent["prefetch"][key] = copy.deepcopy(chance.choice(_GARBAGE))
    return True


def _paged(chance: random.Random, sent: Json, key: str) -> bool:
    """A part of the entries, and a next page that may be had or not."""
    if key == "patient":
        return False
    bundle = sent["prefetch"][key] or {"resourceType": "Bundle", "type": "searchset"}
    sent["prefetch"][key] = bundle
    url = chance.choice((f"{BASE}/{_TYPES[key]}?page=2&key={key}", "https://elsewhere.example/fhir?page=2", ""))
    bundle["entry"] = bundle.get("entry", [])[: chance.randrange(len(bundle.get("entry", [])) + 1)]
    bundle["link"] = [{"relation": "next", "url": url}]
    return True


def _foreign(chance: random.Random, sent: Json, key: str) -> bool:
    found = _resources(sent, key)
    if not found:
        return False
    one = chance.choice(found)
    if one["resourceType"] == "Patient":
        one["id"] = "somebody-else"
    else:
        one["patient" if "patient" in one else "subject"] = {"reference": "Patient/somebody-else"}
    return True


def _nobodys(chance: random.Random, sent: Json, key: str) -> bool:
    found = [one for one in _resources(sent, key) if one["resourceType"] != "Patient"]
    for one in found:
        one.pop("subject", None)
        one.pop("patient", None)
    return bool(found)


def _unreadable_entries(chance: random.Random, sent: Json, key: str) -> bool:
    found = _resources(sent, key)
    for one in found:
        one["status" if key in ("labs", "statements", "prescriptions") else "code" if key != "patient" else "birthDate"] = {
            "x": [5]
        }
        if key == "allergies":
            one["code"] = 5
    return bool(found)


def _stale(chance: random.Random, sent: Json, key: str) -> bool:
    found = [one for one in _resources(sent, key) if "effectiveDateTime" in one]
    for one in found:
        one["effectiveDateTime"] = "2019-01-01"
    return bool(found) and key == "labs"


def _wrong_unit(chance: random.Random, sent: Json, key: str) -> bool:
    found = [one["valueQuantity"] for one in _resources(sent, key) if "valueQuantity" in one]
    for quantity in found:
        unit = chance.choice(("furlong", "", "mmol/kg"))
        quantity.pop("code", None)
        quantity["unit"] = unit
    return bool(found) and key == "labs"


def _implausible(chance: random.Random, sent: Json, key: str) -> bool:
    """Where the value sets say what is plausible."""
    found = [one for one in _resources(sent, key) if "valueQuantity" in one and any(map(_has_range, _codes(one)))]
    for one in found:
        one["valueQuantity"]["value"] = 99999
    return bool(found) and key == "labs"


def _has_range(code: str) -> bool:
    terms = knowledge().terminology
    lab = terms.lab(None, code)
    return lab is not None and terms.analytes[lab.analyte].plausible is not None


def _codes(resource: Json) -> set[str]:
    return {coding["code"] for coding in resource["code"].get("coding", [])}


def _unparseable(chance: random.Random, sent: Json, key: str) -> bool:
    found = [one for one in _resources(sent, key) if "valueQuantity" in one]
    for one in found:
        del one["valueQuantity"]
        one["valueString"] = "2 or 3, see comment"
    return bool(found) and key == "labs"


_GARBAGE: list[Any] = [
    *("text", 5, True, [], {}, [1], {"resourceType": "Zaphod"}, {"entry": [{}]}),
    *({"resourceType": "Bundle", "entry": bad} for bad in ("x", [None, 1, {"resource": None}])),
    {"resourceType": "Bundle", "total": 3},
]
_OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]}
_TYPES = {
    "patient": "Patient",
    "labs": "Observation",
    "statements": "MedicationStatement",
    "prescriptions": "MedicationRequest",
    "problems": "Condition",
    "allergies": "AllergyIntolerance",
}
_STATES: dict[str, Callable[[random.Random, Json, str], bool]] = {
    "null": _put(None),
    "empty": _put({"resourceType": "Bundle", "type": "searchset", "total": 0, "entry": []}),
    "absent": _absent,
    "OperationOutcome": _put(_OUTCOME),
    "paged": _paged,
    "garbage": _garbage,
    "foreign": _foreign,
    "nobody's": _nobodys,
    "unreadable entries": _unreadable_entries,
    "stale": _stale,
    "wrong unit": _wrong_unit,
    "implausible": _implausible,
    "unparseable": _unparseable,
}


# Draft orders


def _drafts(sent: Json) -> list[Any]:
    found: list[Any] = sent["context"]["draftOrders"].setdefault("entry", [])
    return found


def _one_unreadable(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    entries = _drafts(sent)
    if not entries:
        return []
    position = chance.randrange(len(entries))
    one = entries[position].get("resource")
    if not isinstance(one, dict):
        return []
    match chance.randrange(4):
        case 0:
            one["status"] = {"x": 1}
        case 1:
            entries[position] = "text"
        case 2:
            entries[position]["resource"] = None
        case _:
            one.pop("resourceType")
    return [position]


def _without_a_name(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    """Orders whose medication stands elsewhere, and isn't there."""
    found = []
    for position, entry in enumerate(_drafts(sent)):
        if "medicationCodeableConcept" in entry["resource"] and chance.random() < 0.6:
            del entry["resource"]["medicationCodeableConcept"]
            entry["resource"]["medicationReference"] = {"reference": "Medication/not-there"}
            found.append(position)
    return found


def _no_bundle(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    count = len(_drafts(sent))
    sent["context"]["draftOrders"] = chance.choice(
        (
            {"resourceType": "Bundle", "entry": "text"},
            {"resourceType": "Bundle", "entry": 5},
            {"resourceType": "Bundle", "entry": [5]},
        )
    )
    return list(range(count))


def _too_many(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    entries = _drafts(sent)
    count = len(entries)
    aspirin: Json = {"resourceType": "MedicationRequest", "status": "draft", "intent": "order"}
    aspirin |= {"medicationCodeableConcept": {"text": "aspirin 100 mg"}, "subject": {"reference": "Patient/patient-1"}}
    entries[:0] = [{"resource": {**aspirin, "id": f"more-{number}"}} for number in range(51)]
    if "selections" in sent["context"]:
        sent["context"]["selections"] += [f"MedicationRequest/more-{number}" for number in range(51)]
    return list(range(count))


def _somebody_elses(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    for entry in _drafts(sent)[:1]:
        entry["resource"]["subject"] = {"reference": "Patient/somebody-else"}
    return []


def _selected_elsewhere(chance: random.Random, sent: Json, whole: Json) -> list[int]:
    """One of the selected orders is not among the drafts."""
    entries = _drafts(sent)
    if "selections" not in sent["context"] or not entries:
        return []
    position = chance.randrange(len(entries))
    entries.pop(position)
    return [position]


_ORDERS: dict[str, Callable[[random.Random, Json, Json], list[int]]] = {
    "one unreadable": _one_unreadable,
    "without a name": _without_a_name,
    "no Bundle": _no_bundle,
    "too many": _too_many,
    "somebody else's": _somebody_elses,
    "selected elsewhere": _selected_elsewhere,
}


# What breaks


def _breaks(chance: random.Random, criteria: list[str], cards: list[str]) -> tuple[str, str]:
    if chance.random() < 0.6:
        return "", ""
    what = chance.choice(("criterion", "criterion", "judge", "draw", "draw", "part"))
    match what:
        case "criterion":
            return what, chance.choice(criteria)
        case "part":
            return what, chance.choice(
                ("read_chart", "judge", "choose", "draw", "compose", "notice", "every card", "every drawing")
            )
    return what, chance.choice(cards)


# The EHR's FHIR server

_ANSWERS = ("whole", "500", "401", "404", "429", "503", "reset", "OperationOutcome", "html", "garbage", "nothing", "circle", SLOW)


def fhir_server(mixed: Mix) -> Callable[[httpx2.Request], Awaitable[httpx2.Response]]:
    """Answers each key as the combination says."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        kind = request.url.path.removeprefix("/fhir/").partition("/")[0]
        key = next(name for name, resource_type in _TYPES.items() if resource_type == kind)
        match mixed.answers.get(key, "404"):
            case "whole":
                value = mixed.whole["prefetch"][key]
                return httpx2.Response(200, content=msgspec.json.encode(value))
            case "reset":
                raise httpx2.ReadError("reset")
            case "OperationOutcome":
                return httpx2.Response(200, json=_OUTCOME)
            case "html":
                return httpx2.Response(200, text="<html>Sign in</html>")
            case "garbage":
                return httpx2.Response(200, content=b'{"resourceType": "Bun')
            case "nothing":
                return httpx2.Response(200, content=b"")
            case "circle":
                link = [{"relation": "next", "url": str(request.url)}]
                page: Json = {"resourceType": "Bundle", "entry": [], "link": link}
                return httpx2.Response(200, json=page)
            case "slow":
                await asyncio.sleep(5)
                return httpx2.Response(500)
            case status:
                return httpx2.Response(int(status))

    return answer
