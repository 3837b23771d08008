"""Expand the shorthand of a card's cases into a CDS Hooks request.

It lets clinicians write cases.

    patient: female, 58 years
    LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28, preliminary, note "haemolysed", range 3.5-5.1
    ICD10#R25.2 Cramp and spasm, onset 2023-01-01          problem: leg cramps, resolved
    RXNORM#313988 furosemide 40 MG Oral Tablet, since 2025-11-29
    takes: tonic water with quinine, 1 glass nightly       prescribed: SNOMED#387342009 baclofen, dose 10 mg TID
    allergy: quinine, reaction thrombocytopenic purpura
    order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, dose 324 mg nightly
    order: service: basic metabolic panel                  source labs: error

Defaults are those of an ordinary case (an engineering choice): a woman of 50, final results of three days ago, active and
confirmed problems, active medications, all orders selected, all sources complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cds_service.authoring import shorthand_resources as resources
from cds_service.authoring.shorthand_line import Part, ShorthandError, split
from cds_service.authoring.shorthand_resources import CODE, SYSTEMS, Resource
from cds_service.criteria.facts import SOURCES

__all__ = ["HOOKS", "Line", "ShorthandError", "request_from_case"]

Line = str | Mapping[str, object]  # YAML reads `patient: female` as a mapping of one key; it is read as text again

HOOKS = ("patient-view", "order-select", "order-sign")
BASE = "https://ehr.example/fhir"  # in fullUrls and next links only: the request names no FHIR server
STATES = ("error", "absent", "null", "partial", "empty")

_Builder = Callable[[Part, Sequence[Part], datetime], Resource]
# the keyword or code system that begins a line → prefetch key, and what makes the resource
_KINDS: dict[str, tuple[str, _Builder]] = {
    "loinc": ("labs", resources.result),
    "icd10": ("problems", resources.problem),
    "snomed": ("problems", resources.problem),
    "problem": ("problems", resources.problem),
    "allergy": ("allergies", resources.allergy),
    "takes": ("statements", resources.statement),
    "prescribed": ("prescriptions", resources.prescription),
    "rxnorm": ("prescriptions", resources.prescription),
    "atc": ("prescriptions", resources.prescription),
    "dmd": ("prescriptions", resources.prescription),
}
_KEYWORD = re.compile(r"(patient|problem|allergy|takes|prescribed|order|source\s+\w+)\s*:", re.IGNORECASE)
_LINES = ("patient:", "problem:", "allergy:", "takes:", "prescribed:", "order:", "source ...:", *(f"{s}#..." for s in SYSTEMS))


def request_from_case(
    given: Sequence[Line], hook: str, now: datetime, patient: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the request that the lines of a case stand for, ready for `json.dumps`.

    `now` is timezone-aware. `patient` holds further members of the Patient, at least an `id`; the ids of all other resources
    then begin with it, so that one server can hold several patients. The same lines give the same request. Raises
    `ShorthandError` (line and character) for a line that cannot be expanded.
    """
    if hook not in HOOKS:
        raise ShorthandError(1, 1, f"{hook!r} is not a hook of this service", HOOKS)
    lines = [_text(line, number) for number, line in enumerate(given, 1)]
    case = _Case(hook, now, patient or {})
    for number, line in enumerate(lines, 1):
        case.read(line, number)
    about = [patient["id"]] if patient else []
    return case.request(str(uuid5(NAMESPACE_URL, "\n".join((BASE, hook, now.isoformat(), *about, *lines)))))


def _text(line: Line, number: int) -> str:
    if isinstance(line, str):
        return line.strip()
    if len(line) != 1:
        raise ShorthandError(number, 1, "a line holds one item", _LINES)
    key, value = next(iter(line.items()))
    return f"{key}: {'null' if value is None else value}".strip()


class _Case:
    def __init__(self, hook: str, now: datetime, patient: Mapping[str, Any]) -> None:
        self.hook = hook
        self.now = now
        self.patient = patient
        self.found: dict[str, list[Resource]] = {name: [] for name in SOURCES}
        self.orders: list[tuple[Resource, bool]] = []
        self.states: dict[str, Part] = {}
        self.taken: set[str] = set()  # references that lines have given an id

    def read(self, text: str, number: int) -> None:
        """Add the resource or state of one line."""
        first, *rest = split(text, number)
        keyword = _KEYWORD.match(first.text)
        begin = keyword or CODE.match(first.text)
        kind = begin[1].lower().split()[0] if begin else ""
        main = first.after(keyword.end()) if keyword else first
        if not main.text:
            main.fail(f"nothing follows {kind}:")
        if keyword and kind == "source":
            self._source(Part(keyword[1].split()[1].lower(), number, keyword.end(1) - len(keyword[1].split()[1]) + 1), main, rest)
        elif keyword and kind == "patient":
            if self.found["patient"]:
                first.fail("a second patient")
            self.found["patient"].append(resources.patient(main, rest, self.now))
        elif keyword and kind == "order":
            if self.hook == "patient-view":
                first.fail("patient-view has no orders", HOOKS[1:])
            self.orders.append(resources.order(main, rest, self.now))
            self._claim(self.orders[-1][0], first)
        elif kind in _KINDS:
            source, build = _KINDS[kind]
            self.found[source].append(build(main, rest, self.now))
            self._claim(self.found[source][-1], first)
        else:
            first.fail(f"{first.text.split()[0]!r} cannot begin a line", _LINES)

    def _claim(self, resource: Resource, first: Part) -> None:
        if "id" in resource:
            if _reference(resource) in self.taken:
                first.fail(f"a second {_reference(resource)}")
            self.taken.add(_reference(resource))

    def _source(self, source: Part, main: Part, rest: Sequence[Part]) -> None:
        name = source.text
        if name not in SOURCES:
            source.fail(f"{name!r} is not a source", SOURCES)
        states = STATES[:3] if name == "patient" else STATES
        if main.text.lower() not in states or rest:
            (rest[0] if rest else main).fail(f"{(rest[0] if rest else main).text!r} is not a state of a source", states)
        if name in self.states:
            main.fail(f"a second state of {name}")
        self.states[name] = main

    def request(self, instance: str) -> dict[str, Any]:
        """Return the request, complete with ids and subjects."""
        for name, state in self.states.items():
            if self.found[name] and state.text.lower() != "partial":
                state.fail(f"other lines already give what {name} holds", ("partial",))
        patient = self.found["patient"][0] if self.found["patient"] else resources.default_patient(self.now)
        patient |= self.patient
        patient_id = patient.setdefault("id", "patient-1")
        orders = [order for order, _ in self.orders]
        found = [*(one for name, some in self.found.items() if name != "patient" for one in some), *orders]
        _assign_ids(found, patient_id, self.taken, f"{patient_id}-" if self.patient else "")
        prefetch = {name: self._prefetch_value(name, patient) for name in SOURCES if self._state(name) != "absent"}
        context: dict[str, Any] = {"userId": "Practitioner/practitioner-1", "patientId": patient_id}
        if self.hook == "order-select":
            context["selections"] = [_reference(order) for order, selected in self.orders if selected]
        if self.hook != "patient-view":
            context["draftOrders"] = {"resourceType": "Bundle", "type": "collection"}
            if orders:
                context["draftOrders"]["entry"] = [
                    {"fullUrl": f"{BASE}/{_reference(order)}", "resource": order} for order in orders
                ]
        return {"hookInstance": instance, "hook": self.hook, "context": context, "prefetch": prefetch}

    def _state(self, name: str) -> str:
        return self.states[name].text.lower() if name in self.states else ""

    def _prefetch_value(self, name: str, patient: Resource) -> Resource | None:
        """Return the value of one prefetch key."""
        state = self._state(name)
        if state == "error":
            return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
        found = self.found[name]
        if state == "null" or (not state and not found and name != "patient"):
            return None
        if name == "patient":
            return patient
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found) + (state == "partial")}
        if state == "partial":
            bundle["link"] = [{"relation": "next", "url": f"{BASE}/{SOURCES[name]}?page=2"}]
        if found:
            bundle["entry"] = [{"fullUrl": f"{BASE}/{_reference(r)}", "resource": r, "search": {"mode": "match"}} for r in found]
        return bundle


def _assign_ids(found: Sequence[Resource], patient_id: str, taken: set[str], prefix: str) -> None:
    """Give every resource its subject, and an id with `prefix` where it has none.

    `taken` are the references in use.
    """
    for resource in found:
        kind = resource["resourceType"]
        if "id" not in resource:
            numbers = range(1, len(found) + len(taken) + 2)
            resource["id"] = next(name for n in numbers if f"{kind}/{(name := f'{prefix}{kind.lower()}-{n}')}" not in taken)
            taken.add(_reference(resource))
        resource["patient" if kind == "AllergyIntolerance" else "subject"] = {"reference": f"Patient/{patient_id}"}


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"
