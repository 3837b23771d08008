from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cds_service.criteria.facts import SourceState
from tests.reading import OURS, SNOMED, Json, as_json, bundle, facts, observation, patient, reason, result, series, without


def test_a_potassium_is_read_with_all_that_a_card_shows() -> None:
    lab = result(observation(referenceRange=[{"low": {"value": 3.5, "unit": "mmol/L"}}], issued="2025-11-28T10:00:00Z"))
    assert (lab.value, lab.reported_value, lab.reported_unit, lab.canonical_unit) == (
        Decimal("3.2"),
        Decimal("3.2"),
        "mmol/L",
        "mmol/L",
    )
    assert (lab.effective.day, lab.range_low, lab.code, lab.reference) == (
        "2025-11-28",
        Decimal("3.5"),
        "http://loinc.org|2823-3",
        "Observation/k1",
    )
    assert (lab.analyte, lab.comparator, lab.computed_from, lab.source) == ("potassium", "", "", "labs")
    assert (lab.preliminary, lab.haemolysed, lab.low_priority) == (False, False, False)
    assert lab.sampling == "routine"


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_a_result_in_force_counts(status: str) -> None:
    assert not result(observation(status=status)).preliminary


def test_a_preliminary_result_is_marked() -> None:
    assert result(observation(status="preliminary")).preliminary


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error", " Entered-In-Error ", "CANCELLED", "entered in error"])
def test_a_status_that_denies_a_result_makes_it_none(status: str) -> None:
    assert reason(observation(status=status)) == ""
    assert reason(observation(status=status, valueQuantity=None)) == ""


def test_a_registered_result_is_none_until_it_has_a_value() -> None:
    assert reason(observation(status="registered", valueQuantity=None)) == ""
    assert result(observation(status="registered")).standing == "unconfirmed"


@pytest.mark.parametrize("status", ["unknown", "FINAL?", "finel", "", None])
def test_a_status_that_is_missing_or_not_known_leaves_a_result_unconfirmed(status: str | None) -> None:
    lab = result(observation(status=status))
    assert (lab.preliminary, lab.standing) == (True, "unconfirmed")


@pytest.mark.parametrize("status", ["Final", " final", "CORRECTED", "appended"])
def test_case_and_blanks_of_a_status_do_not_matter(status: str) -> None:
    assert result(observation(status=status)).standing == "confirmed"
    assert result(observation(status="Preliminary ")).standing == "preliminary"


def test_only_a_status_that_fhir_does_not_know_is_told_as_not_understood() -> None:
    for status in ("unknown", "registered", "", None, "Final"):
        assert facts(labs=bundle(observation(status=status))).unread == ()
    (unread,) = facts(labs=bundle(observation(status="validated"))).unread
    assert (unread.kind, unread.code, unread.meaning, unread.source) == ("status", "validated", "potassium", "labs")


@pytest.mark.parametrize(
    "system",
    ["http://loinc.org", "https://loinc.org", "http://loinc.org/", "https://loinc.org/", "urn:oid:2.16.840.1.113883.6.1", None],
)
def test_loinc_is_recognised_however_it_is_named(system: str | None) -> None:
    assert result(
        observation(code={"coding": [{"system": "http://local.example", "code": "K"}, {"system": system, "code": "2823-3"}]})
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("2828-2", "Potassium urine"),
        ("2823-3x", "Potassium"),
    ],
)
def test_a_loinc_code_that_is_not_listed_is_not_read(code: str, text: str) -> None:
    coding = {"system": "http://loinc.org", "code": code}
    found = series(observation(code={"coding": [coding, {"system": "http://loinc.org", "code": "2828-2"}], "text": text}))
    assert len(found.results) == len(found.unusable) == 0


def test_a_code_of_another_system_that_looks_like_potassium_is_not_potassium() -> None:
    assert series(observation(code={"coding": [{"system": "http://snomed.info/sct", "code": "2823-3"}]})).results == ()


@pytest.mark.parametrize(
    "code",
    [
        {"coding": [{"system": "https://fhir.example/codeSet/72", "code": "21704910", "display": "Potassium Level"}]},
        {"coding": [{"system": "http://loinc.org", "code": "20007"}], "text": "POTASSIUM"},
        {"text": "Potassium, serum"},
        {"coding": [{"system": "http://loinc.org", "code": "86919-8", "display": "Serum potassium"}]},
        {"coding": [{"system": "http://snomed.info/sct", "code": "1234567890"}], "text": "S-Kalium"},
    ],
)
def test_a_potassium_under_a_local_code_is_named_as_not_usable(code: Json) -> None:
    (unusable,) = series(observation(code=code)).unusable
    assert unusable.reason == "unmapped"
    assert unusable.explanation == "potassium of 2025-11-28 has only a code that is not known: what was measured is not certain"


@pytest.mark.parametrize(
    "text",
    [
        "Potassium, urine",
        "Potassium Ur",
        "Sodium/Potassium ratio",
        "Potassium CSF",
        "Magnesium RBC",
        "Losartan",
        "Potassium clearance",
        "Free magnesium",
        "Potassium in the diet",
        "Potassium Zaphod",
    ],
)
def test_other_specimens_under_a_local_code_leave_no_trace(text: str) -> None:
    found = facts(labs=bundle(observation(code={"text": text})))
    assert found.labs == {}


@pytest.mark.parametrize(
    "code",
    [
        {"coding": [{"system": "http://loinc.org", "code": "2828-2"}], "text": "Potassium"},  # urine
        {"coding": [{"system": "urn:oid:1.2.208.176.2.1", "code": "NPU03787"}], "text": "Kalium"},  # urine
        {"coding": [{"system": "http://snomed.info/sct", "code": "166690008"}], "text": "Serum potassium"},  # a finding
        {"coding": [{"system": "http://loinc.org", "code": "1096-7"}], "text": "K"},  # an antigen
    ],
)
def test_codes_of_something_else_are_not_read_by_their_name(code: Json) -> None:
    found = facts(labs=bundle(observation(code=code, value=2.1)))
    assert (found.labs, found.unread) == ({}, ())


@pytest.mark.parametrize(
    ("code", "value", "unit", "analyte", "canonical"),
    [
        ("19123-9", "1.2", "mg/dL", "magnesium", "0.493620"),
        ("19123-9", "0.85", "mmol/L", "magnesium", "0.85"),  # a mass code with a molar unit: the unit counts
        ("2601-3", "1.2", "meq/L", "magnesium", "0.60"),
        ("75940-7", "3.6", "mEq/L", "potassium", "3.6"),
        ("2823-3", "13.2", "mg/dL", "potassium", "3.37656"),
    ],
)
def test_the_unit_that_was_sent_counts_not_the_one_of_the_code(
    code: str, value: str, unit: str, analyte: str, canonical: str
) -> None:
    lab = result(observation(code, value, unit), analyte)
    assert str(lab.value).rstrip("0") == canonical.rstrip("0")
    assert str(lab.reported_value) == value


def test_potassium_without_a_unit_is_read_only_under_a_molar_code() -> None:
    assert result(observation(unit=None)).reported_unit == "mmol/L"
    assert reason(observation("75940-7", 4.0, None)) == "unit"


def test_magnesium_without_a_unit_is_unknown() -> None:
    (unusable,) = series(observation("19123-9", 0.9, None), analyte="magnesium").unusable
    assert (unusable.reason, unusable.explanation) == ("unit", "magnesium of 2025-11-28 has no unit")


def test_an_unknown_unit_is_named_but_never_repeated() -> None:
    (unusable,) = series(observation(unit="<b>secret</b>")).unusable
    assert unusable.explanation == "potassium of 2025-11-28 has a unit that is not known for it"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valueQuantity": {"value": 0.4, "unit": "mmol/L"}}, "implausible"),
        ({"valueQuantity": {"value": 32, "unit": "mmol/L"}}, "implausible"),
        ({"valueQuantity": {"value": "NaN", "unit": "mmol/L"}}, "value"),
        ({"valueQuantity": None, "valueString": "3.2 furlongs"}, "value"),
        ({"valueQuantity": None, "valueString": "see comment"}, "value"),
        ({"valueQuantity": None, "valueString": "Not performed."}, ""),
        ({"valueQuantity": None, "dataAbsentReason": {"text": "unknown"}}, "value"),
        ({"valueQuantity": None, "dataAbsentReason": {"coding": [{"code": "not-performed"}]}}, ""),
        ({"valueQuantity": None, "dataAbsentReason": {"coding": [{"code": "not-asked"}]}}, ""),
        ({"valueQuantity": {"unit": "mmol/L"}}, "value"),
        ({"valueQuantity": None}, "value"),
        ({"effectiveDateTime": "last week"}, "date"),
        ({"effectiveDateTime": "last week", "issued": "2025-11-28T10:00:00Z"}, "date"),
        ({"effectiveDateTime": None}, "date"),
        ({"effectiveDateTime": "2025-12-02T09:00:01Z"}, "future"),
        ({"effectiveDateTime": "2205-11-28"}, "future"),
    ],
)
def test_a_result_that_can_not_be_relied_on_says_why(changes: Json, expected: str) -> None:
    assert reason({**observation(), **changes}) == expected


def test_a_result_up_to_a_day_ahead_is_only_another_clock() -> None:
    assert result(observation(effectiveDateTime="2025-12-02T09:00:00Z"))


@pytest.mark.parametrize(
    ("time", "start"),
    [
        ({"effectiveInstant": "2025-11-27T08:00:00Z"}, "2025-11-27"),
        ({"effectivePeriod": {"start": "2025-11-25", "end": "2025-11-26"}}, "2025-11-26"),
        ({"effectivePeriod": {"start": "2025-11-25"}}, "2025-11-25"),
        ({"issued": "2025-11-24T08:00:00Z"}, "2025-11-24"),
        ({"effectiveDateTime": "2025-11"}, "2025-11"),
    ],
)
def test_the_time_of_a_sample_is_found_wherever_it_stands(time: Json, start: str) -> None:
    assert result({**without(observation(), "effectiveDateTime"), **time}).effective.day == start


def test_post_dialysis_samples_are_not_used_and_pre_dialysis_ones_are_marked() -> None:
    assert reason(observation("29349-8", 2.4)) == ""
    assert result(observation("51618-7")).sampling == "pre-dialysis"


def test_a_comparator_is_kept() -> None:
    assert result(observation(valueQuantity={"value": 3.0, "unit": "mmol/L", "comparator": "<"})).comparator == "<"


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        ({"value": 1.5, "unit": "mg/dL"}, Decimal("0.617025")),
        ({"value": 1.5}, Decimal("0.617025")),  # the unit of the value
        ({"value": 0.7, "unit": "mmol/L"}, Decimal("0.7")),
        ({"value": 1.5, "unit": "furlong"}, None),
        ({"value": "NaN", "unit": "mg/dL"}, None),
        ({}, None),
    ],
)
def test_the_laboratorys_own_lower_limit_is_converted_with_its_unit(low: Json, expected: Decimal | None) -> None:
    lab = result(observation("19123-9", 1.6, "mg/dL", referenceRange=[{"text": "adult"}, {"low": low}]), "magnesium")
    assert lab.range_low == expected


@pytest.mark.parametrize(
    "said",
    [
        {"note": [{"text": "Specimen haemolysed (H index high)"}]},
        {"note": "HEMOLYZED"},
        {"note": {"text": "Gross hemolysis"}},
        {"comment": "haemolysed"},
        {"comments": "haemolysed"},
        {"interpretation": [{"text": "Hemolyzed"}]},
        {"interpretation": {"coding": [{"code": "HEM"}]}},
        {"dataAbsentReason": {"text": "haemolysed"}},
        {"contained": [{"resourceType": "Specimen", "condition": [{"coding": [{"code": "HEM"}]}]}]},
    ],
)
def test_haemolysis_is_seen_wherever_it_is_written(said: Json) -> None:
    assert result(observation(**said)).haemolysed


@pytest.mark.parametrize(
    "said", [{}, {"note": [{"text": "No haemolysis"}]}, {"note": [{}]}, {"interpretation": [{"coding": [{"code": "L"}]}]}]
)
def test_haemolysis_is_not_read_into_other_words(said: Json) -> None:
    assert not result(observation(**said)).haemolysed


def at(value: object, effective: str, **more: Any) -> Json:
    return observation(value=value, effectiveDateTime=effective, **more)


def values(*observations: Json, analyte: str = "potassium") -> list[str]:
    return [str(lab.reported_value) for lab in series(*observations, analyte=analyte).results]


def test_the_newest_result_is_the_one_drawn_last_whatever_the_order_and_the_time_zone() -> None:
    early, late = at(2.9, "2025-11-28T10:00:00+02:00"), at(4.0, "2025-11-28T09:00:00Z")
    assert values(early, late) == values(late, early) == ["4.0", "2.9"]


def test_of_two_results_of_one_sample_the_later_issued_is_the_newer() -> None:
    first = at(2.9, "2025-11-28T08:00:00Z", issued="2025-11-28T09:00:00Z")
    corrected = at(4.0, "2025-11-28T08:00:00Z", issued="2025-11-28T12:00:00Z", status="corrected")
    assert values(first, corrected) == values(corrected, first) == ["4.0", "2.9"]


def test_of_two_results_of_one_sample_without_an_issue_time_the_more_severe_comes_first() -> None:
    time = "2025-11-28T08:00:00Z"
    assert values(at(4.0, time), at(2.9, time, issued="2025-11-28T09:00:00Z")) == ["2.9", "4.0"]
    low, high = (observation("2160-0", value, "mg/dL", effectiveDateTime=time) for value in (0.8, 2.4))
    assert values(low, high, analyte="creatinine") == ["2.4", "0.8"]


def test_a_result_without_a_time_comes_first_on_its_day_where_it_is_the_worse_one() -> None:
    morning, evening = at(3.0, "2025-11-28T08:00:00Z"), at(3.4, "2025-11-28T20:00:00Z")
    assert values(morning, evening, at(3.2, "2025-11-28")) == ["3.2", "3.4", "3.0"]
    assert values(at(3.6, "2025-11-28"), morning, evening) == ["3.4", "3.0", "3.6"]


def test_a_result_without_a_time_is_ordered_by_issue_where_all_of_its_day_have_one() -> None:
    timed = at(4.0, "2025-11-28T08:00:00Z", issued="2025-11-28T09:00:00Z")
    dated = at(3.0, "2025-11-28", issued="2025-11-28T08:30:00Z")
    assert values(dated, timed) == ["4.0", "3.0"]


def test_a_result_of_an_earlier_day_is_older_with_or_without_times() -> None:
    assert values(at(2.4, "2025-11-27"), at(4.0, "2025-11-28T08:00:00Z"), at(3.9, "2025-11")) == ["4.0", "2.4", "3.9"]


def test_an_unusable_result_does_not_hide_a_usable_one() -> None:
    found = series(at(3.2, "2025-11-20T08:00:00Z"), at(4.0, "2025-11-28T08:00:00Z", valueQuantity={"value": 4, "unit": "?"}))
    assert len(found.results) == len(found.unusable) == 1


def test_no_value_of_the_request_gets_into_an_explanation() -> None:
    secret = "Zaphod"
    labs = [
        observation(valueQuantity={"value": 3, "unit": secret}),
        observation(valueQuantity=None, valueString=f"{secret} 3"),
        observation(effectiveDateTime=secret),
        observation(code={"coding": [{"system": secret, "code": secret}], "text": "Potassium"}),
    ]
    found = facts(labs=bundle(*labs), patient=patient())
    assert len(found.labs["potassium"].unusable) == 4
    assert all(secret not in unusable.explanation for unusable in found.labs["potassium"].unusable)
    assert secret.encode() not in as_json([source.note for source in found.sources.values()])


# Values wherever and however they were written


MMOL = {"value": 2.7, "unit": "mmol"}


def written(**value: Any) -> Json:
    return {**without(observation(), "valueQuantity"), **value}


@pytest.mark.parametrize(
    ("value", "number", "unit", "comparator"),
    [
        ({"valueString": "2.7 mmol/L"}, "2.7", "mmol/L", ""),
        ({"valueString": " 2,7mmol/l "}, "2.7", "mmol/L", ""),
        ({"valueString": "2.7 milliequivalents per liter"}, "2.7", "mEq/L", ""),
        ({"valueString": "< 2.7 mEq/L"}, "2.7", "mEq/L", "<"),
        ({"valueString": "≥6.1 mmol/L"}, "6.1", "mmol/L", ">="),
        ({"valueString": "=2.7 mmol/L"}, "2.7", "mmol/L", ""),
        ({"valueString": "2.7"}, "2.7", "mmol/L", ""),  # the code is one for mmol/L
        ({"valueCodeableConcept": {"text": "2.7 mmol/L"}}, "2.7", "mmol/L", ""),
        ({"valueCodeableConcept": {"coding": [{"code": "x", "display": "2.7 mmol/L"}]}}, "2.7", "mmol/L", ""),
        ({"valueCodeableConcept": {"text": "low", "coding": [{"display": "2.7 mmol/L"}]}}, "2.7", "mmol/L", ""),
        ({"valueInteger": 3}, "3", "mmol/L", ""),
        (
            {"valueRatio": {"numerator": MMOL, "denominator": {"value": 1, "unit": "L"}}},
            "2.7",
            "mmol/L",
            "",
        ),
        ({"valueQuantity": {"value": 2.7, "code": "258813002", "system": "http://snomed.info/sct"}}, "2.7", "mmol/L", ""),
    ],
)
def test_one_number_is_read_wherever_it_stands(value: Json, number: str, unit: str, comparator: str) -> None:
    lab = result(written(**value))
    assert (str(lab.reported_value), lab.reported_unit, lab.comparator) == (number, unit, comparator)


@pytest.mark.parametrize(
    ("value", "words", "could_be"),
    [
        ({"valueString": "1,200 mmol/L"}, "1,200 mmol/L", ["1.200"]),  # 1.2 or 1200
        ({"valueString": "2.7 to 2.9"}, "2.7 to 2.9", []),
        ({"valueString": "LT 2.5"}, "LT 2.5", ["2.5"]),
        ({"valueString": "see comment"}, "see comment", []),
        ({"valueString": "²"}, "²", []),
        ({"valueRange": {"low": MMOL, "high": {"value": 3}}}, "2.7 mmol to 3", ["2.7", "3"]),
        ({"valueRatio": {"numerator": {"value": 5}, "denominator": {"value": 2}}}, "5 : 2", []),
        ({"valueSampledData": {"data": "1 2 3"}}, "a series of measurements", []),
    ],
)
def test_what_is_not_one_number_keeps_the_laboratorys_words(value: Json, words: str, could_be: list[str]) -> None:
    (bad,) = series(written(**value)).unusable
    assert (bad.reason, bad.words, [str(one) for one in bad.could_be]) == ("value", words, could_be)
    assert bad.explanation == "potassium of 2025-11-28 can't be read as one number"


def test_words_are_cut_where_they_are_long() -> None:
    (bad,) = series(written(valueString="x" * 5_000)).unusable
    assert len(bad.words) == 60


@pytest.mark.parametrize(
    ("resource", "analyte", "could_be"),
    [
        (observation(unit="furlong", value=2.3), "potassium", ["2.3"]),
        (observation("19123-9", 0.9, None), "magnesium", ["0.9", "0.370215", "0.45"]),
        (observation(code={"text": "Potassium"}, value=2.3, unit="mEq/L"), "potassium", ["2.3"]),
        (observation(value=0.4), "potassium", []),
        (observation(value=2.3, effectiveDateTime="last week"), "potassium", ["2.3"]),
        (observation("2160-0", 2.3, "furlong"), "creatinine", ["2.3", "203.32"]),
    ],
)
def test_an_unusable_number_says_what_it_could_be(resource: Json, analyte: str, could_be: list[str]) -> None:
    (bad,) = series(resource, analyte=analyte).unusable
    assert [f"{one.normalize():f}" for one in bad.could_be] == could_be


@pytest.mark.parametrize(
    ("interpretation", "flagged"),
    [
        ([{"coding": [{"code": "LL"}]}], "low"),
        ({"coding": [{"code": "HH"}]}, "high"),
        ([{"coding": [{"code": "L"}]}], ""),
        ([{"text": "Panic value"}], "either"),
        ([{"text": "critically low"}], "either"),
        ([{"text": "not critical"}], ""),
    ],
)
def test_the_laboratorys_flag_is_kept_of_what_can_not_be_read(interpretation: object, flagged: str) -> None:
    (bad,) = series(written(interpretation=interpretation)).unusable
    assert (bad.reason, bad.flagged) == ("value", flagged)


# Results inside results


PANEL = {
    "resourceType": "Observation",
    "id": "bmp",
    "subject": OURS,
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "24321-2"}], "text": "Basic metabolic panel"},
    "effectiveDateTime": "2025-11-28T08:00:00Z",
}
POTASSIUM = {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]}
LOW = {"code": POTASSIUM, "valueQuantity": {"value": 2.4, "unit": "mmol/L"}}


@pytest.mark.parametrize(
    "panel",
    [
        {**PANEL, "component": [{"code": {"text": "Sodium"}, "valueString": "139 mmol/L"}, LOW]},
        {**PANEL, "component": LOW},
        {**PANEL, "contained": [{"resourceType": "Observation", "id": "k", **LOW}]},
        {**PANEL, "resourceType": "DiagnosticReport", "contained": [{"resourceType": "Observation", "id": "k", **LOW}]},
        {
            **PANEL,
            "resourceType": "DiagnosticReport",
            "contained": [{"resourceType": "Observation", "code": {"text": "panel"}, "component": [LOW]}],
        },
    ],
)
def test_a_result_inside_another_has_what_it_does_not_say_from_that(panel: Json) -> None:
    lab = result(panel)
    assert (str(lab.value), lab.effective.day, lab.standing) == ("2.4", "2025-11-28", "confirmed")
    assert result({**panel, "status": "preliminary"}).standing == "preliminary"
    assert reason({**panel, "status": "cancelled"}) == ""


def test_what_a_part_says_of_itself_counts() -> None:
    own = {"resourceType": "Observation", "status": "preliminary", "effectiveDateTime": "2025-11-27", **LOW}
    lab = result({**PANEL, "contained": [own]})
    assert (lab.effective.day, lab.standing) == ("2025-11-27", "preliminary")


def test_a_member_by_reference_has_its_time_from_the_panel() -> None:
    member = without(observation(id="k7"), "effectiveDateTime", "subject")
    labs = bundle({**PANEL, "hasMember": [{"reference": "Observation/k7"}]}, member)
    (lab,) = facts(labs=labs).labs["potassium"].results
    assert (lab.effective.day, lab.reference) == ("2025-11-28", "Observation/k7")


def test_a_member_that_was_not_sent_is_a_result_that_can_not_be_read() -> None:
    (bad,) = series({**PANEL, "hasMember": [{"reference": "Observation/9", "display": "Potassium"}]}).unusable
    assert bad.explanation == "potassium of 2025-11-28 has no value that can be read"
    assert facts(labs=bundle({**PANEL, "hasMember": [{"reference": "Observation/9"}]})).labs == {}


def test_a_result_of_another_patient_inside_a_report_is_not_read() -> None:
    foreign = {"resourceType": "Observation", "subject": {"reference": "Patient/p2"}, **LOW}
    found = facts(labs=bundle({**PANEL, "contained": [foreign]}))
    assert found.labs == {}
    assert not found.sources["labs"].complete


@pytest.mark.parametrize(
    "panel",
    [
        {**PANEL, "code": {"text": "Urine electrolytes"}},
        {**PANEL, "specimen": {"display": "Urine, 24 hours"}},
        {**PANEL, "contained": [{"resourceType": "Specimen", "type": {"text": "Urine"}}]},
    ],
)
def test_a_part_is_never_read_as_another_specimen(panel: Json) -> None:
    named = {"code": {"text": "Potassium"}, "valueQuantity": {"value": 2.4, "unit": "mmol/L"}}
    assert facts(labs=bundle({**panel, "component": [named]})).labs == {}
    (bad,) = series({**panel, "component": [LOW]}).unusable
    assert (bad.reason, bad.could_be) == ("disagrees", ())


def test_a_panel_without_a_value_is_no_result() -> None:
    other = {"code": {"text": "Chloride"}, "valueQuantity": {"value": 101, "unit": "mmol/L"}}
    assert facts(labs=bundle({**PANEL, "code": POTASSIUM, "component": [other]})).labs == {}


def test_the_same_result_in_a_panel_and_alone_is_one() -> None:
    alone = observation(value=2.4)
    found = series({**PANEL, "status": "preliminary", "component": [LOW]}, alone)
    assert [(str(lab.value), lab.standing) for lab in found.results] == [("2.4", "confirmed")]
    local = observation(code={"text": "Potassium"}, value=2.4)
    assert series(alone, local).unusable == ()


def test_a_confirmed_result_comes_before_the_preliminary_one_of_its_sample() -> None:
    time = "2025-11-28T08:00:00Z"
    assert values(at(2.2, time, status="preliminary"), at(4.1, time)) == ["4.1", "2.2"]


@pytest.mark.parametrize("key", ["problems", "prescriptions", "statements", "allergies"])
def test_a_result_counts_wherever_it_stands(key: str) -> None:
    sent: dict[str, Any] = {key: bundle(observation(value=2.4)), "labs": bundle(observation("2951-2", 140, id="na"))}
    found = facts(**sent)
    assert [str(lab.value) for lab in found.labs["potassium"].results] == ["2.4"]
    twice: dict[str, Any] = {key: bundle(observation()), "labs": bundle(observation())}
    everywhere = facts(**twice)
    assert len(everywhere.labs["potassium"].results) == 1


# Codes and names


@pytest.mark.parametrize("system", ["LN", "loinc", "http://LOINC.org"])
def test_loinc_has_other_names(system: str) -> None:
    assert result(observation(code={"coding": [{"system": system, "code": "2823-3"}]}))


def test_a_code_and_a_name_that_disagree_are_not_used() -> None:
    (bad,) = series(observation(value=2.2, code={**POTASSIUM, "text": "Chloride"})).unusable
    assert (bad.reason, bad.explanation) == ("disagrees", "potassium of 2025-11-28 has the name of another result")
    assert result(observation(code={**POTASSIUM, "text": "K, bedside"}))  # a name that is not known says nothing


def test_of_two_codes_that_disagree_the_name_decides() -> None:
    both = [{"system": "http://snomed.info/sct", "code": "271236005"}, {"system": "http://loinc.org", "code": "2160-0"}]
    found = facts(labs=bundle(observation(value=1.1, unit="mg/dL", code={"coding": both, "text": "Creatinine"})))
    assert list(found.labs) == ["creatinine", "egfr"] or list(found.labs) == ["creatinine"]
    assert found.labs["creatinine"].unusable == ()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "unmapped"),
        ({"specimen": {"display": "Serum"}}, "read"),
        ({"specimen": {"display": "Urine"}}, "none"),
        ({"code": {"coding": [{"system": SNOMED, "code": "59573005"}], "text": "Potassium in plasma"}}, "read"),
    ],
)
def test_a_code_that_leaves_the_specimen_open_needs_blood(more: Json, expected: str) -> None:
    code = {"coding": [{"system": SNOMED, "code": "59573005"}]}
    found = series(observation(**{"code": code, **more}))
    assert ("read" if found.results else found.unusable[0].reason if found.unusable else "none") == expected


def test_codes_units_and_statuses_that_are_not_understood_are_told() -> None:
    local = "https://laboratory.example/codes"
    labs = [
        observation(code={"coding": [{"system": local, "code": "K1"}], "text": "Kalium"}),
        observation(code={"coding": [{"system": local, "code": "77"}], "text": "Something"}),
        observation(code={"coding": [{"system": "http://loinc.org", "code": "718-7"}, {"system": local, "code": "hb"}]}),
        observation(unit="furlong"),
    ]
    told = [(one.kind, one.system, one.code, one.meaning) for one in facts(labs=bundle(*labs)).unread]
    assert told == [("lab", local, "K1", "potassium"), ("lab", local, "77", ""), ("unit", "", "furlong", "potassium")]


def test_so_many_codes_that_are_not_understood_are_told_and_no_more() -> None:
    labs = [observation(code={"coding": [{"system": "x", "code": str(number)}]}) for number in range(200)]
    assert len(facts(labs=bundle(*labs)).unread) == 50


@pytest.mark.parametrize(
    "holder", [{"component": [LOW]}, {"resourceType": "DiagnosticReport", "contained": [{**LOW, "resourceType": "Observation"}]}]
)
def test_a_panel_counts_wherever_it_stands(holder: Json) -> None:
    found = facts(prescriptions=bundle({**PANEL, **holder}))
    assert [str(lab.value) for lab in found.labs["potassium"].results] == ["2.4"]


@pytest.mark.parametrize("code", ["LOINC:2823-3", "http://loinc.org/2823-3", " 2823-3 ", "urn:oid:2.16.840.1.113883.6.1|2823-3"])
def test_a_code_is_known_with_what_stands_around_it(code: str) -> None:
    assert result(observation(code)).analyte == "potassium"
    assert facts(labs=bundle(observation(code.replace("2823-3", "2828-2")))).labs == {}  # in urine


@pytest.mark.parametrize("name", ["K", "S-K", "fS-K", "K (serum)", "P-K+"])
@pytest.mark.parametrize(("quantity", "told"), [({"value": 2.2, "unit": "mmol/L"}, True), ({"value": 2.2}, False)])
def test_a_short_name_says_what_was_measured_beside_a_unit_of_it(name: str, quantity: Json, told: bool) -> None:
    named = {"coding": [{"system": "urn:oid:1.2.3", "code": "17"}], "text": name}
    found = facts(labs=bundle(observation(code=named, valueQuantity=quantity))).labs
    assert bool(found) is told
    if told:
        assert [bad.reason for bad in found["potassium"].unusable] == ["unmapped"]


@pytest.mark.parametrize("name", ["Vitamin K", "K antigen", "K 40", "mg/L"])
def test_what_only_looks_like_a_short_name_is_none(name: str) -> None:
    named = {"coding": [{"system": "urn:oid:1.2.3", "code": "17"}], "text": name}
    assert facts(labs=bundle(observation(code=named, valueQuantity={"value": 2.2, "unit": "mg/mL"}))).labs == {}


@pytest.mark.parametrize("text", ["2.2 mmol/L [3.5 - 5.1]", "2.2 mmol/L (3.5-5.1 mmol/L)", "\uff12\uff0e\uff12 mmol/L"])
def test_a_reference_range_behind_a_number_is_no_second_number(text: str) -> None:
    assert result({**without(observation(), "valueQuantity"), "valueString": text}).value == Decimal("2.2")


HOLDER: Json = {
    "resourceType": "Observation",
    "id": "p1",
    "status": "final",
    "subject": OURS,
    "effectiveDateTime": "2025-11-28",
    "code": {"text": "Chemistry"},
}


@pytest.mark.parametrize("status", ["entered-in-error", "Cancelled"])
@pytest.mark.parametrize("kind", ["DiagnosticReport", "Observation"])
def test_what_stands_only_in_something_withdrawn_is_withdrawn(kind: str, status: str) -> None:
    held = {**without(observation(), "subject"), "id": "k", "status": "final"}
    holder = {**HOLDER, "resourceType": kind, "contained": [held], "result": [{"reference": "#k"}]}
    assert series(holder).results
    assert facts(labs=bundle({**holder, "status": status})).labs == {}


@pytest.mark.parametrize("members", ["hasMember", "result"])
def test_results_that_a_panel_refers_to_and_that_are_not_there_are_missed(members: str) -> None:
    kind = "Observation" if members == "hasMember" else "DiagnosticReport"
    holder = {**HOLDER, "resourceType": kind, members: [{"reference": "Observation/k1"}, {"reference": "Observation/gone"}]}
    source = facts(labs=bundle(holder, observation())).sources["labs"]
    assert (source.state, source.more) == (SourceState.PARTIAL, False)
    assert source.note == "1 results that panels and reports refer to were not sent"


@pytest.mark.parametrize(
    "more",
    [
        {"hasMember": [{"reference": "Observation/k1"}]},
        {"hasMember": [{"reference": "Observation/gone", "display": "Sodium"}]},
        {"hasMember": [{"reference": "QuestionnaireResponse/q1"}]},
        {"hasMember": [{"reference": "Observation/gone"}], "status": "cancelled"},
        {"hasMember": [{"reference": "Observation/gone"}], "valueQuantity": {"value": 1, "unit": "mmol/L"}},
        {"contained": [{"resourceType": "Observation", "id": "m"}], "hasMember": [{"reference": "#m"}]},
    ],
)
def test_a_panel_that_lacks_nothing_is_complete(more: Json) -> None:
    assert facts(labs=bundle({**HOLDER, **more}, observation())).sources["labs"].complete


def test_results_that_lie_too_deep_are_missed_too() -> None:
    deep = {**HOLDER, "component": [{"code": {"text": "Potassium"}, "valueQuantity": {"value": 2.2, "unit": "mmol/L"}}]}
    for depth in range(12):
        deep = {**HOLDER, "contained": [deep]}
        found = facts(labs=bundle(deep))
        assert ("potassium" in found.labs, found.sources["labs"].complete) == (depth < 9, depth < 9)
