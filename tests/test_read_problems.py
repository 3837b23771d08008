from __future__ import annotations

import pytest

from cds_service.facts import Allergy, Problem
from tests.reading import OURS, SNOMED, Json, bundle, concept, condition, facts, observation, without


def problems(*resources: Json) -> tuple[Problem, ...]:
    return facts(problems=bundle(*resources)).problems


def allergies(**fields: object) -> tuple[Allergy, ...]:
    return facts(allergies=bundle({"resourceType": "AllergyIntolerance", "id": "a1", "patient": OURS, **fields})).allergies


def test_an_active_condition_is_read_with_all_that_a_card_shows() -> None:
    (found,) = problems(condition(text="Cramp and spasm", onsetDateTime="2025-11-20", recordedDate="2025-11-25"))
    assert found.sets == {"muscle_cramp"}
    assert (found.text, found.code) == ("Cramp and spasm", "http://hl7.org/fhir/sid/icd-10-cm|R25.2")
    assert (found.reference, found.source) == ("Condition/c1", "problems")
    assert found.onset is not None
    assert found.onset.day == "2025-11-20"


@pytest.mark.parametrize(
    ("times", "day"),
    [
        ({"onsetPeriod": {"start": "2025-10-01"}, "recordedDate": "2025-11-25"}, "2025-10-01"),
        ({"recordedDate": "2025-11-25"}, "2025-11-25"),
        ({"assertedDate": "2025-11-24"}, "2025-11-24"),
        ({"dateRecorded": "2025-11-23"}, "2025-11-23"),
    ],
)
def test_the_onset_comes_before_the_date_of_the_record(times: Json, day: str) -> None:
    (found,) = problems(condition(**times))
    assert found.onset is not None
    assert found.onset.day == day


@pytest.mark.parametrize("status", ["active", "recurrence", "relapse"])
def test_a_condition_counts_while_it_is_active(status: str) -> None:
    assert problems(condition(clinicalStatus=concept(status)))
    assert problems(condition(clinicalStatus=status))


@pytest.mark.parametrize("status", ["inactive", "remission", "resolved"])
def test_a_condition_that_is_over_does_not_count(status: str) -> None:
    assert problems(condition(clinicalStatus=concept(status))) == problems(condition(clinicalStatus=status)) == ()


@pytest.mark.parametrize("status", ["refuted", "entered-in-error", "differential"])
def test_a_condition_that_is_wrong_or_a_question_does_not_count(status: str) -> None:
    assert problems(condition(verificationStatus=concept(status))) == problems(condition(verificationStatus=status)) == ()


@pytest.mark.parametrize("status", ["confirmed", "unconfirmed", "provisional"])
def test_a_condition_that_may_be_true_counts(status: str) -> None:
    assert problems(condition(verificationStatus=concept(status)))


@pytest.mark.parametrize(
    "end",
    [{"abatementDateTime": "2025-01-01"}, {"abatementBoolean": True}, {"abatementString": "spring"}, {"abatementPeriod": {}}],
)
def test_without_a_status_a_condition_is_active_until_it_abates(end: Json) -> None:
    unstated = without(condition(), "clinicalStatus")
    assert problems(unstated)
    assert problems({**unstated, "abatementBoolean": False})
    assert problems({**unstated, **end}) == ()


def test_a_condition_that_no_card_knows_is_left_out() -> None:
    assert problems(condition("J06.9", text="Common cold")) == ()


@pytest.mark.parametrize(("text", "found"), [("Nocturnal leg cramps", True), ("Menstrual cramps", False), ("Back pain", False)])
def test_a_condition_with_a_text_only_counts_where_the_text_says_cramps(text: str, found: bool) -> None:
    assert ["muscle_cramp" in one.sets for one in problems(condition("", text=text))] == ([True] if found else [])


def test_the_name_of_a_condition_is_searched_for_what_no_code_says() -> None:
    (named,) = problems(condition(text="Exercise-associated muscle cramps"))
    (other,) = problems(condition(text="Cramp and spasm"))
    assert ("exercise_cramp" in named.patterns, "exercise_cramp" in other.patterns) == (True, False)


def test_the_code_counts_more_than_the_text() -> None:
    assert problems(condition("M62.830", text="Muscle cramp of back")) == ()


def pregnancy_status(value: str, **more: object) -> Json:
    status = without(observation("82810-3"), "valueQuantity")
    return {**status, "valueCodeableConcept": concept(value, SNOMED), **more}


def pregnancies(*resources: Json) -> int:
    return sum("pregnancy" in one.sets for one in facts(labs=bundle(*resources)).problems)


PREGNANT, NOT_PREGNANT = "77386006", "60001007"


def test_a_pregnancy_status_is_a_problem_from_the_labs() -> None:
    (found,) = facts(labs=bundle(pregnancy_status(PREGNANT))).problems
    assert found.sets == {"pregnancy"}
    assert (found.source, found.reference) == ("labs", "Observation/k1")


def test_a_pregnancy_status_holds_300_days() -> None:
    assert pregnancies(pregnancy_status(PREGNANT, effectiveDateTime="2025-02-05")) == 1
    assert pregnancies(pregnancy_status(PREGNANT, effectiveDateTime="2025-02-03")) == 0


def test_a_pregnancy_status_without_a_date_counts() -> None:
    assert pregnancies(pregnancy_status(PREGNANT, effectiveDateTime=None)) == 1


def test_the_newest_pregnancy_status_counts() -> None:
    earlier, later = {"effectiveDateTime": "2025-10-01"}, {"effectiveDateTime": "2025-11-01"}
    assert pregnancies(pregnancy_status(NOT_PREGNANT, **later), pregnancy_status(PREGNANT, **earlier)) == 0
    assert pregnancies(pregnancy_status(PREGNANT, **later), pregnancy_status(NOT_PREGNANT, **earlier)) == 1


def test_a_not_pregnant_observation_does_not_cancel_a_condition() -> None:
    found = facts(labs=bundle(pregnancy_status(NOT_PREGNANT)), problems=bundle(condition("Z33.1"))).problems
    assert sum("pregnancy" in one.sets for one in found) == 1


@pytest.mark.parametrize("status", [{"status": "entered-in-error"}, {"code": concept("72166-2", "http://loinc.org")}])
def test_other_observations_say_nothing_about_pregnancy(status: Json) -> None:
    assert pregnancies(pregnancy_status(PREGNANT, **status)) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"code": {"text": "Quinine"}},
        {"substance": {"text": "Quinine"}},
        {"reaction": [{"substance": {"text": "quinine"}, "manifestation": [{"text": "rash"}]}]},
        {"code": concept("373497008", SNOMED)},
    ],
)
def test_an_allergy_is_known_by_its_code_or_its_substance(fields: Json) -> None:
    (found,) = allergies(**fields)
    assert "quinine" in found.classes
    assert found.reference == "AllergyIntolerance/a1"


def test_the_reaction_of_an_allergy_is_told() -> None:
    (found,) = allergies(
        code={"text": "Quinine"}, reaction={"manifestation": {"text": "Thrombocytopenia"}, "description": "after one dose"}
    )
    assert found.reaction == "Thrombocytopenia"  # the description is free text and may name people


@pytest.mark.parametrize(
    "over",
    [
        {"clinicalStatus": concept("resolved")},
        {"clinicalStatus": "inactive"},
        {"verificationStatus": concept("refuted")},
        {"verificationStatus": "entered-in-error"},
        {"status": "refuted"},
        {"status": "inactive"},
    ],
)
def test_an_allergy_that_is_over_or_wrong_does_not_count(over: Json) -> None:
    assert allergies(code={"text": "Quinine"}, **over) == ()


@pytest.mark.parametrize(
    "still", [{}, {"status": "active"}, {"clinicalStatus": "active"}, {"verificationStatus": concept("unconfirmed")}]
)
def test_an_allergy_counts_unless_something_speaks_against_it(still: Json) -> None:
    assert allergies(code={"text": "Quinine"}, **still)


def test_an_allergy_to_something_else_is_left_out() -> None:
    assert allergies(code={"text": "Peanut"}) == ()
