"""Define one tolerant structure for all resource types and versions (R4, STU3, DSTU2).

JSON is decoded straight into it; the decoder skips fields that no reader needs. The type of a field is the union of what real
clients send (an object where FHIR has an array, a string where R4 has a CodeableConcept) and of what other resource types have
under that name (`Claim.total` is money, `PractitionerRole.code` an array), so that these pass too. An entry that does not fit is
quarantined by itself, see `bundles`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what msgspec raises for input that is not JSON

# Longer texts do not fit: a real name, code or note is shorter. Lengths are characters.
Text = Annotated[str, msgspec.Meta(max_length=2_000)]
Prose = Annotated[str, msgspec.Meta(max_length=20_000)]


class Coding(msgspec.Struct, gc=False, omit_defaults=True):
    system: Text | None = None
    code: Text | int | None = None  # a number is sent for RxNorm codes, see `pairs`
    display: Text | None = None
    extension: Any = None  # certainty of a German diagnosis, see `condition_status`


class CodeableConcept(msgspec.Struct, gc=False, omit_defaults=True):
    coding: list[Coding] | Coding | None = None
    text: Text | None = None


class Reference(msgspec.Struct, gc=False, omit_defaults=True):
    reference: Text | None = None
    display: Text | None = None


class Subject(msgspec.Struct, gc=False, omit_defaults=True):
    """The reference to the patient in nearly every resource; the display beside it is not read."""

    reference: Text | None = None
    type: Any = None  # R4: the type of what is meant
    identifier: Any = None  # an Identifier, in place of a reference or beside it; `subject` reads it last


class Period(msgspec.Struct, gc=False, omit_defaults=True):
    start: Text | None = None
    end: Text | None = None


class Quantity(msgspec.Struct, gc=False, omit_defaults=True):
    value: Decimal | None = None
    comparator: Text | None = None
    unit: Text | None = None
    code: Text | None = None


class Ratio(msgspec.Struct, gc=False, omit_defaults=True):
    numerator: Quantity | None = None
    denominator: Quantity | None = None


class Range(msgspec.Struct, gc=False, omit_defaults=True):
    low: Quantity | None = None
    high: Quantity | None = None


class ReferenceRange(msgspec.Struct, gc=False, omit_defaults=True):
    low: Quantity | None = None
    high: Quantity | None = None


class Related(msgspec.Struct, gc=False, omit_defaults=True):
    """Observation.related of STU3 and DSTU2; other types have a `related` of their own."""

    type: Any = None
    target: Reference | None = None


class Annotation(msgspec.Struct, gc=False, omit_defaults=True):
    text: Prose | None = None


class Repeat(msgspec.Struct, gc=False, omit_defaults=True):
    frequency: Decimal | None = None
    frequencyMax: Decimal | None = None
    period: Decimal | None = None
    periodMax: Decimal | None = None
    periodUnit: Text | None = None  # R4, STU3
    periodUnits: Text | None = None  # DSTU2
    when: list[Text] | Text | None = None
    timeOfDay: list[Text] | Text | None = None
    dayOfWeek: list[Text] | Text | None = None
    boundsPeriod: Period | None = None


class Timing(msgspec.Struct, gc=False, omit_defaults=True):
    repeat: Repeat | None = None
    code: CodeableConcept | None = None


class DoseAndRate(msgspec.Struct, gc=False, omit_defaults=True):
    doseQuantity: Quantity | None = None
    doseRange: Range | None = None


class Dosage(msgspec.Struct, gc=False, omit_defaults=True):
    """Dosage of R4 and STU3, dosageInstruction of DSTU2's MedicationOrder, dosage of its MedicationStatement."""

    sequence: Decimal | None = None
    text: Prose | None = None
    timing: Timing | None = None
    asNeededBoolean: bool | None = None
    asNeededCodeableConcept: CodeableConcept | None = None
    route: CodeableConcept | None = None
    doseAndRate: list[DoseAndRate] | DoseAndRate | None = None  # R4 (an object in the order-select example of the hook library)
    doseQuantity: Quantity | None = None  # STU3, DSTU2, the sandbox
    doseRange: Range | None = None
    quantityQuantity: Quantity | None = None  # DSTU2 MedicationStatement
    patientInstruction: Prose | None = None
    additionalInstruction: list[CodeableConcept] | CodeableConcept | None = None
    maxDosePerPeriod: Ratio | list[Ratio] | None = None


class Reaction(msgspec.Struct, gc=False, omit_defaults=True):
    manifestation: list[CodeableConcept] | CodeableConcept | None = None
    substance: CodeableConcept | None = None


class Ingredient(msgspec.Struct, gc=False, omit_defaults=True):
    """Medication.ingredient of R4 and STU3; `item` is DSTU2's (under product)."""

    itemCodeableConcept: CodeableConcept | None = None
    itemReference: Reference | None = None
    isActive: bool | None = None  # false for excipients
    item: Reference | None = None
    strength: Ratio | None = None  # R4
    amount: Ratio | None = None  # STU3, DSTU2


class Product(msgspec.Struct, gc=False, omit_defaults=True):
    ingredient: list[Ingredient] | None = None


class Link(msgspec.Struct, gc=False, omit_defaults=True):
    relation: Text | None = None
    url: Prose | None = None  # a next link carries a whole query


class Issue(msgspec.Struct, gc=False, omit_defaults=True):
    severity: Text | None = None
    code: Text | None = None


class Entry(msgspec.Struct, gc=False, omit_defaults=True):
    resource: Resource | None = None
    fullUrl: Prose | None = None


class Resource(msgspec.Struct, gc=False, omit_defaults=True):
    """Any resource: the fields of every type that this service reads, in every version."""

    resourceType: Text | None = None
    id: Text | None = None
    status: Text | None = None
    modifierExtension: Any = None  # present: it may reverse the meaning
    code: CodeableConcept | list[CodeableConcept] | None = None  # an array in types that are not read
    subject: Subject | list[Subject] | None = None
    patient: Subject | Text | None = None
    # Observation
    effectiveDateTime: Text | None = None
    effectiveInstant: Text | None = None
    effectivePeriod: Period | None = None
    issued: Text | None = None
    valueQuantity: Quantity | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueString: Prose | None = None
    valueInteger: Decimal | None = None
    valueRange: Range | None = None
    valueRatio: Ratio | None = None
    valueSampledData: Any = None
    interpretation: list[CodeableConcept] | CodeableConcept | None = None
    dataAbsentReason: CodeableConcept | None = None
    hasMember: list[Reference] | Reference | None = None
    referenceRange: list[ReferenceRange] | ReferenceRange | None = None
    note: list[Annotation] | Annotation | Prose | None = None
    comment: Prose | None = None  # STU3
    comments: Prose | None = None  # DSTU2
    component: list[Resource] | Resource | Text | None = None  # an Observation's parts have its fields
    related: list[Related] | Related | None = None  # STU3, DSTU2
    result: list[Reference] | Reference | Text | None = None  # DiagnosticReport
    specimen: list[Reference] | Reference | None = None
    type: CodeableConcept | list[CodeableConcept] | Text | None = None  # Specimen (contained); other types have others
    condition: list[CodeableConcept] | CodeableConcept | None = None  # Specimen.condition (contained)
    # MedicationRequest, MedicationStatement, MedicationOrder, MedicationDispense, MedicationAdministration, Medication
    intent: Text | None = None
    doNotPerform: bool | None = None
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    authoredOn: Text | None = None
    dateWritten: Text | None = None  # DSTU2
    dateEnded: Text | None = None  # DSTU2 MedicationOrder
    dateAsserted: Text | None = None
    whenHandedOver: Text | None = None  # MedicationDispense
    whenPrepared: Text | None = None
    daysSupply: Quantity | None = None
    effectiveTimeDateTime: Text | None = None  # DSTU2 MedicationAdministration
    effectiveTimePeriod: Period | None = None
    notGiven: bool | None = None  # STU3
    wasNotGiven: bool | None = None  # DSTU2
    wasNotTaken: bool | None = None  # DSTU2
    taken: Text | None = None  # STU3: y, n, unk, na
    reasonCode: list[CodeableConcept] | CodeableConcept | None = None
    reasonReference: list[Reference] | Reference | None = None
    reasonCodeableConcept: CodeableConcept | None = None  # DSTU2 MedicationOrder
    reasonForUseCodeableConcept: CodeableConcept | None = None  # DSTU2 MedicationStatement
    reasonForUseReference: Reference | None = None  # DSTU2 MedicationStatement
    dosage: list[Dosage] | Dosage | None = None
    dosageInstruction: list[Dosage] | Dosage | None = None
    priorPrescription: Reference | None = None
    ingredient: list[Ingredient] | Ingredient | None = None
    product: Product | None = None
    contained: list[Resource] | Resource | None = None
    # Condition, AllergyIntolerance
    clinicalStatus: CodeableConcept | Text | None = None
    verificationStatus: CodeableConcept | Text | None = None
    onsetDateTime: Text | None = None
    onsetPeriod: Period | None = None
    abatementDateTime: Text | None = None
    abatementPeriod: Period | None = None
    abatementString: Text | None = None
    abatementBoolean: bool | None = None  # STU3, DSTU2
    recordedDate: Text | None = None
    assertedDate: Text | None = None  # STU3
    dateRecorded: Text | None = None  # DSTU2
    substance: CodeableConcept | None = None  # DSTU2 AllergyIntolerance
    reaction: list[Reaction] | Reaction | None = None
    # Patient
    birthDate: Text | None = None
    gender: Text | None = None
    deceasedBoolean: bool | Text | None = None
    deceasedDateTime: Text | None = None
    identifier: Any = None  # nearly every type has it; it is read only in a Patient
    # Bundle, OperationOutcome
    entry: list[Entry] | Entry | None = None
    link: list[Link] | Link | None = None
    total: Any = None  # an integer in a Bundle (`object` would be a type of our own to a decoder with a hook)
    issue: list[Issue] | Issue | None = None
    resource: Resource | None = None  # prefetch values of CDS Hooks before 1.0 are wrapped: {"response": …, "resource": …}


def listed(value: list[T] | T | None) -> list[T]:
    """Return the values of a field that is an array in FHIR, sent as an array or a single value."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def first(value: list[T] | T | None) -> T | None:
    """Return the first value of a field that is an array in some types or versions."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def pairs(concept: CodeableConcept | None) -> tuple[tuple[str, str], ...]:
    """Return (system, code) of each coding with a code; "" for a missing system."""
    if concept is None or concept.coding is None:
        return ()
    found = []
    for coding in listed(concept.coding):
        if coding.code:
            found.append((coding.system or "", str(coding.code)))  # noqa: PERF401 - a comprehension costs more than two codings
    return tuple(found)


def texts(concept: CodeableConcept | None) -> tuple[str, ...]:
    """Return the text of a concept and the different displays of its codings, as sent."""
    if concept is None:
        return ()
    found = [concept.text] if concept.text else []
    for coding in listed(concept.coding):
        if coding.display and coding.display != concept.text:
            found.append(coding.display)  # noqa: PERF401 - as above
    return tuple(found)


def status_code(value: CodeableConcept | str | None) -> str:
    """Return a status that is a code in DSTU2 and STU3 and a CodeableConcept in R4; "" without one."""
    if value is None or isinstance(value, str):
        return value or ""
    codes = pairs(value)
    return codes[0][1] if codes else (value.text or "").lower()


def bare_id(reference: str | None) -> str:
    """Return the id in a reference; "" for None.

    "123" in "123", "Patient/123", "https://ehr.example/fhir/Patient/123/_history/4", "urn:uuid:123" and "#123".
    """
    if not reference:
        return ""
    reference = reference.partition("/_history")[0].rpartition("/")[2]
    return reference.rpartition(":")[2] if is_urn(reference) else reference.removeprefix("#")


def is_urn(reference: str) -> bool:
    """Tell whether a reference or fullUrl is a `urn:`, in any case (RFC 8141)."""
    return reference.startswith(("urn:", "URN:"))
