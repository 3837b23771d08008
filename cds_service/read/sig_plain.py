"""Normalise a dosage text: lower case, numbers as digits with a decimal point, fractions as decimals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_CHARACTERS = str.maketrans({"µ": "u", "μ": "u", "–": "-", "—": "-", "‑": "-", "−": "-", "½": " 1/2", "¼": " 1/4", "¾": " 3/4"})
_ONE_TO_TWELVE = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_ONE_TO_TWELVE, 1)} | {
    "fifteen": "15",
    "twenty": "20",
    "thirty": "30",
    "once": "1 times",
    "twice": "2 times",
    "thrice": "3 times",
}
_A_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b")


class Rewrite(NamedTuple):
    """One spelling that is replaced by another."""

    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    before: str  # an example
    after: str  # what the pattern makes of it


# In this order: "one half" before "one", "one" before "1 and 1/2".
REWRITES = (
    Rewrite(re.compile(r"\b[a-z](?:\.[a-z])+\b\.?"), lambda match: match[0].replace(".", ""), "10 mg q.i.d.", "10 mg qid"),
    Rewrite(re.compile(r"\b(?:(?:one|an?)[ -])?half\b(?: (?:of )?an?\b)?"), "1/2", "one half of a tablet", "1/2 tablet"),
    Rewrite(_A_NUMBER_WORD, lambda match: _NUMBER_WORDS[match[0]], "two twice daily", "2 2 times daily"),
    Rewrite(re.compile(r"\b(\d{1,3}) ?\(\1\)"), r"\1", "3 (3) times a day", "3 times a day"),
    Rewrite(re.compile(r"\b(q?[od]d|daily|bd|bid|tid|tds)-(?=bid|tid|tds|qid|qds)"), r"\1 to ", "bid-tid", "bid to tid"),
    Rewrite(re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])"), " ", "four-times-daily", "four times daily"),
    Rewrite(re.compile(r"(?<=\d),(?=\d{1,2}(?!\d))|(?<=\b0),(?=\d)"), ".", "7,5 or 0,125 mg", "7.5 or 0.125 mg"),
    Rewrite(re.compile(r"\ban? (?=tab|cap|pill)"), "1 ", "a tablet", "1 tablet"),
    Rewrite(re.compile(r"(?<![\d/.-])(\d)(?: and |[ -]) ?1/2(?![\d/]| ?-)"), r"\1.5", "1 and 1/2 tablets", "1.5 tablets"),
    Rewrite(re.compile(r"(?<![\d/.])1/2(?![\d/])"), "0.5", "1/2 tablet", "0.5 tablet"),
    Rewrite(re.compile(r"(?<![\d/.])1/4(?![\d/])"), "0.25", "1/4 tablet", "0.25 tablet"),
    Rewrite(re.compile(r"(?<![\d/.])3/4(?![\d/])"), "0.75", "3/4 tablet", "0.75 tablet"),
    Rewrite(re.compile(r"(?<=\d) ?- ?(?=\d)"), "-", "1 - 2 tabs", "1-2 tabs"),
)


def plain(text: str) -> str:
    """Rewrite a dosage text with one space between words, digits for number words, and decimals for fractions."""
    text = " ".join(text.translate(_CHARACTERS).lower().split())
    for rewrite in REWRITES:
        text = rewrite.pattern.sub(rewrite.replacement, text)
    return text
