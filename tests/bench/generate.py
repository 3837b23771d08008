"""Hook requests of four sizes for the benchmark, as an EHR with full prefetch sends them.

The newest potassium, three days before `now`, and the draft order of order-sign say how many cards fire (`CASES`); magnesium,
eGFR and allergies are unremarkable. The rest is history.

    python -m tests.bench.generate --size M --hook order-sign --case silent > request.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Literal, NamedTuple, TypeVar

import msgspec

from cds_service.clock import utc_now
from tests.bench import resources
from tests.bench.resources import Json

Kind = TypeVar("Kind")
Hook = Literal["order-sign", "patient-view"]
SEED = 20240229


class Case(NamedTuple):
    """What is clinically new in a request, and how many cards the shipped content shows for it at order-sign."""

    potassium: resources.Analyte
    draft: resources.Draft
    cards: int


CASES: dict[str, Case] = {
    "firing": Case(resources.LOW_POTASSIUM, resources.QUININE, 2),  # critical: the log is not asked what was shown before
    "repeatable": Case(resources.LOWISH_POTASSIUM, resources.QUININE, 2),  # warnings: the log is asked
    "silent": Case(resources.NORMAL_POTASSIUM, resources.AMOXICILLIN, 0),  # as most calls are
}


class Size(NamedTuple):
    """How much history a request carries, and about how many bytes that makes."""

    bytes: int
    labs: int
    statements: int
    prescriptions: int
    problems: int
    allergies: int


SIZES: dict[str, Size] = {
    "S": Size(10_000, labs=0, statements=1, prescriptions=0, problems=0, allergies=0),
    "M": Size(110_000, labs=37, statements=8, prescriptions=13, problems=9, allergies=2),
    "L": Size(1_100_000, labs=390, statements=95, prescriptions=155, problems=117, allergies=4),
    "XL": Size(11_000_000, labs=3_930, statements=980, prescriptions=1_570, problems=1_180, allergies=4),
}


def request(size: Size, hook: Hook, now: datetime, case: str = "firing", seed: int = SEED) -> bytes:
    """Make a request body. Equal arguments give equal bytes; `hookInstance` is the same in all and is the caller's to replace.

    `now` is timezone-aware: every date in the request is relative to it. `case` is one of `CASES`.
    """
    return encoded(_request(size, hook, now, CASES[case], seed))


def encoded(body: Json) -> bytes:
    return msgspec.json.Encoder(decimal_format="number").encode(body)


def without_prefetch(body: bytes, fhir_server: str) -> bytes:
    """Return the request as an EHR sends it that leaves the data to be fetched from `fhir_server`."""
    sent: Json = json.loads(body, parse_float=Decimal)
    return encoded({name: value for name, value in sent.items() if name != "prefetch"} | {"fhirServer": fhir_server})


def _request(size: Size, hook: Hook, now: datetime, case: Case, seed: int) -> Json:
    random = Random(seed)
    past = _moments(now)
    labs = [
        resources.laboratory_result(random, case.potassium, now - timedelta(days=3)),
        resources.laboratory_result(random, resources.NORMAL_MAGNESIUM, now - timedelta(days=3)),
        resources.laboratory_result(random, resources.GOOD_EGFR, now - timedelta(days=20)),
        *(resources.laboratory_result(random, kind, next(past)) for kind in _cycle(resources.LABS, size.labs)),
    ]
    prefetch = {
        "patient": resources.patient(now),
        "labs": _searchset("Observation", labs),
        "statements": _searchset(
            "MedicationStatement",
            [resources.statement(random, kind, next(past)) for kind in _cycle(resources.DRUGS, size.statements)],
        ),
        "prescriptions": _searchset(
            "MedicationRequest",
            [resources.prescription(random, kind, next(past)) for kind in _cycle(resources.DRUGS, size.prescriptions)],
        ),
        "problems": _searchset(
            "Condition", [resources.problem(random, kind, next(past)) for kind in _cycle(resources.PROBLEMS, size.problems)]
        ),
        "allergies": _searchset(
            "AllergyIntolerance",
            [resources.allergy(random, kind, next(past)) for kind in _cycle(resources.ALLERGENS, size.allergies)],
        ),
    }
    context: Json = {
        "userId": f"Practitioner/{resources.identifier(random)}",
        "patientId": resources.PATIENT_ID,
        "encounterId": resources.identifier(random),
    }
    if hook == "order-sign":
        draft = resources.draft_order(random, case.draft, now)
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]}
    return {
        "hook": hook,
        "hookInstance": resources.identifier(random),
        "fhirServer": resources.SERVER,
        "fhirAuthorization": {
            "access_token": "benchmark",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "patient/Patient.read patient/Observation.read",
            "subject": "cds-service",
        },
        "context": context,
        "prefetch": prefetch,
    }


def _moments(now: datetime) -> Iterator[datetime]:
    """Instants of the history: the first 40 days ago, each two hours and seven minutes before the one before."""
    when = now - timedelta(days=40)
    while True:
        yield when
        when -= timedelta(hours=2, minutes=7)


def _cycle(kinds: Sequence[Kind], count: int) -> Iterable[Kind]:
    return (kinds[index % len(kinds)] for index in range(count))


def _searchset(resource_type: str, found: list[Json]) -> Json:
    """The Bundle of a search that found everything on one page."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{resources.SERVER}/{resource_type}?patient={resources.PATIENT_ID}"}],
        "entry": [
            {
                "fullUrl": f"{resources.SERVER}/{resource_type}/{resource['id']}",
                "resource": resource,
                "search": {"mode": "match"},
            }
            for resource in found
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write one benchmark request to standard output.")
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--hook", choices=("order-sign", "patient-view"), default="order-sign")
    parser.add_argument("--case", choices=CASES, default="firing")
    parser.add_argument("--now", type=datetime.fromisoformat, default=utc_now(), help="ISO 8601 with offset")
    arguments = parser.parse_args()
    sys.stdout.buffer.write(request(SIZES[arguments.size], arguments.hook, arguments.now, arguments.case))


if __name__ == "__main__":
    main()
