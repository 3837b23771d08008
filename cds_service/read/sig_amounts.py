"""Join the numbers and units of a dosage text to amounts: "10 mg", "2 tablets", "2 x 5 mg"."""

from __future__ import annotations

from decimal import Decimal

from cds_service.read.sig_words import Kind, Token

BARE_COUNTS = frozenset(map(Decimal, ("0.5", "1", "1.5", "2", "3", "4")))
TIMING = frozenset({Kind.COUNT, Kind.TIME_OF_DAY, Kind.DAY, Kind.PER_DAY, Kind.PERIOD, Kind.DIVIDED})
JOINED = TIMING | {Kind.AND, Kind.OR, Kind.TO}
_AFTER_BARE = JOINED | {Kind.COMMA, Kind.SLASH, Kind.MAX}


class UnreadableError(Exception):
    """A text can't be read with certainty."""


def amounts(step: list[Token]) -> list[Token]:
    """Replace numbers and their units by tokens of the kind AMOUNT.

    The name of an amount is its unit: "mg", "ml", "form" (tablets and capsules), "bare" (a number alone), or "product" for the mg
    in "10 mg tablet". Raises UnreadableError where a number or a unit is left over.
    """
    found: list[Token] = []
    rest = step[::-1]
    while rest:
        token = rest.pop()
        if token.kind is Kind.NUMBER:
            in_maximum = bool(found) and found[-1].kind is Kind.MAX
            amount = _amount(token, rest, any_bare=in_maximum)
            if _is_range(found, amount):
                found[-2:] = [max(found[-2], amount, key=lambda one: one.value)]
            else:
                found.append(amount)
        elif token.kind is Kind.SCHEME:
            found += _scheme(token, rest, after_amount=bool(found) and found[-1].kind is Kind.AMOUNT)
        elif token.kind in (Kind.MASS, Kind.MILLILITRES, Kind.TIMES, Kind.CONCENTRATION):
            raise UnreadableError
        else:
            found.append(token)
    return found


def _is_range(found: list[Token], amount: Token) -> bool:
    """Tell whether `amount` is the upper end of a range, as in "10 mg to 20 mg"."""
    before = [token.kind for token in found[-2:]]
    return before in ([Kind.AMOUNT, Kind.TO], [Kind.AMOUNT, Kind.OR]) and found[-2].name == amount.name


def _amount(number: Token, rest: list[Token], *, any_bare: bool = False) -> Token:
    """Read the amount that starts with `number`, taking its further tokens from the end of `rest`."""
    following = rest[-1].kind if rest else None
    second = rest[-2].kind if len(rest) > 1 else None
    if (following, second) in ((Kind.TIMES, Kind.NUMBER), (Kind.NUMBER, Kind.MASS)):  # 2 x 5 mg; one 10 mg tablet
        if following is Kind.TIMES:
            rest.pop()
        one = _amount(rest.pop(), rest)
        unit = {"product": "mg", "bare": "form"}.get(one.name, one.name)
        return Token(Kind.AMOUNT, number.value * one.value, unit, number.aside)
    if following is Kind.MASS:
        mg = number.value * rest.pop().value
        if rest and rest[-1].kind is Kind.FORM:
            rest.pop()
            return Token(Kind.AMOUNT, mg, "product", number.aside)
        return Token(Kind.AMOUNT, mg, "mg", number.aside)
    if following in (Kind.FORM, Kind.MILLILITRES):
        rest.pop()
        return Token(Kind.AMOUNT, number.value, "form" if following is Kind.FORM else "ml", number.aside)
    if (any_bare or number.value in BARE_COUNTS) and (following is None or following in _AFTER_BARE):
        return Token(Kind.AMOUNT, number.value, "bare", number.aside)
    raise UnreadableError


def _scheme(scheme: Token, rest: list[Token], *, after_amount: bool) -> list[Token]:
    """Read a scheme: 1-0-1 counts tablets, with a unit after it the day's amounts (5-0-10 mg)."""
    following = rest[-1].kind if rest else None
    if following in (Kind.MASS, Kind.FORM) and not after_amount:
        unit = rest.pop()
        total = scheme.value * unit.value if unit.kind is Kind.MASS else scheme.value
        return [Token(Kind.AMOUNT, total, "mg" if unit.kind is Kind.MASS else "form"), Token(Kind.COUNT, Decimal(1))]
    if scheme.name != "small" or following in (Kind.MASS, Kind.FORM, Kind.MILLILITRES, Kind.NUMBER):
        raise UnreadableError
    count = Token(Kind.COUNT, scheme.value)
    return [count] if after_amount else [Token(Kind.AMOUNT, Decimal(1), "form"), count]
