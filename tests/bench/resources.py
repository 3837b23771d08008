"""FHIR R4 resources of one made-up patient, shaped as US Core servers and Synthea write them. Every function is deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

Json = dict[str, Any]

SERVER = "https://ehr.example.org/fhir/R4"
PATIENT_ID = "8f2c1a60-5d0e-4b53-9d6f-3a1be0c7d942"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"

# LOINC code, display, unit, usual value, spread, decimals, lower and upper end of the reference range.
Analyte = tuple[str, str, str, str, str, str, str]
LABS: Sequence[Analyte] = (
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", "98", "0.01", "70", "99"),
    ("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", "14.2", "0.1", "7", "20"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "0.81", "0.01", "0.50", "1.10"),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", "139.6", "0.1", "136", "145"),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", "4.21", "0.01", "3.5", "5.1"),
    ("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", "103.2", "0.1", "98", "107"),
    ("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", "25.30", "0.01", "22", "29"),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", "9.40", "0.01", "8.6", "10.3"),
    ("2885-2", "Protein [Mass/volume] in Serum or Plasma", "g/dL", "7.10", "0.01", "6.0", "8.3"),
    ("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", "4.30", "0.01", "3.5", "5.0"),
    ("1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", "0.60", "0.01", "0.1", "1.2"),
    ("6768-6", "Alkaline phosphatase [Enzymatic activity/volume] in Serum or Plasma", "U/L", "71", "1", "44", "147"),
    ("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "U/L", "24", "1", "7", "56"),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "13.60", "0.01", "12.0", "15.5"),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", "6.30", "0.01", "4.5", "11.0"),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", "248", "1", "150", "450"),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", "6.30", "0.01", "4.0", "5.6"),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", "184", "1", "125", "200"),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", "132", "1", "0", "150"),
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", "2.140", "0.001", "0.4", "4.0"),
)
POTASSIUM = ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L")
LOW_POTASSIUM: Analyte = (*POTASSIUM, "2.8", "0", "3.5", "5.1")
LOWISH_POTASSIUM: Analyte = (*POTASSIUM, "3.2", "0", "3.5", "5.1")
NORMAL_POTASSIUM: Analyte = (*POTASSIUM, "4.2", "0", "3.5", "5.1")
NORMAL_MAGNESIUM: Analyte = ("19123-9", "Magnesium [Mass/volume] in Serum or Plasma", "mg/dL", "2.10", "0", "1.7", "2.4")
GOOD_EGFR: Analyte = ("98979-8", "GFR/BSA pred CKD-EPI 2021", "mL/min/{1.73_m2}", "85", "0", "60", "120")

DRUGS: Sequence[tuple[str, str]] = (
    ("860975", "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ("197361", "Amlodipine 5 MG Oral Tablet"),
    ("313782", "Acetaminophen 325 MG Oral Tablet"),
    ("308192", "Amoxicillin 500 MG Oral Tablet"),
    ("1014676", "Cetirizine hydrochloride 5 MG Oral Tablet"),
    ("895994", "120 ACTUAT Fluticasone propionate 0.044 MG/ACTUAT Metered Dose Inhaler"),
    ("106258", "Hydrocortisone 10 MG/ML Topical Cream"),
    ("562251", "Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet"),
)


class Draft(NamedTuple):
    """What is ordered, as RxNorm code and name, and why."""

    drug: tuple[str, str]
    reason: str


QUININE = Draft(("997010", "quinine sulfate 324 MG Oral Capsule"), "for leg cramps")
AMOXICILLIN = Draft(("308192", "Amoxicillin 500 MG Oral Tablet"), "for sinusitis")
PROBLEMS: Sequence[tuple[str, str, str]] = (
    ("44054006", "Diabetes mellitus type 2", "E11.9"),
    ("59621000", "Essential hypertension", "I10"),
    ("195662009", "Acute viral pharyngitis", "J02.9"),
    ("444814009", "Viral sinusitis", "J32.9"),
    ("10509002", "Acute bronchitis", "J20.9"),
    ("239873007", "Osteoarthritis of knee", "M17.9"),
    ("62106007", "Concussion with no loss of consciousness", "S06.0X0A"),
    ("370247008", "Facial laceration", "S01.81XA"),
)
ALLERGENS: Sequence[tuple[str, str, str]] = (
    ("91935009", "Allergy to peanut", "food"),
    ("300916003", "Latex allergy", "environment"),
    ("232350006", "House dust mite allergy", "environment"),
    ("418689008", "Allergy to grass pollen", "environment"),
)


def identifier(random: Random) -> str:
    """A version 4 UUID from `random`."""
    return str(UUID(int=random.getrandbits(128), version=4))


def instant(when: datetime) -> str:
    """FHIR dateTime with seconds and offset."""
    return when.isoformat(timespec="seconds")


def concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def coded(system: str, code: str) -> Json:
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code}]}


def about(random: Random, profile: str, resource_type: str, written: datetime) -> Json:
    """What every clinical resource begins with: type, id and meta."""
    meta = {"versionId": "1", "lastUpdated": instant(written), "profile": [f"{US_CORE}/{profile}"]}
    return {"resourceType": resource_type, "id": identifier(random), "meta": meta}


def subject() -> Json:
    return {"reference": f"Patient/{PATIENT_ID}", "display": "Mrs. Lea Anna Example"}


def encounter(random: Random) -> Json:
    return {"reference": f"Encounter/{identifier(random)}"}


def practitioner(random: Random) -> Json:
    return {"reference": f"Practitioner/{identifier(random)}", "display": "Dr. Robin Sample"}


def patient(now: datetime) -> Json:
    """A woman of 54 years with the US Core extensions, identifiers, an address and a narrative."""
    omb = "urn:oid:2.16.840.1.113883.6.238"
    race = [
        {"url": "ombCategory", "valueCoding": {"system": omb, "code": "2106-3", "display": "White"}},
        {"url": "text", "valueString": "White"},
    ]
    ethnicity = [
        {"url": "ombCategory", "valueCoding": {"system": omb, "code": "2186-5", "display": "Not Hispanic or Latino"}},
        {"url": "text", "valueString": "Not Hispanic or Latino"},
    ]
    geolocation = [
        {"url": "latitude", "valueDecimal": Decimal("42.36010")},
        {"url": "longitude", "valueDecimal": Decimal("-71.05890")},
    ]
    born = now.replace(year=now.year - 54, month=2, day=11)
    return {
        "resourceType": "Patient",
        "id": PATIENT_ID,
        "meta": {"versionId": "7", "lastUpdated": instant(now - timedelta(days=40)), "profile": [f"{US_CORE}/us-core-patient"]},
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Lea Anna Example, female</p></div>'},
        "extension": [
            {"url": f"{US_CORE}/us-core-race", "extension": race},
            {"url": f"{US_CORE}/us-core-ethnicity", "extension": ethnicity},
            {"url": f"{US_CORE}/us-core-birthsex", "valueCode": "F"},
            {
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
                "valueAddress": {"city": "Boston", "country": "US"},
            },
        ],
        "identifier": [
            {
                "type": concept(f"{TERMINOLOGY}/v2-0203", "MR", "Medical Record Number"),
                "system": f"{SERVER}/mrn",
                "value": "00482211",
            },
            {"type": concept(f"{TERMINOLOGY}/v2-0203", "DL", "Driver's License"), "system": f"{SERVER}/dl", "value": "S99900000"},
        ],
        "active": True,
        "name": [{"use": "official", "family": "Example", "given": ["Lea", "Anna"], "prefix": ["Mrs."]}],
        "telecom": [{"system": "phone", "value": "555-0100", "use": "home"}],
        "gender": "female",
        "birthDate": born.date().isoformat(),
        "_birthDate": {
            "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": instant(born)}]
        },
        "address": [
            {
                "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/geolocation", "extension": geolocation}],
                "line": ["1 Sample Street"],
                "city": "Boston",
                "state": "MA",
                "postalCode": "02101",
                "country": "US",
            }
        ],
        "maritalStatus": concept(f"{TERMINOLOGY}/v3-MaritalStatus", "M", "Married"),
        "multipleBirthBoolean": False,
        "communication": [{"language": concept("urn:ietf:bcp:47", "en-US", "English (United States)")}],
    }


def laboratory_result(random: Random, analyte: Analyte, taken: datetime) -> Json:
    """A final result within `spread` times 40 of the usual value, written with as many decimals as the laboratory would."""
    code, display, unit, usual, spread, low, high = analyte
    value = Decimal(usual) + random.randint(-40, 40) * Decimal(spread)

    def quantity(number: Decimal) -> Json:
        return {"value": number, "unit": unit, "system": UCUM, "code": unit}

    return {
        **about(random, "us-core-observation-lab", "Observation", taken),
        "status": "final",
        "category": [{**coded("observation-category", "laboratory"), "text": "Laboratory"}],
        "code": concept(LOINC, code, display),
        "subject": subject(),
        "encounter": encounter(random),
        "effectiveDateTime": instant(taken),
        "issued": instant(taken + timedelta(hours=3)),
        "performer": [{"reference": f"Organization/{identifier(random)}", "display": "Example Hospital Laboratory"}],
        "valueQuantity": quantity(value),
        "referenceRange": [{"low": quantity(Decimal(low)), "high": quantity(Decimal(high)), "text": f"{low}-{high} {unit}"}],
    }


def dosage(random: Random) -> Json:
    return {
        "sequence": 1,
        "text": "Take one by mouth daily",
        "timing": {"repeat": {"frequency": 1, "period": Decimal("1.0"), "periodUnit": "d"}},
        "asNeededBoolean": random.random() < 0.3,
        "route": concept(SNOMED, "26643006", "Oral route"),
        "doseAndRate": [
            {"type": coded("dose-rate-type", "ordered"), "doseQuantity": {"value": Decimal("1.0"), "unit": "tablet"}}
        ],
    }


def prescription(random: Random, drug: tuple[str, str], written: datetime) -> Json:
    return {
        **about(random, "us-core-medicationrequest", "MedicationRequest", written),
        "status": random.choice(("active", "completed", "completed", "stopped")),
        "intent": "order",
        "medicationCodeableConcept": concept(RXNORM, *drug),
        "subject": subject(),
        "encounter": encounter(random),
        "authoredOn": instant(written),
        "requester": practitioner(random),
        "dosageInstruction": [dosage(random)],
        "dispenseRequest": {"numberOfRepeatsAllowed": 3, "quantity": {"value": Decimal("30.0"), "unit": "tablet"}},
    }


def statement(random: Random, drug: tuple[str, str], asserted: datetime) -> Json:
    return {
        **about(random, "us-core-medicationstatement", "MedicationStatement", asserted),
        "status": random.choice(("active", "completed", "completed")),
        "category": coded("medication-statement-category", "outpatient"),
        "medicationCodeableConcept": concept(RXNORM, *drug),
        "subject": subject(),
        "effectivePeriod": {"start": instant(asserted)},
        "dateAsserted": instant(asserted),
        "informationSource": subject(),
        "dosage": [dosage(random)],
    }


def problem(random: Random, kind: tuple[str, str, str], began: datetime) -> Json:
    snomed, display, icd = kind
    over = random.random() < 0.6
    coding = [
        {"system": SNOMED, "code": snomed, "display": display},
        {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd, "display": display},
    ]
    return {
        **about(random, "us-core-condition-problems-health-concerns", "Condition", began),
        "clinicalStatus": coded("condition-clinical", "resolved" if over else "active"),
        "verificationStatus": coded("condition-ver-status", "confirmed"),
        "category": [{**coded("condition-category", "problem-list-item"), "text": "Problem List Item"}],
        "code": {"coding": coding, "text": display},
        "subject": subject(),
        "encounter": encounter(random),
        "onsetDateTime": instant(began),
        **({"abatementDateTime": instant(began + timedelta(days=12))} if over else {}),
        "recordedDate": instant(began),
        "recorder": practitioner(random),
    }


def allergy(random: Random, kind: tuple[str, str, str], recorded: datetime) -> Json:
    code, display, category = kind
    return {
        **about(random, "us-core-allergyintolerance", "AllergyIntolerance", recorded),
        "clinicalStatus": coded("allergyintolerance-clinical", "active"),
        "verificationStatus": coded("allergyintolerance-verification", "confirmed"),
        "type": "allergy",
        "category": [category],
        "criticality": "low",
        "code": concept(SNOMED, code, display),
        "patient": subject(),
        "recordedDate": instant(recorded),
        "reaction": [{"manifestation": [concept(SNOMED, "271807003", "Eruption of skin")], "severity": "mild"}],
    }


def draft_order(random: Random, draft: Draft, now: datetime) -> Json:
    """Make the order that is being signed."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"request-{random.randint(100, 999)}",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": concept(RXNORM, *draft.drug),
        "subject": subject(),
        "authoredOn": instant(now),
        "requester": practitioner(random),
        "reasonCode": [{"text": draft.reason}],
        "dosageInstruction": [dosage(random)],
    }
