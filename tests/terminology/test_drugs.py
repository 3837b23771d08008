"""Codes, names and routes of drugs: what they are recognised as, and what must never be recognised."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.files.paths import cards_dir
from cds_service.terminology.terminology import Terminology

FOLDER = cards_dir() / "value_sets"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
SNOMED = "http://snomed.info/sct"


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
