"""Write evidence in words: "2.8 mmol/L", "2025-11-28", "oxycodone, lorazepam"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType

from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem
from cds_service.criteria.findings import Evidence, Finding

NAMES_LIMIT = 6  # names in one list
NO_KINDS: Mapping[str, str] = MappingProxyType({})
_READABLE_UNITS = {"mL/min/{1.73_m2}": "mL/min/1.73 m²", "10*9/L": "x 10⁹/L"}  # UCUM is for machines
_READABLE_ANALYTES = {"qtc": "QTc", "egfr": "eGFR"}


def phrase(
    finding: Finding,
    field: str,
    facts: Facts,
    safe: Callable[[str], str],
    named: Collection[str] = (),
    kinds: Mapping[str, str] = NO_KINDS,
) -> str:
    """Return the text of `{criterion.field}` for the evidence of `finding`; "not known" without evidence.

    `named`: of a combination only these drugs are named, where it has any. `kinds`: drug class -> its name for people.
    """
    evidence = finding.evidence
    if not evidence:
        return "not known"
    if field == "names":
        return _names(evidence, safe, named, kinds)
    first = evidence[0]
    for item in evidence:
        if isinstance(item, Lab):
            first = item
            break
    if isinstance(first, Lab):
        return _lab(first, field, facts.now, safe)
    if isinstance(first, Patient):
        return str(facts.age_years)
    drug = first.drug if isinstance(first, Order) else first
    if isinstance(drug, Drug):
        if field == "dose":
            return f"{number(drug.daily_dose_mg)} mg/day" if drug.daily_dose_mg is not None else "not known"
        return safe(drug.code_disagrees)
    if isinstance(first, Allergy):
        return safe(first.reaction) or "no reaction recorded"
    return "not known"


def _names(evidence: Iterable[Evidence], safe: Callable[[str], str], named: Collection[str], kinds: Mapping[str, str]) -> str:
    each = [_drug_names(item, named, kinds) or [name_of(item)] for item in evidence]
    names = list(dict.fromkeys(safe(name) for names in each for name in names))
    more = f" and {len(names) - NAMES_LIMIT} more" if len(names) > NAMES_LIMIT else ""
    return ", ".join(names[:NAMES_LIMIT]) + more


def _drug_names(item: Evidence, named: Collection[str], kinds: Mapping[str, str]) -> list[str]:
    """Return the names of a drug or ordered drug: those in `named`, else all, else its classes.

    A drug whose status does not confirm that it is taken is marked "(unconfirmed)".
    """
    drug = item.drug if isinstance(item, Order) else item
    if not isinstance(drug, Drug):
        return []
    names = (
        [name for name in drug.ingredients if name in named]
        or list(drug.ingredients)
        or ([drug.text] if drug.text else [kinds[one] for one in sorted(drug.classes) if one in kinds])
    )
    return names if drug.confirmed else [f"{name} (unconfirmed)" for name in names]


def _lab(lab: Lab, field: str, now: datetime, safe: Callable[[str], str]) -> str:
    if field == "day":
        return lab.effective.day
    if field == "standing":
        return lab.standing
    if field == "ago":
        days = (now - lab.effective.start).days
        return "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"
    unit = readable_unit(lab.canonical_unit)
    reported_unit = readable_unit(lab.reported_unit) or unit
    reported = f"{safe(lab.comparator)}{number(lab.reported_value)} {reported_unit}"
    if lab.computed_from.startswith(f"{reported} "):  # the correction changed nothing
        return f"{reported}, {lab.computed_from.removeprefix(reported).strip()}"
    if lab.computed_from:
        return f"{reported}, computed from {lab.computed_from}"
    if lab.value == lab.reported_value:
        return reported
    return f"{reported} = {_converted(lab.value, lab.canonical_unit)} {unit}"


def readable_unit(unit: str) -> str:
    """Return a UCUM unit as people write it."""
    return _READABLE_UNITS.get(unit, unit)


def _converted(value: Decimal, unit: str) -> str:
    """Return a converted value with two decimals (none for ms, umol/L and eGFR), for reading only."""
    step = Decimal("0.01") if unit == "mmol/L" else Decimal(1)
    return f"{value.quantize(step, ROUND_HALF_UP):f}"


def alternatives(names: Sequence[str]) -> str:
    """Return "a, b or c"; `names` holds at least one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 day", "3 days", "2 allergies" by `many`."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def number(value: Decimal) -> str:
    """Return a decimal without exponent and with the digits that were sent (10, 2.5, 6.30)."""
    return f"{value:f}"


def name_of(item: Evidence) -> str:
    """Return the name of an item of evidence: drug, problem, or analyte with value."""
    match item:
        case Drug():
            return ", ".join(item.ingredients) or item.text
        case Order():
            return (", ".join(item.drug.ingredients) or item.drug.text) if item.drug is not None else item.resource_type
        case Problem() | Allergy():
            return item.text
        case Lab():
            unit = item.reported_unit or item.canonical_unit
            name = _READABLE_ANALYTES.get(item.analyte, item.analyte.replace("_", " "))
            return f"{name} {item.comparator}{number(item.reported_value)} {readable_unit(unit)}"
        case Patient():
            return "patient"
