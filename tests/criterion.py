"""Criteria that several tests ask, and what a finding says: (truth, cause)."""

from __future__ import annotations

from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.findings import Finding
from tests.core import NOW, Json

POTASSIUM = "LOINC#2823-3 Potassium"
LOW = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
QUININE = {"kind": "drug", "classes": ["quinine"]}
CRAMP = {"kind": "problem", "sets": ["muscle_cramp"]}
REACTION = {"kind": "allergy", "classes": ["quinine"]}

MET = ("MET", "")
UNMET = ("UNMET", "")
NOT_RECORDED = ("UNKNOWN", "not_recorded")
NOT_READABLE = ("UNKNOWN", "not_readable")
NOT_OBTAINED = ("UNKNOWN", "not_obtained")


def said(one: Finding) -> tuple[str, str]:
    return one.truth.name, one.cause


def without_name(prefetch_key: str) -> Json:
    """A request with a medication of which neither a name nor a code was sent."""
    given = ["takes: aspirin"] if prefetch_key == "statements" else ["order: aspirin"]
    request = request_from_case(given, "order-sign", NOW)
    bundle = request["context"]["draftOrders"] if prefetch_key == "orders" else request["prefetch"][prefetch_key]
    del bundle["entry"][0]["resource"]["medicationCodeableConcept"]
    return request
