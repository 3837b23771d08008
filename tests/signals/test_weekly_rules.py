"""Codes, shares and comments of a week."""

from __future__ import annotations

import pytest

from cds_service.signals.codes import Code, Counted, new_codes, vanished_codes
from cds_service.signals.comments import angry
from cds_service.signals.weekly_shares import dropped, held_by_one

POTASSIUM = Code("lab", "http://loinc.org", "2823-3", known=True)
OWN = Code("lab", "https://a.example/lab", "K-7", known=False)


def test_a_code_that_nobody_understands_is_new_once() -> None:
    before = Counted(400, {POTASSIUM: 300})
    assert list(new_codes(Counted(100, {OWN: 12, POTASSIUM: 80}), before)) == [(OWN, 12)]
    assert list(new_codes(Counted(100, {OWN: 9}), before)) == []
    assert list(new_codes(Counted(100, {OWN: 12}), Counted(400, {OWN: 1}))) == []
    assert list(new_codes(Counted(100, {POTASSIUM: 12}), Counted(400, {}))) == []


def test_a_code_has_vanished_where_its_calls_still_come() -> None:
    before = Counted(400, {POTASSIUM: 300, OWN: 300})
    assert list(vanished_codes(Counted(100, {}), before)) == [(POTASSIUM, 75.0)]
    assert list(vanished_codes(Counted(5, {}), before)) == []  # the client hardly calls: that is another signal
    assert list(vanished_codes(Counted(100, {POTASSIUM: 1}), before)) == []
    assert list(vanished_codes(Counted(100, {}), Counted(400, {POTASSIUM: 39}))) == []


def test_shares_that_fell() -> None:
    assert dropped(5, 100, 200, 400, 10) == pytest.approx(8.2, abs=0.2)
    assert dropped(45, 100, 200, 400, 10) is None
    assert dropped(0, 5, 200, 400, 10) is None
    assert dropped(5, 100, 0, 0, 10) is None
    assert dropped(8_900, 10_000, 38_000, 40_000, 10) is None  # six points: seen, and not worth a look


def test_one_user_with_most() -> None:
    assert held_by_one([30, 5, 5]) == 0.75
    assert held_by_one([20, 20]) is None
    assert held_by_one([10, 1]) is None
    assert held_by_one([]) is None


def test_angry_comments() -> None:
    said = [
        "This is WRONG, patient has no malaria",
        "why again??",
        "STOP showing THIS",
        "patient informed",
        "will check on Monday",
    ]
    assert angry(said) == 3
    assert angry(["stopped quinine yesterday", "Nonstop cramps"]) == 0
