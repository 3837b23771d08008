"""Anchor: a good FastAPI service for `order-sign` with two rules, written by hand in the field's usual libraries.

FHIR models check the patient and the draft orders, Pydantic models the request and the cards; each answer and what it was decided
from is one durable row. The rules, for the benchmark only: the newest potassium is below the lower end of its own reference
range; quinine is ordered for cramps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import FastAPI, HTTPException
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.patient import Patient
from pydantic import ValidationError

from tests.bench.anchors.durable_rows import open_rows
from tests.bench.anchors.good_models import Action, Answer, Card, Coding, Link, OrderSign, Source, Suggestion

LOINC = "http://loinc.org"
POTASSIUM = "2823-3"
WHY = "Muscle cramps have many causes, and this one can be acted on. Please compare with what the patient says and takes. " * 3
SOURCE = Source(
    label="Benchmark",
    url="https://example.org/benchmark",
    topic=Coding(system="https://example.org/topics", code="benchmark", display="Benchmark"),
)
REASONS = [
    Coding(system="https://example.org/reasons", code="known", display="Known already"),
    Coding(system="https://example.org/reasons", code="benefit", display="Benefit outweighs risk"),
]
LINKS = [Link(label="Evidence", url="https://example.org/evidence")]


class Potassium(NamedTuple):
    """The newest result: value and unit as sent, when it was taken, lower end of its reference range."""

    value: float
    unit: str
    taken: datetime
    low: float


def newest_potassium(labs: dict[str, Any]) -> Potassium | None:
    """Find the newest final potassium that has a value and a reference range."""
    found = []
    for entry in labs.get("entry", ()):
        one = entry["resource"]
        if one["resourceType"] != "Observation" or one["status"] not in ("final", "amended", "corrected"):
            continue
        if not any(coding["system"] == LOINC and coding["code"] == POTASSIUM for coding in one["code"].get("coding", ())):
            continue
        value, ranges = one.get("valueQuantity"), one.get("referenceRange")
        if value and ranges and "low" in ranges[0]:
            taken = datetime.fromisoformat(one["effectiveDateTime"])
            found.append(Potassium(value["value"], value["unit"], taken, ranges[0]["low"]["value"]))
    return max(found, key=lambda one: one.taken, default=None)


def quinine_for_cramps(order: MedicationRequest) -> bool:
    """Tell whether the order is quinine and its reason speaks of cramps."""
    drug = order.medicationCodeableConcept
    names = [drug.text or "", *(coding.display or "" for coding in drug.coding or ())] if drug else []
    reasons = [reason.text or "" for reason in order.reasonCode or ()]
    return any("quinine" in name.lower() for name in names) and any("cramp" in reason.lower() for reason in reasons)


def cards(request: OrderSign, patient: Patient, orders: list[MedicationRequest], potassium: Potassium | None) -> Iterator[Card]:
    """Decide both rules and write their cards."""
    who = f"{patient.gender}, born {patient.birthDate:%Y-%m-%d}" if isinstance(patient.birthDate, date) else str(patient.gender)
    for order in orders:
        if quinine_for_cramps(order):
            reference = f"MedicationRequest/{order.id}"
            remove = Action(type="delete", description="Remove the order of quinine", resourceId=reference)
            yield Card(
                uuid=own_uuid(request, reference),
                summary="Quinine is ordered for cramps",
                detail=f"{who}. {WHY}",
                indicator="warning",
                source=SOURCE,
                suggestions=[
                    Suggestion(label="Remove the order", uuid=own_uuid(request, f"{reference}/remove"), actions=[remove])
                ],
                selectionBehavior="any",
                overrideReasons=REASONS,
                links=LINKS,
            )
    if potassium is not None and potassium.value < potassium.low:
        yield Card(
            uuid=own_uuid(request, "potassium"),
            summary=f"Potassium is low: {potassium.value} {potassium.unit}",
            detail=f"{who}. Taken {potassium.taken:%Y-%m-%d %H:%M}, lower end of the reference range {potassium.low}. {WHY}",
            indicator="warning",
            source=SOURCE,
            overrideReasons=REASONS,
            links=LINKS,
        )


def own_uuid(request: OrderSign, what: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"{request.hookInstance}/{what}")


def evidence(request: OrderSign, orders: list[MedicationRequest], potassium: Potassium | None, answer: Answer) -> str:
    """Write what the row holds: whose call, what it was decided from, what was answered. The patient's id is hashed."""
    return json.dumps(
        {
            "hook": request.hook,
            "patient": hashlib.sha256(request.context.patientId.encode()).hexdigest(),
            "orders": [order.id for order in orders],
            "potassium": potassium and {"value": potassium.value, "unit": potassium.unit, "taken": potassium.taken.isoformat()},
            "answer": answer.model_dump(mode="json", exclude_none=True),
        }
    )


def application() -> FastAPI:
    app = FastAPI()
    rows = open_rows()

    @app.post("/cds-services/{service_id}", response_model_exclude_none=True)
    async def respond(service_id: str, request: OrderSign) -> Answer:
        try:
            patient = Patient.model_validate(request.prefetch.patient)
            orders = [
                MedicationRequest.model_validate(entry["resource"])
                for entry in request.context.draftOrders.get("entry", ())
                if entry["resource"]["resourceType"] == "MedicationRequest"
            ]
            potassium = newest_potassium(request.prefetch.labs)
        except (ValidationError, KeyError) as error:
            raise HTTPException(422, "a resource cannot be read") from error
        answer = Answer(cards=list(cards(request, patient, orders, potassium)))
        await rows.append(str(request.hookInstance), evidence(request, orders, potassium, answer))
        return answer

    return app
