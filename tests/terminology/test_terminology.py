"""Codes, units, drug names and free text: what they are recognised as, and what must never be recognised."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.terminology.terminology import Terminology

FOLDER = cards_dir() / "value_sets"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
SNOMED = "http://snomed.info/sct"
ICD10 = "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.fixture(scope="module")
def terms() -> Terminology:
    return Terminology.load(FOLDER)


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


# Drugs


@pytest.mark.parametrize(
    ("system", "code", "by"),
    [
        (RXNORM, "997010", "rxnorm"),
        (RXNORM, "9071", "rxnorm"),
        ("urn:oid:2.16.840.1.113883.6.88", "9071", "rxnorm"),
        (ATC, "P01BC01", "atc"),
        (ATC, "m09aa72", "atc"),
        ("urn:oid:2.16.840.1.113883.6.73", "M09AA01", "atc"),
        (SNOMED, "373497008", "snomed"),
        ("https://dmd.nhs.uk", "13816611000001101", "snomed"),
    ],
)
def test_quinine_is_known_by_its_codes(terms: Terminology, system: str, code: str, by: str) -> None:
    found = terms.drug([(system, code)], ())
    assert found.classes == {"quinine"}
    assert (found.by, found.code) == (by, f"{system}|{code}")


@pytest.mark.parametrize(
    "text",
    ["Quinine 300mg nocte", "QUININE SO4 325MG CAP", "quinine300mg", "Qualaquin", "Quinine sulfate 2x daily", "Quinine 3x a day"],
)
def test_quinine_is_known_by_its_name(terms: Terminology, text: str) -> None:
    assert terms.drug([], (text,)).classes == {"quinine"}


@pytest.mark.parametrize(
    "text",
    [
        "Hydroxychloroquine 200 mg BD",
        "chloroquine phosphate 250 mg",
        "tonic water with quinine, 1 glass nightly",
        "Cinchona officinalis 30C (quinine)",
        "quinine 30C pillules, homoeopathic",
        "nystatin",
        "",
    ],
)
def test_what_only_sounds_like_quinine_is_not(terms: Terminology, text: str) -> None:
    assert "quinine" not in terms.drug([], (text,)).classes


@pytest.mark.parametrize(("system", "code"), [(ATC, "C01BA01"), (RXNORM, "852913"), (SNOMED, "31306009")])
def test_quinidine_is_a_drug_of_its_own_that_prolongs_qt(terms: Terminology, system: str, code: str) -> None:
    assert terms.drug([(system, code)], ("quinidine sulfate 300 MG",)).classes == {"quinidine", "qt_known_risk"}


@pytest.mark.parametrize(("code", "really"), [("283742", "esomeprazole"), ("852920", "quinidine gluconate")])
def test_a_code_known_to_be_mislabelled_as_quinine_is_recognised_by_the_text_and_says_so(
    terms: Terminology, code: str, really: str
) -> None:
    found = terms.drug([(RXNORM, code)], ("Quinine sulfate 324 MG Oral Tablet",))
    assert found.classes == {"quinine"}
    assert (found.by, found.code, found.disagrees) == ("text", "", really)


def test_a_text_that_names_another_of_our_drugs_than_the_code_disagrees(terms: Terminology) -> None:
    found = terms.drug([(RXNORM, "1292")], ("lisinopril 10 MG Oral Tablet",))
    assert found.classes == {"baclofen"}
    assert found.disagrees == "lisinopril"


def test_a_text_that_agrees_with_the_code_does_not_disagree(terms: Terminology) -> None:
    assert terms.drug([(RXNORM, "1292")], ("Lioresal",)).disagrees == ""


def test_a_code_for_one_part_of_a_combination_and_a_text_for_both_give_both(terms: Terminology) -> None:
    found = terms.drug([(RXNORM, "29046")], ("lisinopril 20 MG / hydrochlorothiazide 12.5 MG",))
    assert found.classes == {"ace_inhibitor", "thiazide_diuretic"}
    assert found.ingredients == ("lisinopril", "hydrochlorothiazide")
    assert (found.by, found.disagrees) == ("rxnorm", "")


def test_a_name_inside_another_name_is_no_second_ingredient(terms: Terminology) -> None:
    assert terms.drug((), ("NPH insulin",)).ingredients == ("insulin isophane",)
    assert terms.drug((), ("Insuline glargine",)).ingredients == ("insulin glargine",)
    assert terms.drug((), ("Insulin",)).ingredients == ("insulin",)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("Avalide 150/12.5", {"arb", "thiazide_diuretic"}),
        ("co-amilofruse 5/40", {"k_sparing_diuretic", "loop_diuretic"}),
        ("Dyazide", {"k_sparing_diuretic", "thiazide_diuretic"}),
        ("Entresto 24/26", {"arb", "renin_inhibitor_arni"}),
        ("Losartan Potassium 50 MG Oral Tablet", {"arb"}),
        ("Aldactazide", {"mra", "thiazide_diuretic"}),
        ("methadone 10 mg", {"opioid", "qt_known_risk"}),
        ("Frusemide 40mg", {"loop_diuretic"}),
        ("Limbitrol", {"benzodiazepine", "tca"}),
        ("acetylsalicylic acid 81 mg", {"aspirin"}),
        ("mesalamine (5-ASA) 400 mg", set()),
    ],
)
def test_names_and_brands_are_recognised_with_every_ingredient(terms: Terminology, text: str, classes: set[str]) -> None:
    assert terms.drug([], (text,)).classes == classes


@pytest.mark.parametrize(
    ("code", "classes"),
    [
        ("C03EA01", {"thiazide_diuretic", "k_sparing_diuretic"}),
        ("C03EB01", {"loop_diuretic", "k_sparing_diuretic"}),
        ("C09BA02", {"ace_inhibitor", "thiazide_diuretic"}),
        ("C09DX04", {"arb", "renin_inhibitor_arni"}),
        ("N07BC51", {"opioid"}),
        ("N07BC04", set()),
        ("M03BX01", {"baclofen"}),
        ("M03BX02", {"muscle_relaxant"}),
        ("P01BA02", {"qt_known_risk"}),
        ("A02AA04", set()),
        ("N03AX16", {"gabapentinoid"}),
    ],
)
def test_atc_groups_give_classes_with_their_exceptions(terms: Terminology, code: str, classes: set[str]) -> None:
    assert terms.drug([(ATC, code)], ()).classes == classes


@pytest.mark.parametrize(
    "text",
    [
        "potassium chloride 20 MEQ Extended Release Oral Tablet",
        "KCl 600 mg",
        "Klor-Con M20",
        "Slow-K",
        "Potassium 20 mEq tablet",
    ],
)
def test_potassium_supplements_are_recognised(terms: Terminology, text: str) -> None:
    assert "potassium_supplement" in terms.drug([], (text,)).classes


@pytest.mark.parametrize(
    "text",
    [
        "Losartan Potassium 50 MG",
        "Penicillin V Potassium 500 MG",
        "amoxicillin / clavulanate potassium",
        "diclofenac potassium 50 mg",
        "potassium permanganate soak",
        "potassium iodide 65 mg",
        "polyethylene glycol 3350 / potassium chloride powder, bowel prep",
        "macrogol / potassium chloride sachet",
    ],
)
def test_potassium_salts_and_bowel_preparations_are_no_supplement(terms: Terminology, text: str) -> None:
    assert "potassium_supplement" not in terms.drug([], (text,)).classes


@pytest.mark.parametrize(
    "text", ["magnesium oxide 400 MG Oral Tablet", "Mag-Ox 400", "Magnesium 400 mg tablet", "magnesium glycinate"]
)
def test_magnesium_supplements_are_recognised(terms: Terminology, text: str) -> None:
    assert "magnesium_supplement" in terms.drug([], (text,)).classes


@pytest.mark.parametrize(
    "text",
    [
        "esomeprazole magnesium 40 MG",
        "aluminum hydroxide / magnesium hydroxide 400 mg suspension",
        "magnesium citrate solution, bowel preparation",
        "magnesium sulfate ointment",
        "citric acid / magnesium oxide / picosulfate sodium",
    ],
)
def test_antacids_bowel_preparations_and_magnesium_salts_are_no_supplement(terms: Terminology, text: str) -> None:
    assert "magnesium_supplement" not in terms.drug([], (text,)).classes


@pytest.mark.parametrize(
    ("codings", "text", "route", "expected"),
    [
        ([(RXNORM, "197391")], "baclofen 10 MG Oral Tablet", "", "oral"),
        ([(RXNORM, "308517")], "", "", "intrathecal"),
        ([], "BACLOFEN 0.5MG/ML INJ", "", "intrathecal"),
        ([], "baclofen pump refill", "", "intrathecal"),
        ([], "baclofen 10 mg", "injection", "intrathecal"),
        ([], "baclofen 10 mg, take it with food", "", ""),
    ],
)
def test_any_injection_of_baclofen_is_intrathecal(
    terms: Terminology, codings: list[tuple[str | None, str | None]], text: str, route: str, expected: str
) -> None:
    found = terms.drug(codings, (text,), "injection" if route else "")
    assert found.classes == {"baclofen"}
    assert found.route == expected


@pytest.mark.parametrize(
    ("codings", "texts", "applies"),
    [
        ([], ("albuterol 4 MG Oral Tablet",), True),
        ([], ("terbutaline 1 MG/ML Injection",), True),
        ([(ATC, "R03CC02")], (), True),
        ([(ATC, "R03AC02")], (), False),
        ([], ("Ventolin inhaler prn",), False),
        ([], ("salbutamol",), False),
    ],
)
def test_a_beta_agonist_is_systemic_only_by_mouth_or_injection(
    terms: Terminology, codings: list[tuple[str | None, str | None]], texts: tuple[str, ...], applies: bool
) -> None:
    assert ("systemic_beta2" in terms.drug(codings, texts).classes) is applies


@pytest.mark.parametrize("text", ["Diclofenac Sodium 1% Topical Gel", "ketorolac 0.5 % ophthalmic solution", "ibuprofen cream"])
def test_an_nsaid_on_the_skin_or_in_the_eye_is_named_but_not_in_the_class(terms: Terminology, text: str) -> None:
    found = terms.drug([], (text,))
    assert found.ingredients
    assert found.classes == frozenset()


def test_the_route_of_the_dosage_counts_more_than_the_text(terms: Terminology) -> None:
    assert terms.drug([], ("diclofenac 1 %",), "topical").classes == frozenset()
    assert terms.drug([], ("diclofenac 50 mg",), "oral").classes == {"nsaid"}


def test_routes_are_read_from_codes_and_words(terms: Terminology) -> None:
    assert terms.route([(SNOMED, "26643006")], ()) == "oral"
    assert terms.route([(SNOMED, "72607000")], ("injection",)) == "intrathecal"
    assert terms.route([], ("by mouth",)) == "oral"
    assert terms.route([(SNOMED, "45890007")], ("transdermal",)) == ""


@pytest.mark.parametrize(
    "codings", [[(None, "9071")], [(RXNORM, None)], [("http://hl7.org/fhir/sid/ndc", "9071")], [(SNOMED, "9071")], []]
)
def test_a_code_without_its_system_says_nothing(terms: Terminology, codings: list[tuple[str | None, str | None]]) -> None:
    assert terms.drug(codings, ()).by == ""


def test_two_texts_are_not_read_as_one_name(terms: Terminology) -> None:
    assert terms.drug([], ("potassium", "chloride")).classes == frozenset()


def test_an_allergy_counts_whatever_the_route_or_the_wording(terms: Terminology) -> None:
    assert terms.classes_for_allergy([], ("Allergy to quinine (tonic water)",)) == {"quinine"}
    assert terms.classes_for_allergy([(RXNORM, "9068")], ()) == {"quinidine", "qt_known_risk"}
    assert terms.classes_for_allergy([], ("diclofenac gel",)) == {"nsaid"}
    assert terms.classes_for_allergy([], ("peanut",)) == frozenset()


@given(st.text(max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    found = _TERMS.drug([], (text,))
    assert bool(found.ingredients) == (found.by == "text")


_TERMS = Terminology.load(FOLDER)


def test_every_drug_of_the_qt_list_names_the_list_or_a_label_as_its_source() -> None:
    text = (FOLDER / "drugs" / "qt_known_risk.yaml").read_text(encoding="utf-8")
    sources = re.findall(r'    source: "(.*)"', text)
    assert len(sources) == text.count("  - name: ") > 50
    named = re.compile("CredibleMeds snapshot 2017|label|product information|FDA|HSA|BfArM|PMC[0-9]+")
    assert [source for source in sources if named.search(source) is None] == []


# Classes of the second review, and the routes that they hang on


@pytest.mark.parametrize(
    ("text", "route", "classes"),
    [
        ("prednisone 40 mg tablet", "oral", {"corticosteroid_systemic"}),
        ("hydrocortisone 2.5 % cream", "topical", set()),
        ("hydrocortisone 1% ointment", "topical", set()),
        ("dexamethasone 0.1 % eye drops", "ophthalmic", set()),
        ("methylprednisolone sodium succinate 125 mg IV", "intravenous", {"corticosteroid_systemic"}),
        ("amphotericin B liposome 50 mg vial", "injection", {"amphotericin_b"}),
        ("amphotericin B lozenge", "oral", set()),
        ("albuterol 2.5 mg/3 mL inhalation solution", "nebulised", {"beta2_inhaled", "beta2_nebulised"}),
        ("salbutamol 5 mg nebules", "nebulised", {"beta2_inhaled", "beta2_nebulised"}),
        ("albuterol HFA 90 mcg/actuation inhaler", "inhaled", {"beta2_inhaled"}),
        ("albuterol 2 mg tablet", "oral", {"systemic_beta2"}),
        ("terbutaline 1 mg/mL injection", "injection", {"systemic_beta2"}),
        ("ciprofloxacin 500 mg tablet", "oral", {"ciprofloxacin", "qt_known_risk"}),
        ("ciprofloxacin 0.3 % ophthalmic solution", "ophthalmic", set()),
        ("enoxaparin 40 mg/0.4 mL syringe", "injection", {"lmwh"}),
        ("heparin lock flush 10 units/mL", "", set()),
        ("heparin 5,000 units/mL injection", "injection", {"other_parenteral_anticoagulant"}),
        ("lithium carbonate 300 mg", "", {"lithium"}),
        ("moclobemide 150 mg tablets", "oral", {"maoi"}),
        ("amiodarone 200 mg tablet", "oral", {"class_iii_antiarrhythmic", "qt_known_risk", "statin_level_raiser"}),
        ("potassium chloride 20 mEq ER tablet", "oral", {"potassium_supplement"}),
        ("potassium chloride 20 mEq in 100 mL IVPB", "intravenous", {"potassium_supplement"}),
        ("potassium chloride 2 mEq/mL injection", "intravenous", {"potassium_supplement"}),
        ("potassium chloride 10 % oral solution 20 mEq/15 mL", "oral", {"potassium_supplement"}),
        ("magnesium sulfate 2 g/50 mL premix", "intravenous", {"magnesium_supplement"}),
        ("insulin regular 100 units in NS 100 mL", "intravenous", {"insulin"}),
        ("insulin regular infusion", "intravenous", {"insulin"}),
        ("insulin drip", "intravenous", {"insulin"}),
        ("Insulin 10 IE", "", {"insulin"}),
        ("insulin infusion pump", "", set()),
        ("insulin-like growth factor", "", set()),
        ("lancets for insulin users", "", set()),
        ("insulin lispro 100 units/mL vial", "injection", {"insulin"}),
        ("NyQuil Cold & Flu liquid", "", {"acetaminophen"}),
        ("NyQuil Cough liquid", "", set()),
        ("Lemsip Max sachets", "", {"acetaminophen"}),
        ("Microgynon 30 tablets", "oral", {"combined_contraceptive"}),
        ("cetirizine 10 mg tablet", "oral", set()),
    ],
)
def test_classes_and_routes_of_the_second_review(terms: Terminology, text: str, route: str, classes: set[str]) -> None:
    found = terms.drug((), (text,))
    assert found.classes == classes
    assert found.route == route or not classes


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
