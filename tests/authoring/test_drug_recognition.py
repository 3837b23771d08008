"""The measurement of drug recognition, on small tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.authoring.drug_recognition import ClassFigures, Difference, Differences, Spelling, measure, read_differences
from cds_service.cli.main import main
from cds_service.files.yaml_file import KnowledgeError
from tests.reading import terminology

HEADER = "rxcui,name,tty,route,ingredients,classes\n"
ROWS = """9071,quinine,IN,unspecified,quinine,quinine
1,quinine sulfate 324 MG Oral Capsule,SCD,oral,quinine,quinine
2,Q-Nine 300 mg,,oral,quinine,quinine
3,quinidine sulfate 200 MG Oral Tablet,SCD,oral,quinidine,quinidine_trap
4,aspirin 325 MG / codeine 30 MG Oral Tablet,SCD,oral,aspirin|codeine,nsaid|opioid
5,aspirin 81 MG,,oral,aspirin,nsaid
6,codeine 30 MG Oral Tablet,,oral,codeine,opioid
7,tramadol 50 MG / quinine 10 MG Oral Tablet,,oral,codeine,opioid
8,dihydrocodeine 30 MG,,oral,,
"""
CUT = Differences(
    (Difference("quinidine_trap", ("quinidine", "qt_known_risk"), "two"), Difference("nsaid", ("aspirin",), "own", ("aspirin",)))
)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_text(HEADER + ROWS, encoding="utf-8")
    return path


def counts(figures: ClassFigures) -> tuple[int, int, int, int]:
    return figures.found, figures.missed, figures.wrong, figures.not_judged


def test_hits_misses_and_wrong_hits_are_counted_per_class(products: Path) -> None:
    measured = measure(products, terminology(), "text", CUT)
    figures = measured.figures
    assert measured.products == 9
    assert counts(figures["quinine"]) == (2, 1, 1, 0)
    assert counts(figures["quinidine"]) == (1, 0, 0, 0)
    assert counts(figures["aspirin"]) == (2, 0, 0, 0)
    assert counts(figures["opioid"]) == (3, 0, 0, 1)
    assert counts(figures["baclofen"]) == (0, 0, 0, 0)
    assert figures["quinine"].recall == figures["quinine"].precision == pytest.approx(200 / 3)
    assert figures["baclofen"].recall is None
    assert figures["baclofen"].precision is None


def test_each_misjudged_product_is_listed_with_what_it_was_taken_for(products: Path) -> None:
    measured = measure(products, terminology(), "text", CUT)
    assert [(one.kind, one.class_id, one.rxcui, one.recognised) for one in measured.misses] == [
        ("missed", "quinine", "2", ""),
        ("wrong", "quinine", "7", "quinine"),
        ("not judged", "opioid", "8", "dihydrocodeine"),
    ]
    assert measured.confusions() == {("quinine", "quinine", "codeine"): 1}


def test_without_differences_the_table_is_taken_at_its_word(products: Path) -> None:
    figures = measure(products, terminology(), "text").figures
    assert counts(figures["aspirin"]) == (0, 0, 2, 0)
    assert counts(figures["nsaid"]) == (0, 2, 0, 0)


def test_a_difference_can_hold_for_names_only_and_a_spelling_adds_an_ingredient(products: Path) -> None:
    rules = Differences(
        (Difference("opioid", (), "none", name=r"\btramadol\b"), *CUT.differences), (Spelling(r"\bQ-Nine\b", ("codeine",)),)
    )
    figures = measure(products, terminology(), "text", rules).figures
    assert counts(figures["opioid"]) == (2, 1, 0, 2)


def test_a_product_is_measured_by_its_code_alone_or_by_both(products: Path) -> None:
    assert counts(measure(products, terminology(), "code", CUT).figures["quinine"]) == (1, 2, 0, 0)
    assert counts(measure(products, terminology(), "both", CUT).figures["quinine"]) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rxcui,name,route\n1,x,oral\n", r"products\.csv:1: .*no column ingredients, classes"),
        (HEADER + "1,quinine\n", r"products\.csv:2: .*more or fewer cells"),
        (HEADER + "1,quinine,,,quinine,quinine,,more\n", r"products\.csv:2: .*more or fewer cells"),
        ("", r"products\.csv:1: .*no column rxcui"),
    ],
)
def test_a_table_without_the_columns_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "products.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=message):
        measure(path, terminology(), "text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("differences: [{table: a, ours: [], becuase: x}]", r"rules\.yaml:1: .*becuase"),
        ("differences: [{table: a}]", r"rules\.yaml:1: .*ours|because"),
    ],
)
def test_a_mistake_in_the_rules_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=message):
        read_differences(path)


def test_a_pattern_that_is_none_is_an_error(products: Path) -> None:
    with pytest.raises(KnowledgeError, match="is not a pattern"):
        measure(products, terminology(), "text", Differences((Difference("nsaid", (), "x", name="("),)))


def test_the_command_prints_the_table_the_confusions_and_the_misses(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_RXNORM_FILE", str(tmp_path / "none"))
    rules = tmp_path / "rules.yaml"
    rules.write_text("differences: [{table: nsaid, ours: [aspirin], because: own}]", encoding="utf-8")
    assert main(["terminology", "measure", str(products), "--differences", str(rules), "--misses"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 products by text"
    assert [line.split() for line in lines if line.startswith("quinine ")] == [
        ["quinine", "2", "1", "1", "0", "66.67", "%", "66.67", "%"]
    ]
    assert [line.split() for line in lines if line.startswith("baclofen ")] == [["baclofen", "0", "0", "0", "0", "-", "-"]]
    assert "    1  quinine: quinine <- codeine" in lines
    assert "quinine: missed: 2 Q-Nine 300 mg (table: quinine)" in lines
    assert "opioid: not judged: 8 dihydrocodeine 30 MG (table: ) taken for dihydrocodeine" in lines


def test_the_command_says_whether_a_lookup_was_used_and_names_a_missing_table(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_RXNORM_FILE", str(tmp_path / "none"))
    assert main(["terminology", "measure", str(products), "--by", "code"]) == 0
    assert capsys.readouterr().out.startswith("9 products by code, no RxNorm lookup\n")
    assert main(["terminology", "measure", str(tmp_path / "no.csv")]) == 1
    assert "no.csv: No such file" in capsys.readouterr().err
