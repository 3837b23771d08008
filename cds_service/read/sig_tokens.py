"""Cut a dosage text into tokens.

By hand, because no package on the index returns "unknown" unless it is certain. A text that makes a dose uncertain, by a word or
by an ambiguous number, has no tokens at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

import msgspec

from cds_service.read.sig_plain import plain
from cds_service.read.sig_words import FORMS, MG_PER_UNIT, Kind, Token, word_token
from cds_service.short_cache import short_cache

MAX_LENGTH = 2_000  # characters; no dosage is that long, so longer texts are not read (bounds the time)
_SHORT = 120  # characters; only texts up to this length are remembered (bounds the memory)

ToToken = Callable[[str], Token]  # from the text that a pattern matched


class Pattern(NamedTuple):
    """How one kind of token is written."""

    token: ToToken
    regex: str
    example: str  # with what is matched in braces where that is not all of it


class Range(NamedTuple):
    """The ends of "4-6"; the same for a single number."""

    low: Decimal
    high: Decimal


def tokens(text: str, *, is_product: bool = False) -> tuple[Token, ...]:
    """Cut a dosage text into tokens; none where something in it makes every dose uncertain. Never raises.

    Their kinds are all but SKIPPED, UNCERTAIN, OPEN, CLOSE and AMOUNT. With `is_product` the text names a medication: "PM" or
    "OD" may be part of its brand.
    """
    if len(text) > MAX_LENGTH:
        return ()
    return (_remembered if len(text) <= _SHORT else _cut)(text, is_product)


def _cut(text: str, is_product: bool) -> tuple[Token, ...]:
    text = plain(text)
    if _AMBIGUOUS.search(text) or any(char.isnumeric() and char not in "0123456789" for char in text):
        return ()
    found: list[Token] = []
    depth = 0
    for pattern, matched in matches(text):
        token = pattern.token(matched)
        if token.kind is Kind.UNCERTAIN:
            return ()
        if token.kind is Kind.OPEN:
            depth += 1
        elif token.kind is Kind.CLOSE:
            depth = max(0, depth - 1)
        elif token.kind is not Kind.SKIPPED and not (is_product and matched in ("am", "pm", "od")):
            found.append(msgspec.structs.replace(token, aside=depth > 0))
    return tuple(found)


def matches(text: str) -> Iterator[tuple[Pattern, str]]:
    """Find the patterns in a text that was spelt by `plain`, from its start to its end, each with what it matches."""
    for match in _ALL.finditer(text):
        yield _BY_GROUP[match.lastgroup or ""], match[0]


# Names of medications and dosages repeat from refill to refill; cutting one costs 50 to 100 us.
_remembered = short_cache(1024)(_cut)


def per_day(times: Decimal, hours: Decimal) -> Decimal:
    """The most doses that fall on one day, where there are `times` in each period of `hours` (both > 0)."""
    return max((times * 24 / hours).to_integral_value(ROUND_CEILING), Decimal(1))


def _always(kind: Kind) -> ToToken:
    token = Token(kind)
    return lambda _: token


def _of_range(kind: Kind, value: Callable[[Range], Decimal]) -> ToToken:
    """Return a function that makes tokens with a value of the first range or number in a text."""

    def token(text: str) -> Token:
        stated = _A_RANGE.search(text)
        ends = [Decimal(number) for number in _A_NUMBER.findall(stated[0] if stated else "")]
        if not ends or ends[0] <= 0 or ends[-1] < ends[0]:
            return Token(Kind.UNCERTAIN)
        return Token(kind, value(Range(ends[0], ends[-1])))

    return token


def _clock(text: str) -> Token:
    return Token(Kind.TIME_OF_DAY, name=text)


def _maximum(text: str) -> Token:
    return Token(Kind.MAX, name="daily" if "daily" in text else "")


def _scheme(text: str) -> Token:
    parts = [Decimal(part) for part in text.split("-")]
    if not any(parts):
        return Token(Kind.UNCERTAIN)
    return Token(Kind.SCHEME, sum(parts, Decimal(0)), "small" if max(parts) <= 4 else "")


def _concentration(text: str) -> Token:
    stated = _A_CONCENTRATION.fullmatch(text)
    millilitres = Decimal(stated["millilitres"] or 1) if stated else Decimal(0)
    if not stated or not millilitres:
        return Token(Kind.UNCERTAIN)
    return Token(Kind.CONCENTRATION, Decimal(stated["amount"]) * MG_PER_UNIT[stated["unit"]] / millilitres)


_number = _of_range(Kind.NUMBER, lambda stated: stated.high)
_times_a_day = _of_range(Kind.COUNT, lambda stated: stated.high)
_times_a_week = _of_range(Kind.COUNT, lambda stated: per_day(stated.high, Decimal(7 * 24)))
_every_hours = _of_range(Kind.COUNT, lambda stated: per_day(Decimal(1), stated.low))
_skip = _always(Kind.SKIPPED)
_then = _always(Kind.THEN)
_period = _always(Kind.PERIOD)
_uncertain = _always(Kind.UNCERTAIN)

_NUMBER = r"(?:\d{1,6}(?:\.\d{1,4})?|(?<![a-z\d])\.\d{1,3})"
_RANGE = rf"{_NUMBER}(?: ?(?:-|to\b|or\b) ?{_NUMBER})?"
_DAY = r"(?:day|24 ?(?:hours|hrs|h))\b"
_SPAN = r"(?:days?|weeks?|wks?|months?)\b"
_TIMES = r"(?:times|time|x|×|doses?)"
_PER = r"(?: ?/ ?| a | per | each | every | in | ?)"
_MAX = r"(?:max(?:imum|imal)?\b\.?|(?:do )?not (?:to )?(?:exceed|take more than)|no(?:t)? more than)"
_SUPPLY = r"(?:\bdisp(?:ense)?\b|\bqty\b|\bquantity\b|\brefills?\b|#)"
_FORM = f"(?:{FORMS.replace(' ', '|')})"
_UNIT = f"(?:{'|'.join(MG_PER_UNIT)})"
_CONCENTRATION = rf"(?P<amount>{_NUMBER}) ?(?P<unit>{_UNIT}) ?(?:/|per|in) ?(?P<millilitres>{_NUMBER})? ?ml\b"
_AT_ONE_TIME = r"(?:nightly|at (?:night|bedtime)|(?:in the|every|each) (?:morning|evening|night))"

# The first one that matches counts. Each looks a bounded distance ahead; the longer reading stands before the shorter one.
PATTERNS = (
    Pattern(_skip, r"\d{4}-\d\d-\d\d\b", "2025-11-20"),
    Pattern(_skip, r"\bdo not (?:crush|chew|drive|drink|stop|break)\b", "do not crush"),
    Pattern(_skip, r"\bup to\b", "up to"),
    Pattern(_skip, r"\b(?:with|before) or\b", "{with or} without food"),
    Pattern(_skip, rf"{_SUPPLY}[ .:]{{0,2}}#?{_NUMBER}(?: {_FORM}\b)?", "disp #90 tablets"),
    Pattern(_skip, rf"\b1 times (?={_AT_ONE_TIME})", "{1 times }nightly"),
    Pattern(_maximum, rf"\b{_MAX}(?: ?(?:daily|dose|of|more|than)\b){{0,4}}", "maximum daily dose of"),
    Pattern(_scheme, r"(?<![\d./-])\d{1,3}(?:\.\d)?(?:-\d{1,3}(?:\.\d)?){2,3}(?![\d/-])", "1-0-1"),
    Pattern(_clock, r"\b\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]m\b)?", "08:30"),
    Pattern(_clock, r"\b\d{1,2} ?[ap]m\b", "8 am"),
    Pattern(_every_hours, rf"\b(?:every|each|q) ?{_RANGE} ?(?:hours?|hourly|hrs?|h)\b", "every 4-6 hours"),
    Pattern(_every_hours, rf"{_RANGE}[ -]?(?:hourly|hrly)\b", "6-hourly"),
    Pattern(_period, rf"\b(?:every|q) ?{_RANGE} ?(?:{_SPAN}|d\b)", "every 2 days"),
    Pattern(_period, r"\b(?:every|each) (?:other|second|third|2nd|3rd) (?:day|night|morning|evening)\b", "every other day"),
    Pattern(_period, r"\balternate (?:days|nights)\b", "alternate days"),
    Pattern(_period, r"(?:\bper |\ba |\bevery |\beach |\bq |/ ?)(?:week|wk|month)\b", "every week"),
    Pattern(_times_a_week, rf"{_RANGE}[ -]?{_TIMES}{_PER}(?:week|wk|weekly)\b", "2 times a week"),
    Pattern(_times_a_day, rf"{_RANGE}[ -]?{_TIMES}{_PER}(?:{_DAY}|daily\b)", "2-3 times a day"),
    Pattern(_times_a_day, rf"{_RANGE}[ -]?{_TIMES} ?/ ?d\b", "3 x/d"),
    Pattern(_times_a_day, rf"\bx ?{_RANGE}(?: ?daily\b|(?: ?/ ?| a | per ){_DAY}| ?/ ?d\b)", "x3 daily"),
    Pattern(_skip, rf"\b(?:for|x|×) ?(?:the )?(?:next )?{_RANGE}[ -]?(?:{_SPAN}|d\b)", "for the next 5 days"),
    Pattern(_skip, rf"{_RANGE}[ -]?{_SPAN}(?: course\b)?", "10 day course"),
    Pattern(_skip, r"\b\d{1,2}/(?:7|52|12)(?!\d)", "5/7"),
    Pattern(_then, rf"\b(?:days?|weeks?|wks?|step) ?{_RANGE}", "week 2"),
    Pattern(_then, r"\bfollowed by\b|->|→", "followed by"),
    Pattern(_always(Kind.DIVIDED), rf"\b(?:in )?(?:{_NUMBER} )?(?:divided|equal|separate)(?: doses)?\b", "in 3 divided doses"),
    Pattern(_always(Kind.DIVIDED), rf"\bin {_NUMBER} doses\b", "in 3 doses"),
    Pattern(_always(Kind.DAY), r"\bevery ?day\b|\beach day\b|\bq day\b", "every day"),
    Pattern(_always(Kind.PER_DAY), rf"(?:/ ?|\bper |\ba |\bin |\bwithin ){_DAY}|/ ?d\b", "in 24 hours"),
    Pattern(_concentration, _CONCENTRATION, "5 mg/5 ml"),
    Pattern(_uncertain, r"/ ?(?:kg|m2|min|h|hr|hour|dose)\b|\bper (?:kg|hour|minute|dose)\b", "/kg"),
    Pattern(word_token, r"(?!x\d)[^\W\d_]+\d[^\W_]*", "d3"),
    Pattern(_number, _RANGE, "1-2"),
    Pattern(word_token, r"[^\W\d_]+", "tablet"),
    Pattern(_always(Kind.OPEN), r"[(\[]", "("),
    Pattern(_always(Kind.CLOSE), r"[)\]]", ")"),
    Pattern(_always(Kind.AND), r"[+&]", "+"),
    Pattern(_always(Kind.SLASH), r"/", "/"),
    Pattern(_always(Kind.COMMA), r"[,;]", ","),
    Pattern(_always(Kind.TO), r"(?:(?<=[a-z])|(?<=[a-z] ))- ?(?=\d)", "5mg{-}10mg"),
    Pattern(_uncertain, r"\d|%", "%"),
)
_BY_GROUP = {f"p{n}": pattern for n, pattern in enumerate(PATTERNS)}
_ALL = re.compile("|".join(f"(?P<{group}>{pattern.regex})" for group, pattern in _BY_GROUP.items()))
_A_NUMBER = re.compile(_NUMBER)
_A_RANGE = re.compile(_RANGE)
_A_CONCENTRATION = re.compile(_CONCENTRATION)
# 1.000 and 1,000 are one or a thousand, by country; a number that long is not a dose
_AMBIGUOUS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?!\d)|\d{7}|\.\d{5}")
