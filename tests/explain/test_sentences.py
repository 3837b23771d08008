"""What a reviewer reads: a sentence for each kind of criterion, made from the data that is evaluated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cds_service.criteria.kinds import Criterion
from cds_service.explain.sentences import Sentences, unknown_policy
from cds_service.knowledge.card_file import CardFile, Row
from tests.core import Json, a_card, knowledge
from tests.reading import terminology

LAB = {"kind": "lab", "analyte": "potassium", "within_days": 30}
LOW = LAB | {"below": 3.5, "unit": "mmol/L"}
DRUG = {"kind": "drug", "classes": ["quinine"]}
ORDER = {"kind": "order", "classes": ["baclofen"]}
REASON = {"kind": "reason", "patterns": ["malaria_reason"], "sets": ["babesiosis"]}


def sentences(**criteria: Json) -> Sentences:
    return Sentences(msgspec.convert(criteria, dict[str, Criterion]), terminology())


@pytest.mark.parametrize(
    ("criterion", "sentence"),
    [
        (LOW, "potassium below 3.5 mmol/L, at most 30 days old"),
        (LAB | {"at_most": 2.50, "unit": "mmol/L"}, "potassium of at most 2.5 mmol/L, at most 30 days old"),
        (LAB | {"above": 5.5, "unit": "mmol/L"}, "potassium above 5.5 mmol/L, at most 30 days old"),
        (LOW | {"at_least": 3.0}, "potassium below 3.5 mmol/L and of at least 3.0 mmol/L, at most 30 days old"),
        (LAB | {"missing": True}, "no potassium in the last 30 days"),
        (LOW | {"within_days": 365, "older_than_days": 30}, "potassium below 3.5 mmol/L, 31 to 365 days old"),
        (
            LOW | {"preliminary": "accepted"},
            "potassium below 3.5 mmol/L, results that are not confirmed included, at most 30 days old",
        ),
        (LOW | {"preliminary": "only"}, "potassium below 3.5 mmol/L, in a result that is not confirmed, at most 30 days old"),
        (
            LOW | {"below_reference_range": True},
            "potassium below 3.5 mmol/L (and below the laboratory's own limit, where it sent one), at most 30 days old",
        ),
        (LOW | {"haemolysed": True}, "potassium below 3.5 mmol/L in a haemolysed sample, at most 30 days old"),
        (LOW | {"haemolysed": False}, "potassium below 3.5 mmol/L in a sample that is not haemolysed, at most 30 days old"),
        (LOW | {"sampling": "pre-dialysis"}, "potassium below 3.5 mmol/L taken pre dialysis, at most 30 days old"),
        (LAB, "potassium, at most 30 days old"),
        (DRUG, "takes quinine"),
        (DRUG | {"classes": ["quinine", "baclofen", "digoxin"]}, "takes quinine, baclofen or digoxin"),
        (DRUG | {"drafts": False}, "takes quinine (the drafts of this session not counted)"),
        (DRUG | {"route": "oral"}, "takes quinine (oral)"),
        (DRUG | {"started_after": "egfr"}, "takes quinine started after the newest eGFR"),
        (DRUG | {"started_more_than_days_ago": 3}, "takes quinine, more than 3 days ago"),
        ({"kind": "problem", "sets": ["malaria", "babesiosis"]}, "an active problem: malaria or babesiosis"),
        ({"kind": "allergy", "classes": ["quinine"]}, "an allergy or earlier reaction to quinine"),
        ({"kind": "age", "below": 18}, "under 18 years"),
        ({"kind": "age", "at_least": 65}, "65 years or older"),
        ({"kind": "age", "at_least": 16, "below": 65}, "under 65 years and 16 years or older"),
        (ORDER, "an order for baclofen"),
        (ORDER | {"action": "stop"}, "an order that stops or pauses baclofen"),
        (ORDER | {"action": "switch"}, "an order that replaces baclofen by another drug"),
        (ORDER | {"route": "intrathecal"}, "an order for baclofen (intrathecal)"),
        (ORDER | {"code_disagrees": True}, "an order for baclofen whose code means another drug than its text"),
        (ORDER | {"not_routes": ["injection", "rectal"]}, "an order for baclofen (not by injection or rectal)"),
        (
            {"kind": "order", "classes": ["muscle_relaxant"], "ingredients": ["orphenadrine", "methocarbamol"]},
            "an order for orphenadrine or methocarbamol",
        ),
        (
            DRUG | {"drafts": False, "same_as_order": True},
            "takes quinine with the same active ingredient as the order (the drafts of this session not counted)",
        ),
        ({"kind": "reason", "stated": True}, "the order states a reason"),
        ({"kind": "dose", "above": 30}, "an ordered daily dose above 30 mg/day"),
        ({"kind": "dose", "at_least": 20}, "an ordered daily dose of at least 20 mg/day"),
        (REASON, "the reason of the order says malaria or is coded as babesiosis"),
        (
            REASON | {"of": "order or medication", "of_classes": ["quinine"]},
            "the reason of an order or an active medication of quinine says malaria or is coded as babesiosis",
        ),
        ({"kind": "hook", "hooks": ["order-select", "order-sign"]}, "the moment is order-select or order-sign"),
        ({"kind": "jurisdiction", "country": "GB"}, "the site is in GB"),
    ],
)
def test_a_criterion_is_said_in_a_sentence(criterion: Json, sentence: str) -> None:
    assert sentences(it=criterion).of("it") == sentence


def test_a_group_is_called_by_its_name_and_its_meaning_is_said_apart() -> None:
    say = sentences(
        low_potassium=LOW,
        quinine=DRUG,
        child={"kind": "age", "below": 18},
        us={"kind": "jurisdiction", "country": "US"},
        some_of_it={"kind": "any", "of": ["low_potassium", "child"]},
        all_of_it={"kind": "all", "of": ["us", "some_of_it"], "none_of": ["quinine", "child"]},
    )
    assert say.of("some_of_it") == "'some of it'"
    assert say.meaning("some_of_it") == "any of: potassium below 3.5 mmol/L, at most 30 days old; under 18 years"
    assert say.meaning("all_of_it") == "the site is in US and 'some of it', and not takes quinine, and not under 18 years"


def test_a_row_is_said_with_its_conditions() -> None:
    say = sentences(quinine=DRUG, child={"kind": "age", "below": 18}, us={"kind": "jurisdiction", "country": "US"})
    row: dict[str, Any] = {"indicator": "info", "summary": "x"}
    assert say.row(Row(**row)) == "always"
    assert (
        say.row(Row(**row, when=["quinine", "us"], unless=["child"]))
        == "takes quinine and the site is in US, unless under 18 years"
    )


def test_policies_for_unknowns_are_said() -> None:
    policies: Json = {"on_unknown": {"a": "say_so", "b": "stay_silent", "c": "carry_on"}, "on_missing": {"a": "say_so"}}
    assert unknown_policy(msgspec.convert(a_card(**policies), CardFile)) == [
        "'a' could not be looked up or read: the card says that it could not check",
        "'b' could not be looked up or read: the card stays silent",
        "'c' could not be looked up or read: the card goes on as if it were not met, and says so",
        "'a' has nothing on record: the card says that it could not check",
    ]


def test_every_number_of_a_criterion_is_in_its_sentence() -> None:
    say = Sentences(knowledge().criteria, terminology())
    for name, criterion in knowledge().criteria.items():
        if not criterion.children:
            for field in ("below", "at_most", "above", "at_least", "within_days"):
                value = getattr(criterion, field, None)
                if field == "at_least" and value == 0:
                    assert "any " in say.of(name)  # nothing is compared: there is a result
                elif value is not None:
                    assert str(value) in say.of(name), (name, field)
