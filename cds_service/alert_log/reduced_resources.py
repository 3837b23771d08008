"""Reduce resources to what reading them again needs.

Of an id a number within the call is left, of a note the text patterns found in it, of a dosage the words that are read. Each
field of a resource is kept as it was sent, reduced or dropped; a test finds one of which that is not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service.alert_log.inputs import InputSource
from cds_service.fhir.gathered import Gathered
from cds_service.fhir.panels import is_panel
from cds_service.fhir.resources import (
    Annotation,
    CodeableConcept,
    Coding,
    Dosage,
    Ingredient,
    Product,
    Reaction,
    Reference,
    Resource,
    Timing,
    bare_id,
    listed,
    texts,
)
from cds_service.read.condition_status import reduced_certainty
from cds_service.read.dosage_words import DosageWords
from cds_service.read.drug_product import product_of
from cds_service.read.drug_reasons import texts_about
from cds_service.read.lab_details import texts_on
from cds_service.read.lab_value import reduced_value
from cds_service.read.reference_targets import Targets
from cds_service.terminology.text_patterns import mark

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Searched, Terminology

_TARGETS = frozenset({"Medication", "Condition"})  # what drugs refer to
_CONTAINED = _TARGETS | {"Substance", "Specimen"}

AS_SENT = (
    *("resourceType", "status", "intent", "doNotPerform", "taken", "notGiven", "wasNotGiven", "wasNotTaken"),
    *("effectiveDateTime", "effectiveInstant", "effectivePeriod", "effectiveTimeDateTime", "effectiveTimePeriod", "issued"),
    *("valueQuantity", "valueInteger", "valueRange", "valueRatio", "referenceRange"),
    *("authoredOn", "dateWritten", "dateEnded", "dateAsserted", "whenHandedOver", "whenPrepared", "daysSupply"),
    *("onsetDateTime", "onsetPeriod", "abatementDateTime", "abatementPeriod", "abatementBoolean"),
    *("recordedDate", "assertedDate", "dateRecorded"),
)
# A chart has resources of the patient alone, panels are taken apart in it, and marks take the place of notes.
DROPPED = (
    *("subject", "patient", "identifier", "birthDate", "gender", "deceasedBoolean", "deceasedDateTime"),
    *("hasMember", "component", "related", "result", "note", "comment", "comments"),
    *("entry", "link", "total", "issue", "resource"),
)

_change = msgspec.structs.replace


class Reducer:
    """Reduce the resources of one call."""

    def __init__(self, targets: Targets, terminology: Terminology) -> None:
        self._targets = targets
        self._terminology = terminology
        self._words = _dosage_words(terminology)
        self._numbers: dict[str, str] = {"": ""}
        self.searched: set[Searched] = set()
        self.read_differently = False

    def source(self, gathered: Gathered) -> InputSource:
        """Reduce the resources of one source, but for the patient's own."""
        kept = [self.resource(one) for one in gathered.resources if one.resourceType != "Patient"]
        return InputSource(kept, self._by_url(gathered))

    def targets_in(self, gathered: Gathered) -> InputSource:
        """Reduce the resources of a source to which others refer."""
        return InputSource(
            [self.resource(one) for one in gathered.resources if one.resourceType in _TARGETS], self._by_url(gathered)
        )

    def _by_url(self, gathered: Gathered) -> dict[str, Resource]:
        return {self.number(key): self.resource(one) for key, one in gathered.by_url.items() if one.resourceType in _TARGETS}

    def number(self, key: str) -> str:
        """Return the number of an id in this call; "" for ""."""
        return self._numbers.setdefault(key, str(len(self._numbers)))

    def resource(self, one: Resource) -> Resource:
        """Return a resource with the fields of AS_SENT and REDUCED."""
        kept: dict[str, Any] = {}
        for name, reduce in _KEPT:
            value = getattr(one, name)
            if value is not None:
                kept[name] = value if reduce is None else reduce(self, value)
        if one.resourceType == "Observation":
            if said := texts_on(one):
                kept["note"] = self._mark(self._terminology.patterns_in(said))
            if is_panel(one):
                kept["hasMember"] = [Reference()]
        else:
            dosages = listed(one.dosageInstruction) or listed(one.dosage)
            if one.note is not None or any(_has_words(dosage) for dosage in dosages):
                said = texts_about(one, dosages, self._targets)
                kept["note"] = self._mark(self._terminology.reasons_in("\nx\n".join(said)) if said else ())
        return Resource(**kept)

    def characters(self, drugs: Iterable[Resource]) -> int:
        """Return how many characters of a list of drugs are looked up."""
        count = 0
        for one in drugs:
            dosages = listed(one.dosageInstruction) or listed(one.dosage)
            said = (*product_of(one, self._targets).names, *[dosage.text for dosage in dosages if dosage.text])
            count += sum(map(len, said))
        return count

    def concept(self, one: CodeableConcept) -> CodeableConcept:
        """Return codes and names as sent, of extensions only whether they deny the diagnosis."""
        if one.coding is None or all(coding.extension is None for coding in listed(one.coding)):
            return one
        return _change(
            one, coding=[_change(coding, extension=reduced_certainty(coding.extension)) for coding in listed(one.coding)]
        )

    def concepts(self, value: list[CodeableConcept] | CodeableConcept) -> list[CodeableConcept]:
        return [self.concept(one) for one in listed(value)]

    def remarks(self, value: list[CodeableConcept] | CodeableConcept) -> list[CodeableConcept]:
        return [self.remark(one) for one in listed(value)]

    def remark(self, one: CodeableConcept) -> CodeableConcept:
        """Return the codes of a remark on a result, and the text patterns in its words."""
        codings = [_change(coding, display=None, extension=None) for coding in listed(one.coding)]
        said = texts(one)
        text = self._mark(self._terminology.patterns_in(said))[0].text if said else None
        return CodeableConcept(codings, text)

    def status(self, value: CodeableConcept | str) -> CodeableConcept | str:
        return value if isinstance(value, str) else self.concept(value)

    def specimen_type(self, value: Any) -> CodeableConcept | None:
        return self.concept(value) if isinstance(value, CodeableConcept) else None

    def reference(self, value: Reference) -> Reference:
        """Return a reference with a number for its id; its type only where drugs refer to it."""
        return Reference(self._number_in(value.reference) if value.reference else None, value.display)

    def references(self, value: list[Reference] | Reference) -> list[Reference]:
        return [self.reference(one) for one in listed(value)]

    def specimens(self, value: list[Reference] | Reference) -> list[Reference]:
        return [Reference(display=one.display) for one in listed(value)]

    def _number_in(self, sent: str) -> str:
        number = self.number(bare_id(sent))
        if sent.startswith("#"):
            return f"#{number}"
        before = sent.partition("/_history")[0].rpartition("/")[0]
        kind = before.rpartition("/")[2]
        return f"{kind if kind in _TARGETS else 'Other'}/{number}" if kind else number

    def contained(self, value: list[Resource] | Resource) -> list[Resource]:
        """Return the contained resources that are read with the one that holds them."""
        return [
            _change(self.resource(one), id=self.number(one.id.removeprefix("#")) if one.id else None)
            for one in listed(value)
            if one.resourceType in _CONTAINED
        ]

    def value_text(self, text: str) -> str:
        """Return the number in a result's words, and whether they say that it was not made."""
        reduced, searched = reduced_value(text, self._terminology)
        self.searched.update(searched)
        return reduced

    def ingredients(self, value: list[Ingredient] | Ingredient) -> list[Ingredient]:
        return [
            _change(
                one,
                itemCodeableConcept=None if one.itemCodeableConcept is None else self.concept(one.itemCodeableConcept),
                itemReference=None if one.itemReference is None else self.reference(one.itemReference),
                item=None if one.item is None else self.reference(one.item),
            )
            for one in listed(value)
        ]

    def product(self, value: Product) -> Product:
        return Product(None if value.ingredient is None else self.ingredients(value.ingredient))

    def reactions(self, value: list[Reaction] | Reaction) -> list[Reaction]:
        return [
            Reaction(
                None if one.manifestation is None else self.concepts(one.manifestation),
                None if one.substance is None else self.concept(one.substance),
            )
            for one in listed(value)
        ]

    def dosages(self, value: list[Dosage] | Dosage) -> list[Dosage]:
        return [self._dosage(one) for one in listed(value)]

    def _dosage(self, one: Dosage) -> Dosage:
        return _change(
            one,
            text=self._masked(one.text),
            patientInstruction=self._masked(one.patientInstruction),
            additionalInstruction=None,
            asNeededCodeableConcept=None if one.asNeededCodeableConcept is None else CodeableConcept(),
            route=None if one.route is None else self.concept(one.route),
            timing=None if one.timing is None else _change(one.timing, code=self._timing_code(one.timing)),
        )

    def _timing_code(self, timing: Timing) -> CodeableConcept | None:
        if timing.code is None:
            return None
        codings = [Coding(one.system, one.code, self._masked(one.display)) for one in listed(timing.code.coding)]
        return CodeableConcept(codings, self._masked(timing.code.text))

    def _masked(self, text: str | None) -> str | None:
        if not text:
            return text
        masked = self._words.masked(text)
        if masked is None:
            self.read_differently = True
        elif masked != text:
            self.searched.add("routes")
        return masked

    def _mark(self, patterns: Iterable[str]) -> list[Annotation]:
        self.searched.add("patterns")
        return [Annotation(mark(patterns))]


def _has_words(dosage: Dosage) -> bool:
    """Tell whether a dosage has words that may state a reason."""
    return bool(
        dosage.text
        or dosage.patientInstruction
        or dosage.additionalInstruction is not None
        or texts(dosage.asNeededCodeableConcept)
    )


@lru_cache(maxsize=4)
def _dosage_words(terminology: Terminology) -> DosageWords:
    return DosageWords(terminology)


REDUCED: dict[str, Callable[[Reducer, Any], Any]] = {
    "id": Reducer.number,
    "modifierExtension": lambda _, value: bool(value) or None,
    "code": Reducer.concepts,
    "valueCodeableConcept": Reducer.concept,
    "valueString": Reducer.value_text,
    "valueSampledData": lambda *_: True,
    "interpretation": Reducer.remarks,
    "dataAbsentReason": Reducer.remark,
    "specimen": Reducer.specimens,
    "type": Reducer.specimen_type,
    "condition": Reducer.remarks,
    "medicationCodeableConcept": Reducer.concept,
    "medicationReference": Reducer.reference,
    "reasonCode": Reducer.concepts,
    "reasonReference": Reducer.references,
    "reasonCodeableConcept": Reducer.concept,
    "reasonForUseCodeableConcept": Reducer.concept,
    "reasonForUseReference": Reducer.reference,
    "dosage": Reducer.dosages,
    "dosageInstruction": Reducer.dosages,
    "priorPrescription": Reducer.reference,
    "ingredient": Reducer.ingredients,
    "product": Reducer.product,
    "contained": Reducer.contained,
    "clinicalStatus": Reducer.status,
    "verificationStatus": Reducer.status,
    "abatementString": lambda _, value: "over" if value else None,
    "substance": Reducer.concept,
    "reaction": Reducer.reactions,
}
_KEPT = (*((name, None) for name in AS_SENT), *REDUCED.items())
