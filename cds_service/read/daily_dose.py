"""Read the daily dose of a medication in mg from its dosages (R4, STU3, DSTU2) and texts.

The dose is compared with ceilings (30 mg of baclofen, 300 mg of quinine a day), hence these engineering choices:

- It is the most that the dosages allow on one day: the upper end of ranges, as-needed doses as if all were taken, held down
  by `maxDosePerPeriod`; for a dose that is not taken daily what is taken on its day.
- Structure comes before text. Text is read where structure leaves something open (also the mg of tablets or millilitres whose
  strength is not known); where it clearly states a higher daily dose than the structure, the higher one counts.
- A number without a unit is taken for tablets up to 4; above that it could as well be mg and is unknown.
- Several dosages: the highest where they follow one another (periods that do not overlap, text that starts with "then",
  different `sequence`), the sum where each has times of day of its own (even with different `sequence`: systems number
  concurrent lines too) or all have the same `sequence` (FHIR: concurrent). Otherwise unknown.
- Intrathecal and epidural doses are unknown: they are no measure for an oral ceiling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations, pairwise
from typing import TypeGuard

from cds_service.fhir.resources import CodeableConcept, Dosage, Quantity, Ratio, Repeat, Timing, listed
from cds_service.read.sig_amounts import BARE_COUNTS
from cds_service.read.sig_text import Product, Reading, concentration_mg_per_ml, read, strength_mg
from cds_service.read.sig_tokens import per_day, tokens
from cds_service.read.sig_words import Kind

_HOURS = {
    **dict.fromkeys(("s", "sec"), Decimal(1) / 3600),
    **dict.fromkeys(("min", "minute", "minutes"), Decimal(1) / 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), Decimal(1)),
    **dict.fromkeys(("d", "day", "days"), Decimal(24)),
    **dict.fromkeys(("wk", "week", "weeks"), Decimal(168)),
    **dict.fromkeys(("mo", "month", "months"), Decimal(730)),
    **dict.fromkeys(("a", "year", "years"), Decimal(8766)),
}
# http://terminology.hl7.org/CodeSystem/v3-TimingEvent and http://hl7.org/fhir/event-timing, without the meals of no meal in
# particular (C, AC, PC), which do not say how many there are
_EVENTS = {
    **dict.fromkeys(("MORN", "MORN.early", "MORN.late", "ACM", "CM", "PCM", "WAKE"), "morning"),
    **dict.fromkeys(("NOON", "ACD", "CD", "PCD"), "noon"),
    **dict.fromkeys(("AFT", "AFT.early", "AFT.late"), "afternoon"),
    **dict.fromkeys(("EVE", "EVE.early", "EVE.late", "ACV", "CV", "PCV"), "evening"),
    **dict.fromkeys(("NIGHT", "PHS", "HS"), "night"),
}
_INTRATHECAL_ROUTE = "72607000"  # SNOMED CT, FHIR route-codes
NOT_ORAL = re.compile(r"intrathecal|epidural|\bpump\b", re.IGNORECASE)
SUCCESSOR = re.compile(r"\s*(?:and\s)?\s*(?:then|followed by|thereafter)\b", re.IGNORECASE)
_LEAST, _MOST = Decimal("0.000001"), Decimal(1_000_000)  # a value beyond these is an error of the sender


def daily_dose_mg(dosages: list[Dosage], medication_text: str, strength: Ratio | None = None) -> Decimal | None:
    """Return the mg on the day with the most; None where not stated or uncertain. Never raises.

    `medication_text` holds the names of the medication, one a line. It gives the strength where `strength` (of the single
    ingredient) doesn't, and the dose where no dosage says anything ("Quinine 300mg nocte"); a strength alone is no dose.
    """
    if NOT_ORAL.search(medication_text) or any(_is_intrathecal(d.route) for d in dosages):
        return None
    product = _product(medication_text, strength)
    stated = [d for d in dosages if _has_content(d)]
    if not stated:
        found = {r.daily for line in medication_text.splitlines() if (r := read(line, product, is_product=True)).daily}
        return _plain(found.pop()) if len(found) == 1 else None
    readings = [_dosage(d, product) for d in stated]
    dailies = [r.daily for r in readings if r.daily is not None]
    if len(dailies) < len(readings):
        return None
    if len(dailies) == 1:
        return _plain(dailies[0])
    how = _relation(stated, readings)
    return _plain(max(dailies) if how == "successive" else sum(dailies, Decimal(0))) if how else None


def _product(text: str, strength: Ratio | None) -> Product:
    lines = text.splitlines()
    strengths = {s for line in lines if (s := strength_mg(line)) is not None}
    concentrations = {c for line in lines if (c := concentration_mg_per_ml(line)) is not None}
    if strength is not None:
        mg = _mg(strength.numerator, Product())
        kind, per = _kind(strength.denominator) if strength.denominator else (Kind.FORM, Decimal(1))
        per = per if strength.denominator is None or strength.denominator.value is None else strength.denominator.value
        if mg is not None and kind in (Kind.FORM, Kind.MILLILITRES) and _usable(per):
            strengths, concentrations = ({mg / per}, set()) if kind is Kind.FORM else (set(), {mg / per})
    return Product(strengths.pop() if len(strengths) == 1 else None, concentrations.pop() if len(concentrations) == 1 else None)


def _has_content(dosage: Dosage) -> bool:
    return bool(dosage.text or dosage.patientInstruction or dosage.timing or dosage.maxDosePerPeriod or _quantities(dosage))


def _quantities(dosage: Dosage) -> list[Quantity | None]:
    """Return the dose quantities, of ranges the upper end (None where a range has none)."""
    rates = listed(dosage.doseAndRate)
    quantities = [dosage.doseQuantity, dosage.quantityQuantity, *(r.doseQuantity for r in rates)]
    ranges = [dosage.doseRange, *(r.doseRange for r in rates)]
    return [q for q in quantities if q is not None] + [r.high for r in ranges if r is not None]


def _dosage(dosage: Dosage, product: Product) -> Reading:
    """Read one dosage: its structure, completed and checked by its text."""
    quantities = _quantities(dosage)
    amounts = [mg for q in quantities if (mg := _mg(q, product)) is not None]
    if not amounts and not all(_is_readable(q) and _kind(q)[0] in (Kind.FORM, Kind.MILLILITRES) for q in quantities):
        return Reading()  # a dose in another unit: what the text says would be another dose
    amount = max(amounts, default=None)
    count, slots = _timing(dosage.timing)
    said = read(dosage.text or dosage.patientInstruction or "", product)
    if NOT_ORAL.search(dosage.text or ""):
        return Reading()
    daily = said.daily
    per_dose = said.amount if amount is None else amount
    times = said.count if count is None else count
    if per_dose is not None and times is not None and (daily is None or (per_dose, times) != (said.amount, said.count)):
        daily = max(per_dose * times, daily or Decimal(0))
    for ratio in listed(dosage.maxDosePerPeriod):
        cap = _cap(ratio, product)
        if cap is None:
            return Reading()
        daily = cap if daily is None else min(daily, cap)
    return Reading(daily, per_dose, times, slots or said.slots)


def _is_readable(quantity: Quantity | None) -> TypeGuard[Quantity]:
    return quantity is not None and _usable(quantity.value) and quantity.comparator in (None, "", "<", "<=")


def _mg(quantity: Quantity | None, product: Product) -> Decimal | None:
    if not _is_readable(quantity) or quantity.value is None:
        return None
    kind, mg = _kind(quantity)
    if kind is Kind.MASS:
        return quantity.value * mg
    if kind is Kind.MILLILITRES:
        return None if product.concentration is None else quantity.value * product.concentration
    bare = not (quantity.unit or quantity.code)
    if kind is not Kind.FORM or product.strength is None or (bare and quantity.value not in BARE_COUNTS):
        return None
    return quantity.value * product.strength


def _usable(value: Decimal | None) -> TypeGuard[Decimal]:
    return value is not None and value.is_finite() and _LEAST <= value <= _MOST


def _kind(quantity: Quantity) -> tuple[Kind | None, Decimal]:
    """Return (kind of the unit, mg in it): MASS, FORM or MILLILITRES; another kind or None for other units."""
    found: set[tuple[Kind, Decimal]] = set()
    for unit in (quantity.unit, quantity.code):
        kinds = {(t.kind, t.value) for t in tokens(unit or "") if t.kind is not Kind.WORD}
        if unit == "1":
            found.add((Kind.FORM, Decimal(0)))
        elif len(kinds) == 1:
            found |= kinds
    if not found and not (quantity.unit or quantity.code):
        return Kind.FORM, Decimal(0)
    return found.pop() if len(found) == 1 else (None, Decimal(0))


def _timing(timing: Timing | None) -> tuple[Decimal | None, frozenset[str]]:
    """Return (doses on a day, times of day); where a timing is ambiguous the most doses count."""
    if timing is None:
        return None, frozenset()
    counts: list[Decimal] = []
    slots: frozenset[str] = frozenset()
    for text in _strings(timing.code):
        said = read(text, Product())
        if said.count is not None:
            counts.append(said.count)
            slots |= said.slots
    repeat = timing.repeat
    if repeat is not None:
        events = {str(event) for event in listed(repeat.when)}
        known = {_EVENTS[event] for event in events if event in _EVENTS}
        clocks = {str(clock) for clock in listed(repeat.timeOfDay)}
        slots |= known | clocks
        counts += [Decimal(len(group)) for group in (events if len(known) == len(events) else set(), clocks) if group]
        often = _per_day(repeat)
        counts += [often] if often is not None else []
    return max(counts, default=None), slots


def _per_day(repeat: Repeat) -> Decimal | None:
    """Convert a frequency per period to doses on a day; with a period alone it is 1 (FHIR)."""
    hours = _HOURS.get((repeat.periodUnit or repeat.periodUnits or "").lower())
    period = Decimal(1) if repeat.period is None else repeat.period
    frequencies = [f for f in (repeat.frequency, repeat.frequencyMax) if f is not None]
    if hours is None or not _usable(period) or not all(_usable(f) for f in frequencies):
        return None
    if not frequencies and repeat.period is None:
        return None
    return per_day(max(frequencies, default=Decimal(1)), hours * period)


def _cap(ratio: Ratio, product: Product) -> Decimal | None:
    """Return the most mg on a day under a maximum per period; None where it can't be read."""
    most, period = _mg(ratio.numerator, product), ratio.denominator
    if most is None or period is None:
        return None
    hours = _HOURS.get((period.code or period.unit or "").lower())
    length = Decimal(1) if period.value is None else period.value
    return most * per_day(Decimal(1), hours * length) if hours is not None and _usable(length) else None


def _relation(dosages: Sequence[Dosage], readings: Sequence[Reading]) -> str:
    """Return how several dosages of one order relate: "successive", "concurrent" or "" where unclear."""
    sequences = [d.sequence for d in dosages]
    if _follow_one_another(dosages) or all(SUCCESSOR.match(d.text or "") for d in dosages[1:]):
        return "successive"
    if all(a.slots and b.slots and not a.slots & b.slots for a, b in combinations(readings, 2)):
        return "concurrent"
    if None in sequences:
        return ""
    if len(set(sequences)) == 1:
        return "concurrent"
    return "successive" if len(set(sequences)) == len(sequences) else ""


def _follow_one_another(dosages: Sequence[Dosage]) -> bool:
    repeats = [d.timing.repeat if d.timing else None for d in dosages]
    periods = sorted((p.start or "", p.end or "") for r in repeats if r is not None and (p := r.boundsPeriod) is not None)
    if len(periods) < len(dosages) or any(len(start) < 10 for start, _ in periods):
        return False
    return all(len(a[1]) >= 10 and a[1][:10] <= b[0][:10] for a, b in pairwise(periods))


def _strings(concept: CodeableConcept | None) -> list[str]:
    if concept is None:
        return []
    codings = listed(concept.coding)
    return [str(s) for s in (concept.text, *(c.code for c in codings), *(c.display for c in codings)) if s]


def _is_intrathecal(route: CodeableConcept | None) -> bool:
    return any(s == _INTRATHECAL_ROUTE or NOT_ORAL.search(s) for s in _strings(route))


def _plain(mg: Decimal) -> Decimal | None:
    """Return the dose without trailing zeros and exponent (30, 22.5); None above 1 kg a day."""
    if mg > _MOST:
        return None
    return mg.quantize(Decimal(1)) if mg == mg.to_integral_value() else mg.normalize()
