"""Put into made-up data what is wrong with real data: codes of the hospital's own, odd units, words for numbers."""

from __future__ import annotations

from random import Random
from typing import Any

from cds_service.demo.clients import Client, Quality

Json = dict[str, Any]

_ODD_UNITS = ("mEq/dL", "mval/l", "mg%")
_WORDS = ("haemolysed", "see comment", "insufficient material")
_FAILED: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}


def spoil(prefetch: Json, client: Client, random: Random) -> None:
    """Change the prefetch of a call in place, as often as `client.quality` says."""
    quality = client.quality
    for name, value in list(prefetch.items()):
        if name == "patient":
            continue
        if random.random() < quality.failed_source:
            prefetch[name] = _FAILED
        elif random.random() < quality.unsent_source:
            del prefetch[name]
        else:
            for entry in (value or {}).get("entry", ()):
                _spoil_resource(entry["resource"], client.name, quality, random)


def _spoil_resource(resource: Json, client: str, quality: Quality, random: Random) -> None:
    if resource["resourceType"] == "Observation":
        _spoil_result(resource, client, quality, random)
    elif "medicationCodeableConcept" in resource and random.random() < quality.local_code:
        concept = resource["medicationCodeableConcept"]
        concept["coding"] = [_own_code(client, "drugs", f"ITEM-{random.randint(100, 140)}")]


def _spoil_result(result: Json, client: str, quality: Quality, random: Random) -> None:
    if random.random() < quality.local_code:
        result["code"]["coding"] = [_own_code(client, "laboratory", f"LAB-{random.randint(10, 24)}")]
    if random.random() < quality.undated:
        result.pop("effectiveDateTime", None)
    if "valueQuantity" not in result:
        return
    if random.random() < quality.unreadable:
        del result["valueQuantity"]
        result["valueString"] = random.choice(_WORDS)
    elif random.random() < quality.odd_unit:
        result["valueQuantity"]["unit"] = random.choice(_ODD_UNITS)


def _own_code(client: str, table: str, code: str) -> Json:
    return {"system": f"https://{client}.example/{table}", "code": code}
