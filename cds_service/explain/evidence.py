"""Turn evidence into rows for people: value, unit, date, code and where it came from. Pure.

The rows are for the person who sent the request, so they hold ids of resources; texts of the EHR are cleaned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cds_service.criteria.escaping import cleaned
from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem, Unusable
from cds_service.criteria.findings import Evidence
from cds_service.criteria.wording import number, readable_unit
from cds_service.terminology.terminology import Terminology

NOT_RECOGNISED = "not recognised as anything that a card looks for"
NO_NAME = "has no name or code that could be recognised"


class EvidenceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hold one piece of evidence as texts.

    `text` is its name; other fields are "" where it has none.
    """

    kind: str  # result, medication, problem, allergy, order, patient
    text: str
    value: str = ""  # with its comparator, as it was sent
    unit: str = ""
    date: str = ""  # as it was sent
    code: str = ""  # "system|code" by which it was recognised
    source: str = ""  # name of the prefetch key
    reference: str = ""
    meaning: str = ""  # what it was recognised as, or why it is not used

    @property
    def words(self) -> str:
        """Return it on one line: "potassium 2.4 mmol/L (2025-11-28)"."""
        words = " ".join(part for part in (self.text, self.value, self.unit) if part)
        return f"{words} ({self.date})" if self.date else words


def evidence_row(item: Evidence, facts: Facts, terminology: Terminology) -> EvidenceRow:
    """Return the row of one piece of evidence."""
    match item:
        case Lab():
            return EvidenceRow(
                kind="result",
                text=terminology.analytes[item.analyte].name,
                value=f"{item.comparator}{number(item.reported_value)}",
                unit=readable_unit(item.reported_unit or item.canonical_unit),
                date=item.effective.text,
                code=item.code,
                source=item.source,
                reference=item.reference,
                meaning="; ".join(_remarks(item)),
            )
        case Drug():
            return _medication("medication", item, terminology, item.started.text if item.started is not None else "")
        case Order():
            if item.drug is None:
                return EvidenceRow(
                    kind="order", text=item.resource_type, source="orders", reference=item.reference, meaning="no medication"
                )
            row = _medication("order", item.drug, terminology)
            dose = item.drug.daily_dose_mg
            value, unit = (number(dose), "mg/day") if dose is not None else ("", "")
            return msgspec.structs.replace(row, value=value, unit=unit, source="orders", reference=item.reference)
        case Problem():
            names = [terminology.problem_names[one] for one in sorted(item.sets)]
            onset = item.onset.text if item.onset is not None else ""
            meaning = _known(names) + _unclear(item)
            return EvidenceRow("problem", cleaned(item.text), "", "", onset, item.code, item.source, item.reference, meaning)
        case Allergy():
            names = [terminology.class_display(one) for one in sorted(item.classes)]
            reaction = f"; reaction: {cleaned(item.reaction)}" if item.reaction else ""
            text = cleaned(item.text)
            return EvidenceRow(
                "allergy",
                text,
                source=item.source,
                reference=item.reference,
                meaning=f"{_known(names)}{reaction}{_unclear(item)}",
            )
        case Patient():
            age = facts.age_years
            value, unit = (str(age), "years") if age is not None else ("", "")
            return EvidenceRow("patient", item.sex or "patient", value, unit, source="patient", reference=item.reference)


def evidence_rows(facts: Facts, terminology: Terminology) -> list[EvidenceRow]:
    """Return a row for everything that was read from the request, results newest first."""
    rows = [evidence_row(facts.patient, facts, terminology)]
    for analyte, series in facts.labs.items():
        rows += [evidence_row(lab, facts, terminology) for lab in series.results]
        rows += [_unusable(bad, terminology.analytes[analyte].name) for bad in series.unusable]
    evidence: Iterable[Evidence] = (*facts.drugs, *facts.problems, *facts.allergies, *facts.orders)
    return rows + [evidence_row(item, facts, terminology) for item in evidence]


def _remarks(lab: Lab) -> Iterator[str]:
    if lab.value != lab.reported_value:
        yield f"compared as {lab.comparator}{number(lab.value.normalize())} {readable_unit(lab.canonical_unit)}"
    if lab.computed_from:
        yield f"computed from {lab.computed_from}"
    if lab.preliminary:
        yield lab.standing
    if lab.haemolysed:
        yield "haemolysed sample"
    if lab.sampling != "routine":
        yield lab.sampling


def _medication(kind: str, drug: Drug, terminology: Terminology, date: str = "") -> EvidenceRow:
    text = cleaned(drug.text) or "a medication without a name"
    meaning = _known([terminology.class_display(one) for one in sorted(drug.classes)])
    if drug.code_disagrees:
        meaning += f"; its code stands for {cleaned(drug.code_disagrees)}"
    if not drug.identified:
        meaning = NO_NAME
    return EvidenceRow(kind, text, date=date, code=drug.code, source=drug.source, reference=drug.reference, meaning=meaning)


def _unusable(bad: Unusable, name: str) -> EvidenceRow:
    date = bad.effective.text if bad.effective is not None else ""
    return EvidenceRow("result", name, date=date, source="labs", reference=bad.reference, meaning=f"not used: {bad.explanation}")


def _known(names: list[str]) -> str:
    return ", ".join(names) or NOT_RECOGNISED


def _unclear(item: Problem | Allergy) -> str:
    return f"; {item.unclear}" if item.unclear else ""
