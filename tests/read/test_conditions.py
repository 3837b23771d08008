from __future__ import annotations

import pytest

from cds_service.criteria.facts import Allergy, Problem
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


# What is there and not understood is never absent

LOCAL = concept("4711", "urn:local")
GERMAN = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
SURENESS = "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit"


def german(code: str, letter: str) -> Json:
    extension = [{"url": SURENESS, "valueCoding": {"system": "urn:letters", "code": letter}}]
    return without(condition(), "verificationStatus") | {
        "code": {"coding": [{"system": GERMAN, "code": code, "extension": extension}]}
    }


@pytest.mark.parametrize("status", ["Active", "ACTIVE", "acitve", "chronic", "unknown"])
def test_an_unknown_clinical_status_counts_as_present(status: str) -> None:
    assert problems(condition(clinicalStatus=concept(status)))
    assert problems(condition(clinicalStatus=status))


@pytest.mark.parametrize("status", ["Resolved", "INACTIVE", " remission "])
def test_what_is_past_is_so_however_it_is_spelt(status: str) -> None:
    assert problems(condition(clinicalStatus=status)) == problems(condition(clinicalStatus={"text": status})) == ()


@pytest.mark.parametrize("status", ["Entered in Error", "entered_in_error", "Refuted"])
def test_what_is_denied_is_so_however_it_is_spelt(status: str) -> None:
    assert problems(condition(verificationStatus=status)) == problems(condition(verificationStatus={"text": status})) == ()


def test_a_status_in_other_words_is_read_by_what_it_displays() -> None:
    displayed = {"coding": [{"system": SNOMED, "code": "413322009", "display": "Resolved"}]}
    assert problems(condition(clinicalStatus=displayed)) == ()


def test_an_empty_status_says_nothing() -> None:
    assert problems(condition(clinicalStatus={}))
    assert problems(condition(clinicalStatus={}, abatementDateTime="2025-01-01")) == ()


def test_an_end_that_is_still_to_come_is_none() -> None:
    unstated = without(condition(), "clinicalStatus")
    assert problems({**unstated, "abatementDateTime": "2026-03-01"})
    assert problems({**unstated, "abatementDateTime": "2025-11-30"}) == ()


@pytest.mark.parametrize(("letter", "counts"), [("A", False), ("a", False), ("Z", False), ("V", True), ("G", True), ("?", True)])
def test_the_letter_of_a_german_diagnosis_is_read(letter: str, counts: bool) -> None:
    assert bool(problems(german("B50.9", letter))) is counts


@pytest.mark.parametrize(
    "extension", [None, [], "text", [7], [{"url": 1}], [{"url": SURENESS}], {"url": SURENESS, "valueCode": "A"}]
)
def test_an_extension_of_any_shape_breaks_nothing(extension: object) -> None:
    code = {"coding": [{"system": GERMAN, "code": "R25.2", "extension": extension}]}
    assert len(problems(condition() | {"code": code})) == (0 if isinstance(extension, dict) else 1)


def test_a_problem_with_a_modifier_is_unclear() -> None:
    (found,) = problems(condition(modifierExtension=[{"url": "urn:negated", "valueBoolean": True}]))
    assert (set(found.sets), found.unclear) == ({"muscle_cramp"}, "a problem carries a modifier that is not understood")
    assert problems(condition("J06.9", text="Cold", modifierExtension=[{"url": "urn:x"}])) == ()


@pytest.mark.parametrize("code", [LOCAL, concept("4711"), concept("428.0", "http://hl7.org/fhir/sid/icd-9-cm")])
def test_a_code_that_is_not_understood_without_a_name_is_unclear_and_counted(code: Json) -> None:
    read = facts(problems=bundle(condition() | {"code": code}))
    (found,) = read.problems
    assert (found.sets, found.unclear) == (frozenset(), "a problem has a code that is not understood and no name")
    (unread,) = read.unread
    assert (unread.kind, unread.code, unread.source) == ("problem", code["coding"][0]["code"], "problems")


@pytest.mark.parametrize(
    "code", [LOCAL | {"text": "Tinnitus"}, concept("J06.9", "http://hl7.org/fhir/sid/icd-10"), concept("195967001", SNOMED)]
)
def test_another_disease_is_understood(code: Json) -> None:
    read = facts(problems=bundle(condition() | {"code": code}))
    assert (read.problems, read.unread) == ((), ())


def test_what_is_not_there_is_not_unclear() -> None:
    assert facts(problems=bundle(condition(clinicalStatus="resolved") | {"code": LOCAL})).problems == ()


def test_only_conditions_are_problems_and_only_allergies_are_allergies() -> None:
    family = {"resourceType": "FamilyMemberHistory", "id": "f1", "patient": OURS, "condition": [{"code": concept("I45.81")}]}
    seen = {**observation(), "code": concept("55300003", SNOMED), "valueBoolean": False}
    medication = {"resourceType": "Medication", "id": "m1", "code": {"text": "Quinine"}}
    peanut = {"resourceType": "AllergyIntolerance", "id": "a1", "patient": OURS, "code": {"text": "Peanut"}}
    found = facts(
        problems=bundle(family, seen, condition("J06.9")), allergies=bundle(medication, condition(text="Quinine"), peanut)
    )
    assert (found.problems, found.allergies) == ((), ())
    assert found.sources["problems"].complete
    assert found.sources["allergies"].complete


# Pregnancy: weeks go on, and it ends


def pregnancy(code: str, system: str = "http://hl7.org/fhir/sid/icd-10-cm", text: str = "", **dates: str) -> set[str]:
    found = problems(
        without(condition(**dates), "recordedDate" if "recordedDate" not in dates else "") | {"code": concept(code, system, text)}
    )
    return set().union(*(one.sets for one in found)) & {"pregnancy", "pregnancy_20_weeks"}


@pytest.mark.parametrize(
    ("code", "recorded", "sets"),
    [  # NOW is 2025-12-01
        ("Z33.1", "2025-02-04", {"pregnancy"}),
        ("Z33.1", "2025-02-03", set()),
        ("Z3A.12", "2025-11-24", {"pregnancy"}),
        ("Z3A.12", "2025-08-18", {"pregnancy", "pregnancy_20_weeks"}),  # 15 weeks ago: week 27
        ("Z3A.12", "2025-10-07", {"pregnancy"}),  # 7 weeks and 6 days ago: week 19
        ("Z3A.12", "2025-10-06", {"pregnancy", "pregnancy_20_weeks"}),
        ("Z3A.34", "2025-10-02", {"pregnancy", "pregnancy_20_weeks"}),
        ("Z3A.34", "2025-09-01", set()),  # week 47: it is over
        ("O99.013", "2025-11-10", {"pregnancy"}),
        ("Z34.03", "2025-11-10", {"pregnancy", "pregnancy_20_weeks"}),
        ("Z34.03", "2025-07-01", set()),
    ],
)
def test_a_pregnancy_goes_on_and_ends(code: str, recorded: str, sets: set[str]) -> None:
    assert pregnancy(code, onsetDateTime=recorded) == pregnancy(code, recordedDate=recorded) == sets


def test_a_week_counts_from_when_it_was_recorded() -> None:
    assert pregnancy("Z3A.34", onsetDateTime="2025-03-10", recordedDate="2025-11-20") == {"pregnancy", "pregnancy_20_weeks"}


def test_a_pregnancy_without_a_date_counts_as_it_stands() -> None:
    assert pregnancy("Z3A.12") == {"pregnancy"}
    assert pregnancy("", text="30 weeks gestation") == pregnancy("Z3A.30") == {"pregnancy", "pregnancy_20_weeks"}


def test_a_pregnancy_that_is_over_leaves_the_other_sets() -> None:
    (found,) = problems(condition("O15", text="Eclampsia", onsetDateTime="2024-11-10"))
    assert found.sets == {"seizure"}


# Allergies that can't be told


def test_an_allergy_by_a_code_of_no_table_is_unclear_and_counted() -> None:
    read = facts(allergies=bundle({"resourceType": "AllergyIntolerance", "id": "a1", "patient": OURS, "code": LOCAL}))
    (found,) = read.allergies
    assert (found.classes, found.unclear) == (frozenset(), "an allergy has a code that is not understood and no name")
    assert [(one.kind, one.system, one.code) for one in read.unread] == [("allergy", "urn:local", "4711")]


@pytest.mark.parametrize("code", ["716186003", "409137002", "716184000"])
def test_no_known_allergy_is_understood(code: str) -> None:
    assert allergies(code=concept(code, SNOMED)) == ()


def test_an_allergy_with_a_modifier_is_unclear() -> None:
    (found,) = allergies(code={"text": "Quinine"}, modifierExtension=[{"url": "urn:negated"}])
    assert ("quinine" in found.classes, bool(found.unclear)) == (True, True)


def test_a_name_that_is_too_long_to_be_read_is_not_another_problem() -> None:
    (found,) = problems(condition("", "", "a " * 160 + "heart failure"))
    assert (found.sets, found.unclear) == (frozenset(), "a problem has a name that is too long to be read")
    assert problems(condition("J45", text="a " * 160)) == ()  # its code says what it is
    (found,) = problems(condition("", "", "Heart failure " + "a " * 160))
    assert (set(found.sets), found.unclear) == ({"heart_failure"}, "")


def test_so_many_names_that_they_hold_up_others_are_not_looked_up_and_that_is_known() -> None:
    flood = [condition("", "", f"{number} " + "knee pain " * 20) for number in range(400)]
    found = problems(*flood, condition("", "", "Myasthenia gravis"), condition("I45.81"))
    assert {one.unclear for one in found if not one.sets} == {"there are too many names of problems to be read"}
    assert [one.sets for one in found if one.sets] == [{"qt_prolongation"}]  # a code costs nothing
    again = [condition("", "", "Chronic pain of the knee after a fall")] * 2000
    assert [one.sets for one in problems(*again, condition("", "", "Myasthenia gravis"))] == [{"myasthenia_gravis"}]


@pytest.mark.parametrize("code", ["91637004", "91637004 |Myasthenia gravis|", "http://snomed.info/sct/91637004", "SCT:91637004"])
def test_a_concept_is_known_with_what_stands_around_it(code: str) -> None:
    assert [one.sets for one in problems(condition(code, SNOMED))] == [{"myasthenia_gravis"}]


def test_an_expression_of_several_concepts_could_be_anything() -> None:
    (found,) = problems(condition("91637004:246112005=24484000", SNOMED))
    assert (found.sets, bool(found.unclear)) == (frozenset(), True)


def test_what_is_known_by_its_code_alone_has_a_name_for_people() -> None:
    assert [one.text for one in problems(condition("I45.81"))] == ["long QT"]
    (allergy,) = allergies(code=concept("9071", "http://www.nlm.nih.gov/research/umls/rxnorm"))
    assert allergy.text == "quinine"


@pytest.mark.parametrize(
    "name", ["No known allergy to quinine", "Not allergic to quinine", "no quinine intolerance", "Denies allergy to quinine."]
)
def test_an_allergy_that_is_said_not_to_be_there_is_none(name: str) -> None:
    assert allergies(code={"text": name}) == ()


@pytest.mark.parametrize(
    "name",
    ["Quinine (no reaction recorded)", "No known allergies other than quinine", "No allergy to penicillin, but to quinine"],
)
def test_an_allergy_beside_a_denial_is_one(name: str) -> None:
    (found,) = allergies(code={"text": name})
    assert "quinine" in found.classes


def test_a_pregnancy_status_is_known_by_its_name_under_a_local_code() -> None:
    status = pregnancy_status(PREGNANT)
    status["code"] = {"coding": [{"system": "urn:oid:1.2.3.4.5", "code": "L1"}], "text": "Pregnancy status"}
    assert pregnancies(status) == 1
    status["code"]["text"] = "Pregnancy status of the mother"
    assert pregnancies(status) == 0
