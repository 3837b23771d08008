"""Make the FHIR R4 resource of a line of case shorthand; `shorthand` adds ids and subjects.

Each function takes the first part of a line (without its keyword), the other parts, and the moment of the case. All raise
`ShorthandError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cds_service.authoring.shorthand_line import Options, Part, instant, months_before, options, when

Resource = dict[str, Any]

SYSTEMS = {
    "LOINC": "http://loinc.org",
    "ICD10": "http://hl7.org/fhir/sid/icd-10-cm",
    "SNOMED": "http://snomed.info/sct",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "ATC": "http://www.whocc.no/atc",
    "DMD": "https://dmd.nhs.uk",
}
CODE = re.compile(r"([A-Za-z][A-Za-z0-9]*)#(\S*)")
_DEFAULT_AGE = 50  # years; of a patient without a `patient:` line
_DEFAULT_RESULT_AGE = timedelta(days=3)

_NUMBER = r"-?\d+(?:\.\d+)?"
_AGE = re.compile(r"(\d{1,3}) (year|month)s?(?: old)?", re.IGNORECASE)
_AT = re.compile(r"(?P<result>.*?)(?:^|\s)at\s+(?P<date>(?:(?!\sat\s)[^\"])+|\"[^\"]*\")", re.IGNORECASE)
_QUANTITY = re.compile(
    rf"(?P<name>.*?)(?:^|\s)(?P<comparator><=|>=|<|>)?\s?(?P<value>{_NUMBER})(?:\s(?P<unit>(?!{_NUMBER}$)\S+))?"
)
_STRING = re.compile(r"(?P<name>[^\"]*?)\s*\"(?P<value>[^\"]*)\"")
_CODED = re.compile(r"(?P<name>.*?)(?:^|\s)(?P<value>SNOMED#\d+.*)", re.IGNORECASE)
_RANGE = re.compile(rf"({_NUMBER})?\s?-\s?({_NUMBER})?")

_RESULT_STATES = ("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown")
_WITHOUT_VALUE = ("registered", "cancelled", "entered-in-error", "unknown")
_REQUEST_STATES = ("active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown")
_STATEMENT_STATES = ("active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "unknown", "not-taken")
_CLINICAL = ("active", "recurrence", "relapse", "inactive", "remission", "resolved")
_VERIFICATION = ("confirmed", "provisional", "differential", "unconfirmed", "refuted", "entered-in-error")
_ALLERGY_CLINICAL = ("active", "inactive", "resolved")
_ALLERGY_VERIFICATION = ("confirmed", "presumed", "unconfirmed", "refuted", "entered-in-error")
_SEVERITIES = {"severe": "24484000", "moderate": "6736007", "mild": "255604002"}  # SNOMED CT, FHIR condition-severity
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"


def default_patient(now: datetime) -> Resource:
    """Return the patient of a case without a `patient:` line: a woman of 50."""
    return {"resourceType": "Patient", "gender": "female", "birthDate": _birth_date(now, _DEFAULT_AGE * 12)}


def patient(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make a Patient: `female, 58 years`, `male, born 1967-03-01`, `unknown age`, `deceased`.

    An age means born that many years and a month ago.
    """
    resource: Resource = {"resourceType": "Patient"}
    value: str | bool
    for part in (main, *rest):
        low = part.text.lower()
        if low in ("female", "male", "other", "unknown"):
            key, value = "gender", low
        elif age := _AGE.fullmatch(part.text):
            key, value = "birthDate", _birth_date(now, int(age[1]) * (12 if age[2].lower() == "year" else 1))
        elif low.startswith("born "):
            key, value = "birthDate", when(part.after(5), now)[:10]
        elif low == "unknown age":
            key, value = "birthDate", ""
        elif low == "deceased":
            key, value = "deceasedBoolean", True
        elif low.startswith("id "):
            key, value = "id", _id(part.after(3))
        else:
            part.fail(
                f"{part.text!r} is not known here",
                ("female", "male", "other", "unknown", "58 years", "born ...", "unknown age", "deceased", "id ..."),
            )
        if key in resource:
            part.fail(f"a second {key}")
        resource[key] = value
    return {key: value for key, value in resource.items() if value}


def result(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make an Observation: `LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28`.

    The default is final and three days old.
    """
    found = options(rest, dict.fromkeys(_RESULT_STATES, "status"), ("at", "issued", "note", "range", "id"))
    coding, text = _codes(main)
    status = found.text("status", "final")
    date = found.single("at")
    if at := _AT.fullmatch(text.text):
        if date is not None:
            date.fail("a second date")
        text, date = Part(at["result"].strip(), text.line, text.column), text.after(at.start("date"))
    resource: Resource = {"resourceType": "Observation", "status": status}
    resource["category"] = [{"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "laboratory"}]}]
    name, value = _value(text, status)
    resource["code"] = {"coding": coding, **({"text": name} if name else {})}
    resource["effectiveDateTime"] = when(date, now) if date else (now.date() - _DEFAULT_RESULT_AGE).isoformat()
    if issued := found.single("issued"):
        resource["issued"] = instant(issued, now)
    resource |= value
    if limits := found.single("range"):
        ends = _RANGE.fullmatch(limits.unquoted)
        if ends is None or not any(ends.groups()):
            limits.fail(f"{limits.text!r} is not a range", ("range 3.5-5.1", "range 3.5-", "range -5.1"))
        unit = {"unit": value["valueQuantity"]["unit"]} if "unit" in value.get("valueQuantity", {}) else {}
        sides = zip(("low", "high"), ends.groups(), strict=True)
        resource["referenceRange"] = [{side: {"value": _number(end), **unit} for side, end in sides if end}]
    return resource | _annotated(found)


def problem(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make a Condition, by default active and confirmed: `ICD10#R25.2 Cramp and spasm`, `leg cramps`."""
    words = {
        **dict.fromkeys(_CLINICAL, "clinical"),
        **dict.fromkeys(_VERIFICATION, "verification"),
        **dict.fromkeys(_SEVERITIES, "severity"),
    }
    found = options(rest, words, ("onset", "recorded", "abated", "note", "id"))
    resource: Resource = {"resourceType": "Condition"} | _statuses(found, "condition-clinical", "condition-ver-status")
    resource["code"] = _concept(main)
    if severity := found.text("severity"):
        resource["severity"] = {"coding": [{"system": SYSTEMS["SNOMED"], "code": _SEVERITIES[severity]}], "text": severity}
    for option, field in (("onset", "onsetDateTime"), ("abated", "abatementDateTime"), ("recorded", "recordedDate")):
        if date := found.single(option):
            resource[field] = when(date, now)
    return resource | _annotated(found)


def allergy(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make an AllergyIntolerance: `quinine, reaction thrombocytopenic purpura`.

    The default is active and confirmed.
    """
    words = {**dict.fromkeys(_ALLERGY_CLINICAL, "clinical"), **dict.fromkeys(_ALLERGY_VERIFICATION, "verification")}
    found = options(rest, words, ("reaction", "recorded", "note", "id"))
    systems = ("allergyintolerance-clinical", "allergyintolerance-verification")
    resource: Resource = {"resourceType": "AllergyIntolerance"} | _statuses(found, *systems) | {"code": _concept(main)}
    if reactions := found.all("reaction"):
        resource["reaction"] = [{"manifestation": [_concept(reaction)]} for reaction in reactions]
    if date := found.single("recorded"):
        resource["recordedDate"] = when(date, now)
    return resource | _annotated(found)


def statement(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make a MedicationStatement: `tonic water with quinine, 1 glass nightly`.

    A part that starts with a number is the dose.
    """
    found = options(
        rest, dict.fromkeys(_STATEMENT_STATES, "status"), ("since", "until", "for", "dose", "route", "note", "id"), "dose"
    )
    resource: Resource = {"resourceType": "MedicationStatement", "status": found.text("status", "active")}
    resource["medicationCodeableConcept"] = _concept(main)
    bounds = {end: when(date, now) for end, name in (("start", "since"), ("end", "until")) if (date := found.single(name))}
    return resource | ({"effectivePeriod": bounds} if bounds else {}) | _usage(found, "dosage")


def prescription(main: Part, rest: Sequence[Part], now: datetime) -> Resource:
    """Make a MedicationRequest, by default active: `RXNORM#313988 furosemide 40 MG Oral Tablet, since 2025-11-29`."""
    return _request(main, options(rest, dict.fromkeys(_REQUEST_STATES, "status"), _REQUEST_OPTIONS, "dose"), now, "active")


def order(main: Part, rest: Sequence[Part], now: datetime) -> tuple[Resource, bool]:
    """Make a draft MedicationRequest, or with `service:` a ServiceRequest; return also whether it is selected."""
    words = {**dict.fromkeys(_REQUEST_STATES, "status"), "not selected": "unselected"}
    if service := re.match(r"service\s*:", main.text, re.IGNORECASE):
        found = options(rest, words, ("for", "note", "id", "status"))
        code = _concept(main.after(service.end()))
        resource = {"resourceType": "ServiceRequest", "status": _draft_status(found), "intent": "order", "code": code}
        return resource | _usage(found, "") | _annotated(found), not found.all("unselected")
    found = options(rest, words, (*_REQUEST_OPTIONS, "status", "replaces"), "dose")
    resource = _request(main, found, now, _draft_status(found))
    if replaced := found.text("replaces"):
        resource["priorPrescription"] = {"reference": replaced}
    return resource, not found.all("unselected")


_REQUEST_OPTIONS = ("since", "for", "dose", "route", "note", "id")


def _draft_status(found: Options) -> str:
    part = found.single("status")
    if part is not None and part.text.lower() not in _REQUEST_STATES:
        part.fail(f"{part.text!r} is not a status", _REQUEST_STATES)
    return part.text.lower() if part is not None else "draft"


def _request(main: Part, found: Options, now: datetime, status: str) -> Resource:
    resource: Resource = {"resourceType": "MedicationRequest", "status": found.text("status", status).lower(), "intent": "order"}
    resource["medicationCodeableConcept"] = _concept(main)
    if since := found.single("since"):
        resource["authoredOn"] = when(since, now)
    return resource | _usage(found, "dosageInstruction")


def _usage(found: Options, dosage: str) -> Resource:
    """Return the members for reason, dose, route, note and id."""
    resource = _annotated(found)
    if reasons := found.all("for"):
        resource["reasonCode"] = [_concept(reason) for reason in reasons]
    route = {"route": {"text": found.text("route")}} if found.single("route") else {}
    doses: list[Resource] = [{"text": dose.unquoted} | route for dose in found.all("dose")]
    if doses or route:
        resource[dosage] = doses or [route]
    return resource


def _annotated(found: Options) -> Resource:
    resource: Resource = {"note": [{"text": note.unquoted} for note in found.all("note")]} if found.all("note") else {}
    if part := found.single("id"):
        resource["id"] = _id(part)
    return resource


def _id(part: Part) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", part.unquoted):
        part.fail(f"{part.text!r} is not an id", ("letters", "digits", "-", "."))
    return part.unquoted


def _statuses(found: Options, clinical: str, verification: str) -> Resource:
    certainty = found.text("verification", "confirmed")
    resource = {"verificationStatus": {"coding": [{"system": f"{_TERMINOLOGY}/{verification}", "code": certainty}]}}
    if certainty != "entered-in-error":  # FHIR con-5, ait-2: then there is no clinical status
        state = found.text("clinical", "active")
        resource["clinicalStatus"] = {"coding": [{"system": f"{_TERMINOLOGY}/{clinical}", "code": state}]}
    return resource


def _codes(part: Part) -> tuple[list[Resource], Part]:
    """Return the codes at the start of a part, and the text after them."""
    coding: list[Resource] = []
    while found := CODE.match(part.text):
        system = SYSTEMS.get(found[1].upper())
        if system is None:
            part.fail(f"{found[1]!r} is not a code system", [f"{name}#" for name in SYSTEMS])
        if not found[2]:
            part.fail(f"no code follows {found[0]}")
        coding.append({"system": system, "code": found[2]})
        part = part.after(found.end())
    return coding, part


def _concept(part: Part) -> Resource:
    coding, text = _codes(part)
    concept: Resource = {"coding": coding} if coding else {}
    if text.unquoted:
        concept["text"] = text.unquoted
    return concept or part.fail("a code or a name is needed", [f"{name}#" for name in SYSTEMS])


def _value(part: Part, status: str) -> tuple[str, Resource]:
    """Return the name and the value of a result.

    Values: 2.4 mmol/L, < 2.0 mmol/L, "Positive", SNOMED#77386006.
    """
    if string := _STRING.fullmatch(part.text):
        return string["name"].strip(), {"valueString": string["value"]}
    if coded := _CODED.fullmatch(part.text):
        return coded["name"].strip(), {"valueCodeableConcept": _concept(part.after(coded.start("value")))}
    if quantity := _QUANTITY.fullmatch(part.text):
        value: Resource = {"value": _number(quantity["value"])}
        value |= {key: quantity[key] for key in ("comparator", "unit") if quantity[key]}
        return quantity["name"].strip(), {"valueQuantity": value}
    if status in _WITHOUT_VALUE:
        return part.unquoted, {}
    return part.fail("there is no value here", ("2.4 mmol/L", "0.9", "< 2.0 mmol/L", '"Positive"', "SNOMED#77386006"))


def _number(text: str) -> float | int:
    return float(text) if "." in text else int(text)


def _birth_date(now: datetime, months: int) -> str:
    return months_before(now.date(), months + 1).isoformat()
