"""Codes of results and problems, units and free text: what they are recognised as, and what must never be recognised."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.terminology.terminology import Terminology

FOLDER = cards_dir() / "value_sets"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The value sets in a folder that a test may change."""
    shutil.copy(FOLDER.parent / "engineering.yaml", tmp_path)
    return Path(shutil.copytree(FOLDER, tmp_path / "value_sets"))


def change(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# Labs and units


def test_a_serum_potassium_code_is_potassium_in_mmol_per_litre(terms: Terminology) -> None:
    lab = terms.lab("http://loinc.org", "2823-3")
    assert lab is not None
    assert (lab.analyte, lab.role, lab.unit, lab.whole_blood) == ("potassium", "routine", "mmol/L", False)


@pytest.mark.parametrize(
    ("code", "analyte", "role", "whole_blood"),
    [
        ("6298-4", "potassium", "routine", True),
        ("51618-7", "potassium", "pre-dialysis", False),
        ("29349-8", "potassium", "post-dialysis", False),
        ("55937-7", "magnesium", "post-dialysis", False),
        ("48643-1", "egfr", "low-priority", False),
        ("8636-3", "qtc", "routine", False),
        ("82810-3", "pregnancy_status", "routine", False),
    ],
)
def test_lab_codes_carry_their_role(terms: Terminology, code: str, analyte: str, role: str, whole_blood: bool) -> None:
    lab = terms.lab("http://loinc.org", code)
    assert lab is not None
    assert (lab.analyte, lab.role, lab.whole_blood) == (analyte, role, whole_blood)


@pytest.mark.parametrize("code", ["2828-2", "2819-1", "2824-1", "1096-7", "28003-2", "2600-5", "26746-8", "19124-7", "2161-8"])
def test_urine_csf_red_cell_ionised_and_kell_codes_are_not_read(terms: Terminology, code: str) -> None:
    lab = terms.lab(None, code)
    assert lab is not None
    assert lab.role == "never"


@pytest.mark.parametrize(
    ("system", "code", "analyte"),
    [
        ("LN", "2823-3", "potassium"),
        ("LOINC", "2601-3", "magnesium"),
        ("http://snomed.info/sct", "1000651000000109", "potassium"),
        ("http://snomed.info/sct/83821000000107", "1000661000000107", "sodium"),
        ("urn:oid:1.2.208.176.2.1", "NPU02647", "magnesium"),
        ("urn:oid:2.16.578.1.12.4.1.1.7280", "NOR25614", "potassium"),
        ("http://openconceptlab.org/orgs/CIEL/sources/CIEL", "1133", "potassium"),
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-d-labitems", "50960", "magnesium"),
        ("urn:oid:1.2.392.200119.4.504", "3H015000002327201", "potassium"),
    ],
)
def test_national_codes_are_known_by_their_system(terms: Terminology, system: str, code: str, analyte: str) -> None:
    lab = terms.lab(system, code)
    assert lab is not None
    assert (lab.analyte, lab.role) == (analyte, "routine")
    assert terms.lab("https://laboratory.example/codes", code) is None


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("urn:oid:1.2.208.176.2.1", "NPU03787"),  # urine
        ("http://snomed.info/sct", "166690008"),  # a finding, no number
        ("http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-d-labitems", "51097"),  # urine
    ],
)
def test_national_codes_of_something_else_are_never_read(terms: Terminology, system: str, code: str) -> None:
    lab = terms.lab(system, code)
    assert lab is not None
    assert lab.role == "never"


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Serum potassium level", "potassium"),
        ("S-Kalium", "potassium"),
        ("Kálium", "potassium"),
        ("POTASIO EN SUERO", "potassium"),
        ("Potassium [Moles/volume] in Serum or Plasma", "potassium"),
        ("P\u2014Magnesium ion; subst.c. = ? mmol/L", "magnesium"),
        ("Plasma sodium level (observable entity)", "sodium"),
        ("Creatinine(Serum)", "creatinine"),
        ("Chloride", "other"),
        ("Potassium, urine", ""),
        ("Urine potassium", ""),
        ("Potassium/creatinine ratio", ""),
        ("Potassium chloride", ""),
        ("Ionised magnesium", ""),
        ("Magnesium RBC", ""),
        ("K", ""),
        ("Kell antigen", ""),
        ("Low potassium diet", ""),
        ("", ""),
    ],
)
def test_names_are_compared_whole(terms: Terminology, name: str, meaning: str) -> None:
    assert terms.lab_names.meaning(name) == meaning


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        ("Venous blood specimen", "blood"),
        ("Urine electrolytes", "other"),
        ("24 hour urine", "other"),
        ("Red blood cells", "other"),
        ("Basic metabolic panel", ""),
        ("Turin", ""),
    ],
)
def test_specimens_are_known_by_a_word(terms: Terminology, name: str, specimen: str) -> None:
    assert terms.lab_names.specimen(name) == specimen


def test_lab_codes_come_in_the_order_of_the_file_and_only_for_the_asked_analytes(terms: Terminology) -> None:
    codes = terms.lab_codes(["magnesium", "potassium"])
    assert codes[0] == "2823-3"
    assert codes.index("29349-8") < codes.index("19123-9")
    assert "2160-0" not in codes
    assert terms.lab_codes([]) == ()


@pytest.mark.parametrize(
    ("analyte", "unit", "factor"),
    [
        ("potassium", "mg/dL", "0.2558"),
        ("magnesium", "mg/dL", "0.41135"),
        ("magnesium", "mEq/L", "0.5"),
        ("creatinine", "mg/dL", "88.4"),
        ("qtc", "s", "1000"),
        ("platelets", "10*3/uL", "1"),
        ("platelets", "/uL", "0.001"),
    ],
)
def test_conversion_factors_are_exact_decimals(terms: Terminology, analyte: str, unit: str, factor: str) -> None:
    assert terms.analytes[analyte].factors[unit] == Decimal(factor)


def test_only_potassium_may_go_without_a_unit(terms: Terminology) -> None:
    assert [one.id for one in terms.analytes.values() if one.no_unit == "accept_code_unit"] == ["potassium"]


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("MEQ/L", "mEq/L"),
        ("meq / l", "mEq/L"),
        ("mmol/l", "mmol/L"),
        ("MG/DL", "mg/dL"),
        ("mg/100mL", "mg/dL"),
        ("µmol/L", "umol/L"),  # micro sign
        ("μmol/L", "umol/L"),  # Greek letter
        ("mcmol/L", "umol/L"),
        ("ml/min/1.73 m²", "mL/min/{1.73_m2}"),
        ("mL/min/1.73.m2", "mL/min/{1.73_m2}"),
        ("sec", "s"),
        ("msec", "ms"),
        ("K/uL", "10*3/uL"),
        ("10^9/L", "10*9/L"),
    ],
)
def test_units_are_understood_as_ehrs_spell_them(terms: Terminology, spelling: str, canonical: str) -> None:
    assert terms.unit(spelling) == canonical


@pytest.mark.parametrize("spelling", ["", "g", "mmol", "mg", "kPa", "mmol/24h"])
def test_an_unknown_unit_is_unknown(terms: Terminology, spelling: str) -> None:
    assert terms.unit(spelling) is None


# Problems


@pytest.mark.parametrize(
    ("system", "code", "sets"),
    [
        (ICD10, "R25.2", {"muscle_cramp"}),
        (ICD10, "r252", {"muscle_cramp"}),
        ("urn:oid:2.16.840.1.113883.6.90", "T67.2XXA", {"heat_cramp"}),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "K74.6+", {"cirrhosis", "chronic_liver_disease", "active_liver_disease"}),
        (ICD10, "K70.31", {"cirrhosis", "chronic_liver_disease", "ascites", "active_liver_disease", "alcohol_use_disorder"}),
        (ICD10, "N18.32", {"ckd_3"}),
        (ICD10, "N18.6", {"esrd"}),
        (ICD10, "G47.62", {"nocturnal_leg_cramp"}),
        (SNOMED, "55300003", {"muscle_cramp"}),
        (SNOMED, "60001007", {"not_pregnant"}),
        (SNOMED, "19943007", {"cirrhosis", "chronic_liver_disease", "active_liver_disease"}),
        (ICD10, "G35", {"spasticity"}),
        (ICD10, "K76.0", set()),
        (ICD10, "B18.2", {"active_liver_disease"}),
        (ICD10, "M62.830", set()),
        (ICD10, "N94.6", set()),
        (ICD10, "D75.A", set()),
        (SNOMED, "5530000", set()),
        (RXNORM, "R25.2", set()),
        (None, "R25.2", set()),
    ],
)
def test_diagnoses_belong_to_the_right_sets(terms: Terminology, system: str | None, code: str, sets: set[str]) -> None:
    assert terms.problem_sets([(system, code)]) == sets


# Text


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("cramp_reason", "nocturnal leg cramps", True),
        ("cramp_reason", "for a period of 4 weeks for cramps", True),
        ("cramp_reason", "abdominal cramps; leg cramps at night", True),
        ("cramp_reason", "menstrual cramps", False),
        ("cramp_reason", "abdominal pain and cramping", False),
        ("cramp_reason", "cramps in the stomach", False),
        ("cramp_reason", "writer's cramp", False),
        ("cramp_reason", "no leg cramps", False),
        ("cramp_reason", "scrambled", False),
        ("exercise_cramp", "Exercise-associated muscle cramps", True),
        ("exercise_cramp", "EXERCISE INDUCED CRAMP", True),
        ("exercise_cramp", "leg cramps after running", True),
        ("exercise_cramp", "exertional cramps", True),
        ("exercise_cramp", "Cramp and spasm", False),
        ("exercise_cramp", "cramps, not exercise-related", False),
        ("exercise_cramp", "non-exertional cramps", False),
        ("malaria_reason", "Plasmodium falciparum malaria", True),
        ("malaria_reason", "babesiosis", True),
        ("malaria_reason", "not for malaria", False),
        ("malaria_reason", "antimalarial", False),
        ("haemolysis", "HEMOLYZED", True),
        ("haemolysis", "Specimen haemolysed (H index high)", True),
        ("haemolysis", "slight haemolysis", True),
        ("haemolysis", "No clot, sample haemolysed", True),
        ("haemolysis", "Haemolysed, not suitable for potassium", True),
        ("haemolysis", "No hemolysis on repeat. First sample hemolyzed", True),
        ("haemolysis", "no haemolysis", False),
        ("haemolysis", "not hemolyzed", False),
        ("haemolysis", "non-hemolyzed", False),
        ("haemolysis", "No evidence of significant haemolysis", False),
        ("haemolysis", "no icterus, lipaemia or haemolysis", False),
        ("haemolysis", "Haemolysis absent", False),
        ("haemolysis", "Hemolysis: none detected", False),
        ("haemolysis", "haemolysis index: 0", False),
        ("haemolysis", "Haemolysis index normal", False),
        ("haemolysis", "haemolytic anaemia", False),
        ("spasticity_reason", "spasticity", True),
        ("spasticity_reason", "multiple sclerosis", True),
        ("spasticity_reason", "spastic colon", False),
        ("spasticity_reason", "leg cramps", False),
    ],
)
def test_texts_are_found_and_their_negations_are_not(terms: Terminology, pattern: str, text: str, found: bool) -> None:
    assert terms.matches(pattern, text) is found


def test_a_pattern_that_does_not_exist_is_an_error(terms: Terminology) -> None:
    with pytest.raises(KeyError):
        terms.matches("no_such_pattern", "text")


# The files


def test_names_for_people_exist_for_every_class_and_problem(terms: Terminology) -> None:
    assert terms.class_display("loop_diuretic") == "loop diuretic"
    assert terms.problem_names["cirrhosis"] == "cirrhosis"
    assert all(terms.drug_classes.values())


def test_the_hash_changes_with_any_file(copy: Path, terms: Terminology) -> None:
    assert Terminology.load(copy).content_hash == terms.content_hash
    change(copy, "drugs/tca.yaml", "Elavil", "Elavyl")
    assert Terminology.load(copy).content_hash != terms.content_hash


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("labs.yaml", "name: potassium", "nam: potassium", r"labs\.yaml:\d+: .*nam"),
        ("labs.yaml", '"mg/dL": 0.2558', '"mg/dl": 0.2558', r"labs\.yaml.*not in units\.yaml: mg/dl"),
        ("labs.yaml", '"mmol/L": 1, "mEq/L": 1', '"mmol/L": 2, "mEq/L": 1', r"labs\.yaml.*factor 1"),
        ("labs.yaml", '"6298-4"', '"2823-3"', r"labs\.yaml.*2823-3 of loinc is listed twice"),
        ("units.yaml", '"MG/DL"', '"mmol/L"', r"units\.yaml.*also stands under mmol/L"),
        ("text.yaml", "charley", "(charley", r"text\.yaml.*is not a pattern"),
        ("drugs/quinine.yaml", r"'\btonic\b'", r"'(tonic'", r"drugs/quinine\.yaml.*is not a pattern"),
        ("drugs/quinine.yaml", "class: quinine", "class: kinine", r"drugs/quinine\.yaml.*must be the name of the file"),
        ("drugs/quinine.yaml", '"9071"', "9071", r"drugs/quinine\.yaml"),
        ("drugs/quinine.yaml", '"997010"', '"99701O"', r"drugs/quinine\.yaml"),
        ("drugs/quinine.yaml", "- name: hydroquinine", '- name: "12"', r"drugs/quinine\.yaml.*no word"),
        ("problems/als.yaml", "match: exact", "match: roughly", r"problems/als\.yaml"),
        ("problems/als.yaml", "  match: '", "  match: '(", r"problems/als\.yaml.*is not a pattern"),
        ("problems/anxiety.yaml", "kept: [risk", "kept: [riks", r"problems/anxiety\.yaml.*cuts of problem_text\.yaml: riks"),
        ("problem_text.yaml", "  admin: '", "  admin: '(", r"problem_text\.yaml.*is not a pattern"),
        ("problems/als.yaml", "codes:", "codes: [", r"problems/als\.yaml.*is not YAML"),
    ],
)
def test_a_mistake_in_a_file_is_reported_with_the_file(copy: Path, name: str, old: str, new: str, message: str) -> None:
    change(copy, name, old, new)
    with pytest.raises(KnowledgeError, match=message):
        Terminology.load(copy)


def test_a_missing_file_is_reported(copy: Path) -> None:
    (copy / "routes.yaml").unlink()
    with pytest.raises(KnowledgeError, match=r"routes\.yaml.*cannot be read"):
        Terminology.load(copy)


def test_answers_are_remembered_and_the_same(terms: Terminology) -> None:
    first = terms.drug(((RXNORM, "997010"),), ("Quinine",))
    assert terms.drug(((RXNORM, "997010"),), ("Quinine",)) is first


def test_ionised_calcium_is_another_analyte_than_total_calcium(terms: Terminology) -> None:
    ionised, total = terms.lab(None, "1994-3"), terms.lab(None, "17861-6")
    assert ionised is not None
    assert total is not None
    assert (ionised.analyte, total.analyte) == ("ionised_calcium", "calcium")
