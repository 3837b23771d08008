"""Groups, by the tables of Kleene's logic: met, unmet, and unknown for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.criteria.findings import Truth
from tests.core import facts, finding
from tests.criterion import (
    CRAMP,
    LOW,
    NOT_OBTAINED,
    QUININE,
    REACTION,
    said,
)

TRUTHS = {"MET": "ICD10#R25.2 Cramp", "UNMET": "source problems: null", "UNKNOWN": "source problems: error"}

OTHERS = {"MET": "allergy: quinine", "UNMET": "source allergies: null", "UNKNOWN": "source allergies: error"}


@pytest.mark.parametrize("one", TRUTHS)
@pytest.mark.parametrize("two", OTHERS)
def test_groups_follow_the_tables_of_kleene(one: str, two: str) -> None:
    given = facts(TRUTHS[one], OTHERS[two])
    truths = [Truth[one], Truth[two]]

    def truth(group: dict[str, Any]) -> Truth:
        return finding(group, given, one=CRAMP, two=REACTION).truth

    assert truth({"kind": "any", "of": ["one", "two"]}) is max(truths)
    assert truth({"kind": "all", "of": ["one", "two"]}) is min(truths)
    assert truth({"kind": "all", "of": ["one"], "none_of": ["two"]}) is min(truths[0], Truth(2 - truths[1]))


def test_a_group_holds_the_evidence_of_all_that_is_met_and_none_of_what_must_not_be() -> None:
    given = facts("ICD10#R25.2 Cramp", "allergy: quinine", "takes: baclofen 10 mg")
    found = finding({"kind": "any", "of": ["one", "two"]}, given, one=CRAMP, two=REACTION)
    assert [type(item).__name__ for item in found.evidence] == ["Problem", "Allergy"]
    found = finding({"kind": "all", "of": ["one", "two"], "none_of": ["three"]}, given, one=CRAMP, two=REACTION, three=QUININE)
    assert [type(item).__name__ for item in found.evidence] == ["Problem", "Allergy"]


def test_data_that_did_not_arrive_is_not_hidden_behind_data_that_is_not_recorded() -> None:
    given = facts("source problems: error")
    for members in (["potassium", "cramp"], ["cramp", "potassium"]):
        for kind in ("any", "all"):
            assert said(finding({"kind": kind, "of": members}, given, potassium=LOW, cramp=CRAMP)) == NOT_OBTAINED
