"""Legal but unusual forms of one datum: what FHIR R4, STU3 and DSTU2 permit, and what real systems make of it.

A `Form` rewrites one resource of a request in place. It never changes what the resource means to a person who reads it, so the
answer must stay the same, or say that the datum could not be used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec

Json = dict[str, Any]

LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
# Names of an analyte in the languages of FHIR national profiles; the English one is what the shorthand sends.
NAMES = {
    "potassium": ("Potassium", "Serum potassium", "Kalium", "Potassium level", "POTASSIUM", "Kaliémie", "カリウム"),
    "magnesium": ("Magnesium", "Serum magnesium", "Magnesium level", "MAGNESIUM", "Magnésium", "镁"),
}
SHORT_NAMES = {"potassium": ("K", "S-K", "P-K", "K+", "K (serum)"), "magnesium": ("Mg", "S-Mg", "Mg++")}
# Spellings of a unit that mean the same amount.
UNITS = {
    "mmol/L": ("mmol/l", "MMOL/L", "mmol/L ", "mEq/L"),
    "mg/dL": ("mg/dl", "MG/DL", "mg/dL "),
    "mEq/L": ("meq/L", "mEq/l", "MEQ/L"),
    "ms": ("msec", "MS"),
}


class Place(msgspec.Struct):
    """Where a resource stands: its list of entries (a Bundle's), its position, and the request around them."""

    request: Json
    key: str  # prefetch key or "draftOrders"
    bundle: Json
    position: int

    @property
    def resource(self) -> Json:
        found: Json = self.bundle["entry"][self.position]["resource"]
        return found

    def replace(self, resource: Json) -> None:
        self.bundle["entry"][self.position]["resource"] = resource

    def add(self, resource: Json, url: str = "") -> None:
        """Puts another resource into the same Bundle."""
        entry: Json = {"resource": resource}
        if url:
            entry["fullUrl"] = url
        self.bundle["entry"].append(entry)

    @property
    def drafts(self) -> Json:
        """The Bundle of draft orders, or this one where the hook has none."""
        found: Json = self.request["context"].get("draftOrders", self.bundle)
        return found


class Form(msgspec.Struct, frozen=True):
    name: str
    kinds: frozenset[str]  # resource types
    rewrite: Callable[[Place, Random], bool]  # False where it does not apply


def places(request: Json) -> Iterator[Place]:
    """Every resource of a request that stands in a Bundle."""
    bundles = dict(request.get("prefetch", {}))
    if "draftOrders" in request["context"]:
        bundles["draftOrders"] = request["context"]["draftOrders"]
    for key, bundle in bundles.items():
        if isinstance(bundle, dict) and bundle.get("resourceType") == "Bundle":
            for position in range(len(bundle.get("entry", []))):
                yield Place(request, key, bundle, position)


FORMS: list[Form] = []
OBSERVATION = frozenset({"Observation"})
DRUG = frozenset({"MedicationRequest", "MedicationStatement"})
CONDITION = frozenset({"Condition"})
ALLERGY = frozenset({"AllergyIntolerance"})
ANY = OBSERVATION | DRUG | CONDITION | ALLERGY


def form(name: str, kinds: frozenset[str]) -> Callable[[Callable[[Place, Random], bool | None]], None]:
    """Adds a rewriting to `FORMS`; one that returns None applies."""

    def added(rewrite: Callable[[Place, Random], bool | None]) -> None:
        FORMS.append(Form(name, kinds, lambda place, random: rewrite(place, random) is not False))

    return added


# Whose it is


def _owner(resource: Json) -> tuple[str, str]:
    """(field, id) of the patient of a resource."""
    field = "patient" if "patient" in resource else "subject"
    return field, resource[field]["reference"].removeprefix("Patient/")


@form("subject: absolute", ANY)
def _(place: Place, random: Random) -> None:
    field, patient = _owner(place.resource)
    place.resource[field] = {"reference": f"https://ehr.example/fhir/Patient/{patient}"}


@form("subject: with its version", ANY)
def _(place: Place, random: Random) -> None:
    field, patient = _owner(place.resource)
    place.resource[field] = {"reference": f"Patient/{patient}/_history/{random.randint(1, 9)}"}


@form("subject: type beside the reference", ANY)
def _(place: Place, random: Random) -> None:
    field, patient = _owner(place.resource)
    place.resource[field] = {"type": "Patient", "reference": f"Patient/{patient}", "display": "Somebody"}


@form("subject: urn of the Patient in the same Bundle", ANY)
def _(place: Place, random: Random) -> None:
    field, patient = _owner(place.resource)
    urn = f"urn:uuid:00000000-0000-4000-8000-{random.getrandbits(48):012x}"
    place.resource[field] = {"reference": urn}
    place.add({"resourceType": "Patient", "id": patient}, urn)


@form("subject: identifier", ANY)
def _(place: Place, random: Random) -> bool | None:
    patient = place.request["prefetch"].get("patient")
    if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
        return False
    identifier = {"system": "urn:oid:1.2.36.146", "value": f"mrn-{random.randint(1000, 9999)}"}
    patient["identifier"] = [*patient.get("identifier", []), identifier]
    field, _ = _owner(place.resource)
    place.resource[field] = {"identifier": identifier}
    return None


@form("subject: urn that nothing resolves", ANY)
def _(place: Place, random: Random) -> None:
    field, _ = _owner(place.resource)
    place.resource[field] = {"reference": f"urn:uuid:00000000-0000-4000-8000-{random.getrandbits(48):012x}"}


# How it is wrapped


@form("an array in place of a Bundle", ANY)
def _(place: Place, random: Random) -> bool | None:
    if place.key == "draftOrders":
        return False
    place.request["prefetch"][place.key] = [entry["resource"] for entry in place.bundle["entry"]]
    return None


@form("a Bundle in a Bundle", ANY)
def _(place: Place, random: Random) -> bool | None:
    if place.key == "draftOrders":
        place.bundle["entry"] = [{"resource": {"resourceType": "Bundle", "entry": place.bundle["entry"]}}]
        return None
    inner = {"resourceType": "Bundle", "type": "searchset", "entry": place.bundle["entry"]}
    place.request["prefetch"][place.key] = {"resourceType": "Bundle", "type": "batch-response", "entry": [{"resource": inner}]}
    return None


@form("a Bundle without a type, entries without urls", ANY)
def _(place: Place, random: Random) -> None:
    place.bundle.pop("type", None)
    for entry in place.bundle["entry"]:
        entry.pop("fullUrl", None)
        entry.pop("search", None)


@form("one object where FHIR has an array", ANY)
def _(place: Place, random: Random) -> bool:
    changed = False
    for concept in (place.resource.get(name) for name in ("code", "medicationCodeableConcept")):
        if isinstance(concept, dict) and len(concept.get("coding", [])) == 1:
            concept["coding"] = concept["coding"][0]
            changed = True
    return changed


@form("an extension and a narrative beside it", ANY)
def _(place: Place, random: Random) -> None:
    place.resource["extension"] = [{"url": "https://ehr.example/fhir/StructureDefinition/x", "valueString": "y"}]
    place.resource["text"] = {"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>z</div>"}


# Codes


def _codings(resource: Json) -> list[Json]:
    concept = resource.get("medicationCodeableConcept", resource.get("code"))
    return list(concept.get("coding", [])) if isinstance(concept, dict) and isinstance(concept.get("coding"), list) else []


@form("code system: another spelling", ANY)
def _(place: Place, random: Random) -> bool:
    spellings = {
        LOINC: ("LN", "http://loinc.org/", "urn:oid:2.16.840.1.113883.6.1", "https://loinc.org"),
        RXNORM: ("urn:oid:2.16.840.1.113883.6.88", f"{RXNORM}/"),
        "http://snomed.info/sct": ("urn:oid:2.16.840.1.113883.6.96", "http://snomed.info/sct/900000000000207008"),
        "http://hl7.org/fhir/sid/icd-10-cm": ("http://hl7.org/fhir/sid/icd-10", "urn:oid:2.16.840.1.113883.6.90"),
    }
    changed = False
    for coding in _codings(place.resource):
        if coding.get("system") in spellings:
            coding["system"] = random.choice(spellings[coding["system"]])
            changed = True
    return changed


@form("code: its system written before it", ANY)
def _(place: Place, random: Random) -> bool:
    before = {LOINC: ("LOINC:", f"{LOINC}/"), RXNORM: ("RXNORM:", f"{RXNORM}/"), "http://snomed.info/sct": ("SCT|",)}
    changed = False
    for coding in _codings(place.resource):
        if coding.get("system") in before:
            coding["code"] = random.choice(before[coding["system"]]) + str(coding["code"])
            changed = True
    return changed


@form("code: blanks around it", ANY)
def _(place: Place, random: Random) -> bool:
    codings = _codings(place.resource)
    for coding in codings:
        coding["code"] = f" {coding.get('code', '')} "
    return bool(codings)


@form("code: a concept of SNOMED CT with its term", CONDITION | ALLERGY | DRUG)
def _(place: Place, random: Random) -> bool:
    changed = False
    for coding in _codings(place.resource):
        if coding.get("system") == "http://snomed.info/sct":
            coding["code"] = f"{coding['code']} |Some term|"
            changed = True
    return changed


@form("code: a local one before it", ANY)
def _(place: Place, random: Random) -> bool:
    codings = _codings(place.resource)
    concept = place.resource.get("medicationCodeableConcept", place.resource.get("code"))
    if not codings or concept is None:
        return False
    concept["coding"] = [{"system": "urn:oid:1.2.3.4.5", "code": f"L{random.randint(100, 999)}", "userSelected": True}, *codings]
    return True


@form("code: only a local one, with the name", ANY)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.get("medicationCodeableConcept", place.resource.get("code"))
    if not isinstance(concept, dict) or not concept.get("text"):
        return False
    concept["coding"] = [{"system": "urn:oid:1.2.3.4.5", "code": f"L{random.randint(100, 999)}"}]
    return True


@form("code: one that no table knows, and no name", DRUG | CONDITION | ALLERGY)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.get("medicationCodeableConcept", place.resource.get("code"))
    if not isinstance(concept, dict):
        return False
    concept.clear()
    concept["coding"] = [{"system": "urn:oid:1.2.3.4.5", "code": f"L{random.randint(100, 999)}"}]
    return True


@form("name: only as the display of its code", ANY)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.get("medicationCodeableConcept", place.resource.get("code"))
    codings = _codings(place.resource)
    if not isinstance(concept, dict) or not concept.get("text") or not codings:
        return False
    codings[0]["display"] = concept.pop("text")
    return True


# Observations


_DENYING = {"stopped", "completed", "cancelled", "on-hold", "ended"}  # without them the datum would mean something else


def _quantity(resource: Json) -> tuple[str, str] | None:
    quantity = resource.get("valueQuantity")
    return (str(quantity["value"]), quantity["unit"]) if quantity is not None and quantity.get("unit") else None


@form("status: in other letters", ANY)
def _(place: Place, random: Random) -> bool:
    status = place.resource.get("status")
    if not isinstance(status, str):
        return False
    place.resource["status"] = random.choice((status.upper(), f" {status}", status.capitalize()))
    return True


@form("status: none", OBSERVATION | DRUG)
def _(place: Place, random: Random) -> bool:
    return place.resource.get("status") not in _DENYING and place.resource.pop("status", None) is not None


@form("status: unknown, or a word that nobody knows", OBSERVATION | DRUG)
def _(place: Place, random: Random) -> bool:
    if place.resource.get("status") in _DENYING:
        return False
    place.resource["status"] = random.choice(("unknown", "xyz"))
    return True


@form("value: text with its unit", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    value = _quantity(place.resource)
    if value is None:
        return False
    comparator = place.resource.pop("valueQuantity").get("comparator", "")
    place.resource["valueString"] = random.choice((f"{comparator}{value[0]} {value[1]}", f"{comparator} {value[0]}{value[1]}"))
    return True


@form("value: text of a concept", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    value = _quantity(place.resource)
    if value is None:
        return False
    comparator = place.resource.pop("valueQuantity").get("comparator", "")
    place.resource["valueCodeableConcept"] = {"text": f"{comparator}{value[0]} {value[1]}"}
    return True


@form("value: text without a number", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    if place.resource.pop("valueQuantity", None) is None:
        return False
    place.resource["valueString"] = random.choice(("low", "see comment", "critical"))
    return True


@form("value: a ratio or a range", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    quantity = place.resource.pop("valueQuantity", None)
    if quantity is None:
        return False
    if random.random() < 0.5:
        place.resource["valueRatio"] = {"numerator": quantity, "denominator": {"value": 1, "unit": "1"}}
    else:
        place.resource["valueRange"] = {"low": quantity, "high": quantity}
    return True


@form("value: a number as text", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    if _quantity(place.resource) is None:
        return False
    quantity = place.resource["valueQuantity"]
    quantity["value"] = str(quantity["value"])
    return True


@form("unit: another spelling", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    value = _quantity(place.resource)
    if value is None or value[1] not in UNITS:
        return False
    spelling = random.choice(UNITS[value[1]])
    if spelling == "mEq/L" and "otassium" not in str(place.resource["code"]):  # the same amount for potassium only
        return False
    place.resource["valueQuantity"]["unit"] = spelling
    return True


@form("unit: only as a code", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    if _quantity(place.resource) is None:
        return False
    quantity = place.resource["valueQuantity"]
    quantity |= {"system": "http://unitsofmeasure.org", "code": quantity.pop("unit")}
    return True


@form("unit: none", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    if _quantity(place.resource) is None:
        return False
    place.resource["valueQuantity"].pop("unit")
    return True


@form("unit: one that nobody knows", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    if _quantity(place.resource) is None:
        return False
    place.resource["valueQuantity"]["unit"] = "florins"
    return True


@form("in a component of a panel", OBSERVATION)
def _(place: Place, random: Random) -> None:
    result = place.resource
    component = {
        name: result.pop(name)
        for name in list(result)
        if name.startswith("value") or name in ("code", "interpretation", "referenceRange")
    }
    result["code"] = {"coding": [{"system": LOINC, "code": "51990-0"}], "text": "Basic metabolic panel"}
    result["component"] = [
        {"code": {"coding": [{"system": LOINC, "code": "2951-2"}]}, "valueQuantity": {"value": 139, "unit": "mmol/L"}},
        component,
    ]


@form("a member of a panel, contained in it", OBSERVATION)
def _(place: Place, random: Random) -> None:
    member = dict(place.resource)
    member["id"] = "m1"
    panel: Json = {name: member[name] for name in ("resourceType", "status", "subject") if name in member}
    panel["id"] = place.resource["id"]
    panel["code"] = {"coding": [{"system": LOINC, "code": "51990-0"}]}
    if "effectiveDateTime" in member:
        panel["effectiveDateTime"] = member.pop("effectiveDateTime")
    member.pop("subject", None)
    place.replace(panel | {"contained": [member], "hasMember": [{"reference": "#m1"}]})


@form("a member of a panel that was not sent", OBSERVATION)
def _(place: Place, random: Random) -> None:
    member = place.resource
    panel: Json = {name: member[name] for name in ("resourceType", "status", "subject", "effectiveDateTime") if name in member}
    panel |= {"id": "panel-1", "code": {"text": "Chemistry"}}
    place.replace(panel | {"hasMember": [{"reference": f"Observation/{random.randint(1000, 9999)}"}]})


@form("panels in panels", OBSERVATION)
def _(place: Place, random: Random) -> None:
    held = dict(place.resource)
    for _ in range(random.randint(4, 6)):
        held = {"resourceType": "Observation", "status": "final", "code": {"text": "Chemistry"}, "contained": [held]}
    kept = {name: place.resource[name] for name in ("id", "subject", "effectiveDateTime") if name in place.resource}
    place.replace(held | kept)


@form("contained in a report", OBSERVATION)
def _(place: Place, random: Random) -> None:
    result = dict(place.resource)
    report = {"resourceType": "DiagnosticReport", "id": "report-1", "status": "final", "subject": result.pop("subject")}
    report["code"] = {"text": "Chemistry"}
    if "effectiveDateTime" in result:
        report["effectiveDateTime"] = result["effectiveDateTime"]
    result["id"] = "r1"
    place.replace(report | {"contained": [result], "result": [{"reference": "#r1"}]})


@form("time: a period", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    at = place.resource.pop("effectiveDateTime", None)
    if at is None:
        return False
    place.resource["effectivePeriod"] = {"start": at, "end": at} if random.random() < 0.5 else {"start": at}
    return True


@form("time: only when it was issued", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    at = place.resource.pop("effectiveDateTime", None)
    if at is None:
        return False
    place.resource["issued"] = at if "T" in at else f"{at}T08:00:00Z"
    return True


@form("time: none", OBSERVATION)
def _(place: Place, random: Random) -> None:
    place.resource.pop("effectiveDateTime", None)


@form("name: in another language, a local code", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    name = str(place.resource["code"].get("text", "")).lower()
    if name not in NAMES:
        return False
    place.resource["code"] = {
        "coding": [{"system": "urn:oid:1.2.3.4.5", "code": f"L{random.randint(100, 999)}"}],
        "text": random.choice(NAMES[name]),
    }
    return True


@form("name: a short one, a local code", OBSERVATION)
def _(place: Place, random: Random) -> bool:
    name = str(place.resource["code"].get("text", "")).lower()
    if name not in SHORT_NAMES or _quantity(place.resource) is None:
        return False
    place.resource["code"] = {
        "coding": [{"system": "urn:oid:1.2.3.4.5", "code": "L77"}],
        "text": random.choice(SHORT_NAMES[name]),
    }
    return True


# Medications


@form("medication: contained", DRUG)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.pop("medicationCodeableConcept", None)
    if concept is None:
        return False
    place.resource["contained"] = [{"resourceType": "Medication", "id": "med", "code": concept}]
    place.resource["medicationReference"] = {"reference": "#med"}
    return True


@form("medication: another entry of the Bundle", DRUG)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.pop("medicationCodeableConcept", None)
    if concept is None:
        return False
    number = random.randint(1000, 9999)
    urn = f"urn:uuid:00000000-0000-4000-8000-{number:012x}"
    by_urn = random.random() < 0.5
    medication = {"resourceType": "Medication", "code": concept} | ({} if by_urn else {"id": f"med{number}"})
    place.resource["medicationReference"] = {"reference": urn if by_urn else f"Medication/med{number}"}
    place.add(medication, urn if by_urn else f"https://ehr.example/fhir/Medication/med{number}")
    return True


@form("medication: a urn in the Bundle of the draft orders", DRUG)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.get("medicationCodeableConcept")
    if concept is None or "draftOrders" not in place.request["context"]:
        return False
    urn = f"urn:uuid:00000000-0000-4000-8000-{random.getrandbits(48):012x}"
    del place.resource["medicationCodeableConcept"]
    place.resource["medicationReference"] = {"reference": urn}
    place.drafts["entry"].append({"fullUrl": urn, "resource": {"resourceType": "Medication", "code": concept}})
    return True


@form("medication: a reference that leads nowhere", DRUG)
def _(place: Place, random: Random) -> bool:
    if place.resource.pop("medicationCodeableConcept", None) is None:
        return False
    place.resource["medicationReference"] = {"reference": f"Medication/{random.randint(1000, 9999)}"}
    return True


@form("medication: a reference that leads nowhere, with its name", DRUG)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.get("medicationCodeableConcept")
    if concept is None or not concept.get("text"):
        return False
    del place.resource["medicationCodeableConcept"]
    place.resource["medicationReference"] = {"reference": f"Medication/{random.randint(1000, 9999)}", "display": concept["text"]}
    return True


@form("medication: a local product, its ingredient named", DRUG)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.pop("medicationCodeableConcept", None)
    if concept is None:
        return False
    product = {"coding": [{"system": "urn:oid:1.2.3.4.5", "code": str(random.randint(10_000, 99_999))}]}
    medication = {"resourceType": "Medication", "id": "med", "code": product, "ingredient": [{"itemCodeableConcept": concept}]}
    place.resource["contained"] = [medication]
    place.resource["medicationReference"] = {"reference": "#med"}
    return True


@form("medication: a code as a number", DRUG)
def _(place: Place, random: Random) -> bool:
    numbers = [coding for coding in _codings(place.resource) if str(coding.get("code", "")).isdigit()]
    for coding in numbers:
        coding["code"] = int(coding["code"])
    return bool(numbers)


@form("medication: a plan, and reported", frozenset({"MedicationRequest"}))
def _(place: Place, random: Random) -> bool:
    if place.key == "draftOrders":
        return False
    place.resource.update(intent="plan", reportedBoolean=True)
    return True


@form("medication: as STU3 says that it is taken", frozenset({"MedicationStatement"}))
def _(place: Place, random: Random) -> None:
    place.resource["taken"] = random.choice(("y", "unk"))


@form("reason: a Condition beside it", DRUG)
def _(place: Place, random: Random) -> bool:
    reasons = place.resource.pop("reasonCode", None)
    if not reasons:
        return False
    _, patient = _owner(place.resource)
    urn = f"urn:uuid:00000000-0000-4000-8000-{random.getrandbits(48):012x}"
    place.resource["reasonReference"] = [{"reference": urn}]
    place.add({"resourceType": "Condition", "code": reasons[0], "subject": {"reference": f"Patient/{patient}"}}, urn)
    return True


@form("reason: a Condition that is not at hand", DRUG)
def _(place: Place, random: Random) -> bool:
    # Of an order. Of what is taken only the reasons that a card asks for matter, else every such reason would be said at signing.
    if place.key != "draftOrders" or not place.resource.pop("reasonCode", None):
        return False
    place.resource["reasonReference"] = [{"reference": f"Condition/{random.randint(1000, 9999)}"}]
    return True


# Problems and allergies


@form("status: as a code, as DSTU2 and STU3 have it", CONDITION | ALLERGY)
def _(place: Place, random: Random) -> bool:
    changed = False
    for name in ("clinicalStatus", "verificationStatus"):
        concept = place.resource.get(name)
        if isinstance(concept, dict):
            place.resource[name] = concept["coding"][0]["code"]
            changed = True
    return changed


@form("status: none, or a word that nobody knows", CONDITION | ALLERGY)
def _(place: Place, random: Random) -> None:
    word = random.choice(("", "xyz"))
    for name in ("clinicalStatus", "verificationStatus"):
        place.resource.pop(name, None)
        if word and name == "clinicalStatus":
            place.resource[name] = {"coding": [{"system": "urn:x", "code": word}]}


@form("problem: its code without the dot", CONDITION)
def _(place: Place, random: Random) -> bool:
    changed = False
    for coding in _codings(place.resource):
        if "icd-10" in coding.get("system", ""):
            coding["code"] = coding["code"].replace(".", "")
            changed = True
    return changed


@form("problem: a national edition of its code", CONDITION)
def _(place: Place, random: Random) -> bool:
    changed = False
    for coding in _codings(place.resource):
        if "icd-10" in coding.get("system", ""):
            coding["system"] = random.choice(("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "http://hl7.org.au/id/icd-10-am"))
            changed = True
    return changed


@form("problem: an exclusion by a letter that is none", CONDITION)
def _(place: Place, random: Random) -> bool:
    codings = _codings(place.resource)
    for coding in codings:
        coding["extension"] = [
            {"url": "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit", "valueCoding": {"code": "G"}}
        ]
    return bool(codings)


@form("allergy: named in the reaction", ALLERGY)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.pop("code", None)
    if concept is None:
        return False
    reactions = place.resource.setdefault("reaction", [{}])
    reactions[0]["substance"] = concept
    return True


@form("allergy: as DSTU2 has it", ALLERGY)
def _(place: Place, random: Random) -> bool:
    concept = place.resource.pop("code", None)
    if concept is None:
        return False
    place.resource["substance"] = concept
    return True


def group(name: str) -> str:
    """What a form is about: two forms of the same group don't go together."""
    return name.partition(":")[0]


def rewritten(request: Json, key: str, position: int, name: str, random: Random) -> Json | None:
    """A copy of `request` with one resource in the form `name`; None where it does not apply to that resource,
    or where an earlier form has moved it."""
    changed = copy.deepcopy(request)
    place = next((one for one in places(changed) if (one.key, one.position) == (key, position)), None)
    chosen = next(one for one in FORMS if one.name == name)
    if place is None or place.resource["resourceType"] not in chosen.kinds:
        return None
    return changed if chosen.rewrite(place, random) else None
