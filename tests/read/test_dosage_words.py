"""Without its unknown words, a dosage is read as before, and says nothing of people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.read.dosage_words import DosageWords
from cds_service.read.sig_text import Product, read
from cds_service.read.sig_tokens import PATTERNS
from cds_service.short_cache import forget_all
from tests.reading import terminology
from tests.replay.truth_calls import NAME

WORDS = DosageWords(terminology())
_PARTS = st.sampled_from(
    [one.example.replace("{", "").replace("}", "") for one in PATTERNS]
    + ["take", "10 mg", "TID", "for", NAME, "ask Dr Smith", "inhale", "via pump", "maximal", "täglich", "p.r.n.", "as needed"]
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Take 1 tablet at bedtime for Anna", "Take 1 tablet at bedtime for zzzz"),
        ("10 mg TID", "10 mg TID"),
        ("maximal 30 mg daily, says Smith", "maximal 30 mg daily, zzzz zzzzz"),
        ("inhale 2 puffs", "inhale 2 zzzzz"),
    ],
)
def test_only_unknown_words_are_taken_out(text: str, masked: str) -> None:
    assert WORDS.masked(text) == masked


@given(st.lists(_PARTS, min_size=1, max_size=8).map(" ".join))
def test_a_dosage_is_read_as_before(text: str) -> None:
    masked = WORDS.masked(text)
    assert masked is not None
    assert len(masked) == len(text)
    assert NAME not in masked
    assert read(masked, Product()) == read(text, Product())
    assert terminology().route_words(masked) == terminology().route_words(text)


def test_no_dosage_is_remembered_for_longer_than_a_minute() -> None:
    words = DosageWords(terminology())
    words.masked("Take 1 tablet at bedtime for Anna")
    forget_all()
    assert words.masked.cache_info().currsize == 0  # type: ignore[attr-defined]
