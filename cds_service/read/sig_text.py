"""Read the daily dose from free text: "10 mg TID", "1-2 tabs q6h prn", "1-0-1", "5 mg in the morning and 10 mg at night".

Every number must have a meaning: a number that is left over, or a contradiction, makes the whole text unknown. Engineering
choices, all for a check against a ceiling: of a range the upper end counts ("1-2 tabs", "every 4-6 hours"), of steps ("then")
the highest, a stated maximum caps, and a dose that is not taken every day counts with what is taken on the day ("10 mg every
other day" is 10). A number without a unit is taken for tablets up to 4 ("1 bid"), above that it could be mg and is unknown.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import msgspec

from cds_service.read.sig_amounts import JOINED, TIMING, UnreadableError, amounts
from cds_service.read.sig_tokens import tokens
from cds_service.read.sig_words import Kind, Token


class Reading(msgspec.Struct, frozen=True, gc=False):
    """The dose in a text. `amount` (mg per dose) and `count` (doses on a day) are set for at most one dose."""

    daily: Decimal | None = None  # mg on the day with the most
    amount: Decimal | None = None
    count: Decimal | None = None
    slots: frozenset[str] = frozenset()  # times of day, "morning" or "08:00"


class Product(msgspec.Struct, frozen=True, gc=False):
    """The strength of a medication: mg per tablet or capsule, and mg/mL; None where not known."""

    strength: Decimal | None = None
    concentration: Decimal | None = None

    def mg(self, amount: Token) -> Decimal | None:
        """Return the mg in an amount; None where it needs an unknown strength."""
        if amount.name in ("mg", "product"):
            return amount.value
        factor = self.concentration if amount.name == "ml" else self.strength
        return None if factor is None else amount.value * factor


UNKNOWN = Reading()
_DOSE_KINDS = TIMING | {Kind.NUMBER, Kind.SCHEME}
_Part = tuple[Token, list[Token]]  # an amount and what follows it


def read(text: str, product: Product, *, is_product: bool = False) -> Reading:
    """Read a dosage text; `UNKNOWN` where any part of it can't be read with certainty. Never raises.

    With `is_product` the text names a medication and may hold its strength too.
    """
    steps: list[list[Token]] = [[]]
    for token in tokens(text, is_product=is_product):
        if token.kind is Kind.THEN:
            steps.append([])
        else:
            steps[-1].append(token)
    # a step without any number or time has no dose: "then stop", "then as needed"
    dosed = [s for s in steps if any(t.kind in _DOSE_KINDS for t in s)]
    try:
        readings = [_step(amounts(s), product) for s in dosed]
    except UnreadableError:
        return UNKNOWN
    if len(readings) == 1:
        return readings[0]
    dailies = [r.daily for r in readings if r.daily is not None]
    return Reading(daily=max(dailies)) if dailies and len(dailies) == len(readings) else UNKNOWN


def strength_mg(text: str) -> Decimal | None:
    """Return the mg per tablet or capsule in a name ("baclofen 10 MG Oral Tablet"); None unless exactly one."""
    found = tokens(text, is_product=True)
    masses = [n for n, t in enumerate(found) if t.kind is Kind.MASS]
    if len(masses) != 1 or any(t.kind in (Kind.CONCENTRATION, Kind.MILLILITRES) for t in found):
        return None
    n = masses[0]
    two_before, before, after = (found[at].kind if 0 <= at < len(found) else None for at in (n - 2, n - 1, n + 1))
    if before is not Kind.NUMBER or two_before in (Kind.NUMBER, Kind.TIMES, Kind.SLASH) or after in (Kind.SLASH, Kind.PER_DAY):
        return None  # 2 x 10 mg, 50 mg/actuation, 5 mg/24 h
    return found[n - 1].value * found[n].value


def concentration_mg_per_ml(text: str) -> Decimal | None:
    """Return the mg/mL in a name ("5 mg/5 mL oral solution"); None unless exactly one."""
    found = [t.value for t in tokens(text, is_product=True) if t.kind is Kind.CONCENTRATION]
    return found[0] if len(found) == 1 else None


def _step(elements: list[Token], product: Product) -> Reading:
    """Read one step, the part between two "then"."""
    elements, caps = _caps(elements)
    starts = [n for n, e in enumerate(elements) if e.kind is Kind.AMOUNT]
    if not starts:
        count, slots = _timing(elements)
        return _capped(Reading(count=count, slots=slots), caps, "", product)
    leading = elements[: starts[0]]
    parts = [(elements[a], elements[a + 1 : b]) for a, b in pairwise([*starts, len(elements)])]
    parts, product = _merged(parts, product)
    name = parts[0][0].name
    if len(parts) == 1:
        amount, following = parts[0]
        count, slots = _timing(leading + following)
        # without a time "10 mg tablet" is the strength, not a dose
        mg = None if count is None and name == "product" else product.mg(amount)
        daily = mg * count if mg is not None and count is not None else None
        return _capped(Reading(daily, mg, count, slots), caps, name, product)
    if any(e.kind in TIMING for e in leading):  # "morning 5 mg, night 10 mg"
        if any(e.kind in TIMING for e in parts[-1][1]):
            raise UnreadableError
        timings = [leading, *(following for _, following in parts[:-1])]
        parts = [(amount, timing) for (amount, _), timing in zip(parts, timings, strict=True)]
    return _capped(_sum(parts, any(e.kind is Kind.AND for e in elements), product), caps, name, product)


def _sum(parts: list[_Part], has_and: bool, product: Product) -> Reading:
    """Add several doses at different times of the day."""
    total = Decimal(0)
    seen: frozenset[str] = frozenset()
    without_slot = 0
    for amount, timing in parts:
        count, slots = _timing(timing)
        mg = product.mg(amount)
        if count is None or mg is None or slots & seen:
            raise UnreadableError
        without_slot += not slots
        seen |= slots
        total += mg * count
    if without_slot > 1 or (without_slot and not has_and):
        raise UnreadableError  # "10 mg daily, 10 mg TID" may be two steps; "10 mg bid and 20 mg at night" is a sum
    return Reading(daily=total, slots=seen)


def _merged(parts: list[_Part], product: Product) -> tuple[list[_Part], Product]:
    """Join amounts that state the same dose twice: "10 mg (1 tablet)", "10 mg tablets, 2", "3 tablets (6 mg)"."""
    result = [parts[0]]
    for amount, following in parts[1:]:
        first, between = result[-1]
        if any(e.kind in JOINED for e in between) and not amount.aside:
            result.append((amount, following))
            continue
        if first.name == "mg" and amount.aside and not first.aside:
            total = product.mg(amount)
            if len(parts) == 2 and total not in (None, first.value):
                raise UnreadableError
            amount = first
        elif first.name == "product" and amount.name in ("form", "bare"):
            product = Product(first.value, product.concentration)
        elif {first.name, amount.name} == {"mg", "form"}:
            amount = _total(*((first, amount) if first.name == "mg" else (amount, first)), product.strength)
        elif first.name != "ml" or amount.name != "mg" or product.mg(first) not in (None, amount.value):
            raise UnreadableError
        result[-1] = (amount, between + following)
    return result, product


def _total(mass: Token, form: Token, strength: Decimal | None) -> Token:
    """Resolve "10 mg, 2 tablets" by the strength: two tablets of 10 mg, or 10 mg in two tablets."""
    if mass.value == form.value * strength if strength is not None else form.value == 1:
        return mass
    if strength == mass.value:
        return Token(Kind.AMOUNT, mass.value * form.value, "mg")
    raise UnreadableError


def _timing(elements: list[Token]) -> tuple[Decimal | None, frozenset[str]]:
    """Return (doses per day or None where not stated, times of day)."""
    kinds = [e.kind for e in elements]
    groups, slots = _slots(elements)
    counts = _counts(elements)
    if Kind.DIVIDED in kinds:  # the amount is the day's
        if not (counts or slots or Kind.DAY in kinds or Kind.PER_DAY in kinds):
            raise UnreadableError
        return Decimal(1), slots
    if len(counts) > 1 or (counts and groups and counts != {Decimal(groups)}):
        raise UnreadableError
    count = next(iter(counts)) if counts else Decimal(groups)
    early_day = Kind.DAY in kinds and Kind.COUNT not in kinds[: kinds.index(Kind.DAY)]
    if count > 1 and (Kind.PER_DAY in kinds or early_day):
        raise UnreadableError  # "30 mg/day tid", "10 mg daily tid": is the day's dose 10 or 30?
    if count == 0:
        return (Decimal(1) if not {Kind.DAY, Kind.PER_DAY, Kind.PERIOD}.isdisjoint(kinds) else None), slots
    return count, slots


def _counts(elements: list[Token]) -> set[Decimal]:
    """Return the stated doses per day; "bid to tid" is the larger, an unresolved "or" is unreadable."""
    counts: list[Decimal] = []
    kinds = [None, None, *(e.kind for e in elements), None]
    for n, e in enumerate(elements):
        two_before, before, after = kinds[n], kinds[n + 1], kinds[n + 3]
        if e.kind is Kind.COUNT:
            if before in (Kind.TO, Kind.OR) and two_before is Kind.COUNT:
                counts[-1] = max(counts[-1], e.value)
            else:
                counts.append(e.value)
        elif e.kind in (Kind.TO, Kind.OR):
            open_end = after is None or after in TIMING or (e.kind is Kind.OR and (before is None or before in TIMING))
            if open_end and (before, after) != (Kind.COUNT, Kind.COUNT):
                raise UnreadableError
    return set(counts)


def _slots(elements: list[Token]) -> tuple[int, frozenset[str]]:
    """Return (number of times of day, their names); adjacent words ("every night at bedtime") name one."""
    groups: list[set[str]] = []
    between = True
    for e in elements:
        if e.kind is Kind.TIME_OF_DAY:
            if between:
                groups.append(set())
            groups[-1].add(e.name)
        between = e.kind in (Kind.AND, Kind.COMMA, Kind.SLASH) or (between and e.kind is not Kind.TIME_OF_DAY)
    for group in groups:
        clocks = {name for name in group if name[0].isdigit()}
        if len(clocks) > 1 or (len(group - clocks) > 1 and group - clocks != {"evening", "night"}):
            raise UnreadableError
    distinct = {frozenset(group) for group in groups}
    return len(distinct), frozenset().union(*distinct)


def _caps(elements: list[Token]) -> tuple[list[Token], list[Token]]:
    """Split elements into (others, maxima of a day: "max 30 mg/day", "not more than 3 times daily")."""
    rest: list[Token] = []
    caps: list[Token] = []
    queue = elements[::-1]
    while queue:
        e = queue.pop()
        if e.kind is not Kind.MAX:
            rest.append(e)
            continue
        cap = queue.pop() if queue else e
        of_a_day = cap.kind is Kind.COUNT or e.name == "daily" or (bool(queue) and queue[-1].kind in (Kind.DAY, Kind.PER_DAY))
        if cap.kind not in (Kind.AMOUNT, Kind.COUNT) or not of_a_day:
            raise UnreadableError
        if cap.kind is Kind.AMOUNT and queue and queue[-1].kind in (Kind.DAY, Kind.PER_DAY):
            queue.pop()
        caps.append(cap)
    return rest, caps


def _capped(reading: Reading, caps: list[Token], name: str, product: Product) -> Reading:
    """Cap the daily dose at the stated maxima; `name` is the unit of the doses."""
    daily = reading.daily
    for cap in caps:
        if cap.kind is Kind.COUNT:
            most = None if reading.amount is None else reading.amount * cap.value
        else:
            most = None if cap.name == "bare" and name not in ("form", "bare") else product.mg(cap)
        if most is None:
            raise UnreadableError
        daily = most if daily is None else min(daily, most)
    return Reading(daily, reading.amount, reading.count, reading.slots)
