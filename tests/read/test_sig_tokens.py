"""The patterns and spellings of dosage texts, each with its own example, and words that make a text unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir.resources import Dosage
from cds_service.read.daily_dose import daily_dose_mg
from cds_service.read.sig_plain import REWRITES, Rewrite, plain
from cds_service.read.sig_tokens import PATTERNS, Pattern, matches, tokens
from cds_service.read.sig_words import GERMAN_AND_FRENCH, Kind


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.example)
def test_the_example_of_a_pattern_is_matched_by_it_and_by_no_pattern_before_it(pattern: Pattern) -> None:
    before, _, rest = pattern.example.rpartition("{")
    matched, _, after = rest.partition("}")
    assert (pattern, matched) in matches(before + matched + after)


def test_every_kind_of_token_has_a_pattern_or_a_word() -> None:
    made = {pattern.token(pattern.example.strip("{}")).kind for pattern in PATTERNS}
    words = {token.kind for token in tokens("daily or to x mg tablet ml 8 am qid then weekly")}
    assert made | words | {Kind.AMOUNT} == set(Kind), "amounts are made of tokens"


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.before)
def test_the_example_of_a_rewrite_is_rewritten(rewrite: Rewrite) -> None:
    assert rewrite.pattern.sub(rewrite.replacement, rewrite.before) == rewrite.after


def test_rewrites_are_made_one_after_the_other() -> None:
    assert plain("Take  ONE AND A HALF tablets T.I.D.") == "take 1.5 tablets tid"


@given(
    st.sampled_from(GERMAN_AND_FRENCH.split()),
    st.sampled_from(["10 mg tid", "1-0-1", "1 tablet twice daily", "10 mg at night", "max 30 mg/day"]),
    st.booleans(),
)
def test_a_german_or_french_word_makes_a_text_unknown(word: str, sig: str, first: bool) -> None:
    assert daily_dose_mg([Dosage(text=sig)], "baclofen 10 MG Oral Tablet") is not None
    text = f"{word} {sig}" if first else f"{sig}, {word.upper()}"
    assert tokens(text) == ()
    assert daily_dose_mg([Dosage(text=text)], "baclofen 10 MG Oral Tablet") is None
