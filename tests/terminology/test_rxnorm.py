"""The RxNorm lookup: made from files in NLM's layout, and what a product code is then recognised as."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from cds_service.authoring.progress import Progress
from cds_service.authoring.rxnorm_load import load, release_of
from cds_service.cli.main import main
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.terminology import rxnorm
from cds_service.terminology.terminology import Terminology
from tests.reading import terminology

FOLDER = cards_dir() / "value_sets"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
TODAY = "2025-09-02"

# RXCUI, term type, name. Ingredients have their real codes, products have codes that no value set lists.
CONCEPTS = [
    ("9071", "IN", "quinine"),
    ("9075", "PIN", "quinine sulfate"),
    ("9068", "IN", "quinidine"),
    ("52175", "IN", "losartan"),
    ("203160", "PIN", "losartan potassium"),
    ("5487", "IN", "hydrochlorothiazide"),
    ("8591", "IN", "potassium chloride"),
    ("283742", "IN", "esomeprazole"),
    ("236611", "PIN", "esomeprazole magnesium"),
    ("6582", "IN", "magnesium oxide"),
    ("8514", "IN", "polyethylene glycol 3350"),
    ("3355", "IN", "diclofenac"),
    ("99", "IN", "an ingredient that no value set has"),
    ("9900001", "SCDC", "quinine sulfate 324 MG"),
    ("9900002", "SCD", "quinine sulfate 324 MG Oral Capsule"),
    ("9900003", "BN", "Cinchonex"),
    ("9900004", "SBD", "quinine sulfate 324 MG Oral Capsule [Cinchonex]"),
    ("9900005", "SCDC", "quinidine sulfate 200 MG"),
    ("9900006", "SCD", "quinidine sulfate 200 MG Oral Tablet"),
    ("9900010", "SCDC", "losartan potassium 50 MG"),
    ("9900011", "SCDC", "hydrochlorothiazide 12.5 MG"),
    ("9900012", "SCD", "hydrochlorothiazide 12.5 MG / losartan potassium 50 MG Oral Tablet"),
    ("9900013", "MIN", "hydrochlorothiazide / losartan"),
    ("9900014", "SBD", "hydrochlorothiazide 12.5 MG / losartan potassium 50 MG Oral Tablet [Lozatric]"),
    ("9900015", "BN", "Lozatric"),
    ("9900016", "SCD", "losartan potassium 50 MG Oral Tablet"),
    ("9900020", "SCDF", "potassium chloride Extended Release Oral Tablet"),
    ("9900021", "SCD", "potassium chloride 20 MEQ Extended Release Oral Tablet"),
    ("9900022", "SCD", "12 HR potassium chloride 20 MEQ Extended Release Oral Tablet"),
    ("9900023", "SCD", "polyethylene glycol 3350 420000 MG / potassium chloride 1480 MG Powder for Oral Solution"),
    ("9900030", "SCD", "esomeprazole magnesium 40 MG Delayed Release Oral Capsule"),
    ("9900031", "SCDC", "esomeprazole magnesium 40 MG"),
    ("9900040", "GPCK", "{10 (quinine sulfate 324 MG Oral Capsule) / 4 (magnesium oxide 400 MG Oral Tablet) } Pack"),
    ("9900041", "BPCK", "{10 (quinine sulfate 324 MG Oral Capsule) / 4 (magnesium oxide 400 MG Oral Tablet) } Pack [Cinchopak]"),
    ("9900042", "SCD", "magnesium oxide 400 MG Oral Tablet"),
    ("9900050", "SCD", "diclofenac sodium 10 MG/ML Topical Gel"),
    ("9900051", "SCD", "diclofenac sodium 50 MG Oral Tablet"),
    ("9900060", "SCD", "something else 5 MG Oral Tablet"),
    ("9900061", "SCD", "a product without relations"),
]

# first, relation, second as people say it; a row of the file has the second one first
RELATIONS = [
    ("9075", "form_of", "9071"),
    ("9900001", "has_ingredient", "9071"),
    ("9900001", "has_precise_ingredient", "9075"),
    ("9900002", "consists_of", "9900001"),
    ("9900003", "tradename_of", "9071"),
    ("9900004", "tradename_of", "9900002"),
    ("9900004", "has_ingredient", "9900003"),
    ("9900005", "has_ingredient", "9068"),
    ("9900006", "consists_of", "9900005"),
    ("203160", "form_of", "52175"),
    ("9900010", "has_precise_ingredient", "203160"),
    ("9900011", "has_ingredient", "5487"),
    ("9900012", "consists_of", "9900010"),
    ("9900012", "consists_of", "9900011"),
    ("9900012", "has_ingredients", "9900013"),
    ("9900013", "has_part", "5487"),
    ("9900013", "has_part", "52175"),
    ("9900014", "tradename_of", "9900012"),
    ("9900014", "has_ingredient", "9900015"),
    ("9900015", "tradename_of", "5487"),
    ("9900015", "tradename_of", "52175"),
    ("9900015", "tradename_of", "8591"),  # the family of the brand has a member that the product isn't
    ("9900016", "consists_of", "9900010"),
    ("9900020", "has_ingredient", "8591"),
    ("9900021", "isa", "9900020"),
    ("9900022", "quantified_form_of", "9900021"),
    ("9900023", "has_ingredient", "8514"),
    ("9900023", "has_ingredient", "8591"),
    ("236611", "form_of", "283742"),
    ("9900031", "has_precise_ingredient", "236611"),
    ("9900030", "consists_of", "9900031"),
    ("9900042", "has_ingredient", "6582"),
    ("9900040", "contains", "9900002"),
    ("9900040", "contains", "9900042"),
    ("9900041", "tradename_of", "9900040"),
    ("9900050", "has_ingredient", "3355"),
    ("9900051", "has_ingredient", "3355"),
    ("9900060", "has_ingredient", "99"),
    ("9900060", "reformulated_to", "9900002"),
]
INVERSE = {
    "form_of": "has_form",
    "has_ingredient": "ingredient_of",
    "has_ingredients": "ingredients_of",
    "has_precise_ingredient": "precise_ingredient_of",
    "has_part": "part_of",
    "consists_of": "constitutes",
    "tradename_of": "has_tradename",
    "isa": "inverse_isa",
    "quantified_form_of": "has_quantified_form",
    "contains": "contained_in",
    "reformulated_to": "reformulation_of",
}


def conso(code: str, kind: str, name: str, suppress: str = "N", source: str = "RXNORM") -> str:
    """RXCUI, LAT, TS, LUI, STT, SUI, ISPREF, RXAUI, SAUI, SCUI, SDUI, SAB, TTY, CODE, STR, SRL, SUPPRESS, CVF of RXNCONSO."""
    return f"{code}|ENG||||||77{code}|77{code}|{code}||{source}|{kind}|{code}|{name}||{suppress}|4096|"


def rel(first: str, relation: str, second: str, suppress: str = "", source: str = "RXNORM") -> str:
    """A row of RXNREL that says "`first` `relation` `second`", so `second` is RXCUI1 and `first` is RXCUI2."""
    return f"{second}||CUI|RO|{first}||CUI|{relation}|1||{source}||||{suppress}|4096|"


def both_ways(relations: Iterable[tuple[str, str, str]]) -> list[str]:
    return [row for a, name, b in relations for row in (rel(a, name, b), rel(b, INVERSE[name], a))]


def write(folder: Path, names: Iterable[str], relations: Iterable[str]) -> tuple[Path, Path]:
    paths = folder / "RXNCONSO.RRF", folder / "RXNREL.RRF"
    for path, rows in zip(paths, (names, relations), strict=True):
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return paths


NAMES = [conso(*one) for one in CONCEPTS]


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    to = tmp_path / "rxnorm.msgpack"
    load(*write(tmp_path, NAMES, both_ways(RELATIONS)), to, TODAY, Progress(io.StringIO()))
    return to


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Terminology:
    """With the lookup of `loaded`; for tests that only look up."""
    return reload(tmp_path_factory.mktemp("rxnorm"), NAMES, both_ways(RELATIONS))


def reload(folder: Path, names: Iterable[str], relations: Iterable[str]) -> Terminology:
    to = folder / "rxnorm.msgpack"
    load(*write(folder, names, relations), to, TODAY, Progress(io.StringIO()))
    return Terminology.load(FOLDER, to)


@pytest.mark.parametrize(
    ("code", "ingredients", "classes"),
    [
        ("9900002", {"quinine"}, {"quinine"}),  # clinical drug
        ("9900001", {"quinine"}, {"quinine"}),  # component
        ("9900003", {"quinine"}, {"quinine"}),  # brand name
        ("9900004", {"quinine"}, {"quinine"}),  # branded drug
        ("9900006", {"quinidine"}, {"quinidine", "qt_known_risk"}),
        ("9900012", {"losartan", "hydrochlorothiazide"}, {"arb", "thiazide_diuretic"}),
        ("9900013", {"losartan", "hydrochlorothiazide"}, {"arb", "thiazide_diuretic"}),  # several ingredients
        ("9900016", {"losartan"}, {"arb"}),
        ("9900020", {"potassium chloride"}, {"potassium_supplement"}),  # drug and form
        ("9900021", {"potassium chloride"}, {"potassium_supplement"}),
        ("9900022", {"potassium chloride"}, {"potassium_supplement"}),  # quantified
        ("9900040", {"quinine", "magnesium oxide"}, {"quinine", "magnesium_supplement"}),  # pack
        ("9900041", {"quinine", "magnesium oxide"}, {"quinine", "magnesium_supplement"}),  # branded pack
    ],
)
def test_a_product_code_alone_leads_to_all_its_ingredients(
    terms: Terminology, code: str, ingredients: set[str], classes: set[str]
) -> None:
    found = terms.drug([(RXNORM, code)], ())
    assert set(found.ingredients) == ingredients
    assert found.classes == classes
    assert (found.by, found.code) == ("rxnorm", f"{RXNORM}|{code}")
    assert terminology().drug([(RXNORM, code)], ()).by == ""  # without the lookup, as ever


def test_a_brand_name_counts_only_where_nothing_more_exact_leads_to_an_ingredient(terms: Terminology) -> None:
    assert set(terms.drug([(RXNORM, "9900014")], ()).ingredients) == {"losartan", "hydrochlorothiazide"}
    assert "potassium chloride" in terms.drug([(RXNORM, "9900015")], ()).ingredients


def test_a_branded_drug_with_nothing_but_its_brand_name_has_the_ingredients_of_the_brand(tmp_path: Path) -> None:
    terms = reload(tmp_path, NAMES, both_ways([("9900004", "has_ingredient", "9900003"), ("9900003", "tradename_of", "9071")]))
    assert terms.drug([(RXNORM, "9900004")], ()).classes == {"quinine"}


@pytest.mark.parametrize("code", ["9900030", "9900031", "9900060", "9900061", "8514"])
def test_products_of_other_drugs_and_magnesium_as_a_salt_are_not_recognised_as_ours(terms: Terminology, code: str) -> None:
    classes = terms.drug([(RXNORM, code)], ()).classes
    assert classes.isdisjoint({"magnesium_supplement", "quinine", "potassium_supplement"})


def test_a_code_of_the_lookup_that_is_none_of_ours_is_another_drug_and_one_of_no_table_is_not_known(terms: Terminology) -> None:
    assert terms.drug([(RXNORM, "9900023")], ()).identified
    assert not terms.drug([(RXNORM, "9911111")], ()).identified
    assert not terminology().drug([(RXNORM, "9900023")], ()).identified


def test_a_bowel_preparation_by_code_is_no_potassium_supplement_whatever_the_text_says(terms: Terminology) -> None:
    assert terms.drug([(RXNORM, "9900023")], ()).classes == frozenset()
    assert terms.drug([(RXNORM, "9900023")], ("potassium chloride oral solution",)).classes == frozenset()


def test_the_route_comes_from_the_name_of_the_product_unless_the_order_says_another(terms: Terminology) -> None:
    gel = terms.drug([(RXNORM, "9900050")], ())
    assert (gel.route, gel.classes) == ("topical", frozenset())
    assert terms.drug([(RXNORM, "9900051")], ()).classes == {"nsaid"}
    assert terms.drug([(RXNORM, "9900051")], ("diclofenac cream",)).route == "topical"
    assert terms.drug([(RXNORM, "9900050")], (), "oral").classes == {"nsaid"}


def test_a_code_of_a_value_set_counts_more_than_the_lookup_and_the_lookup_more_than_the_text(tmp_path: Path) -> None:
    names = [*NAMES, conso("997010", "SCD", "something RxNorm calls losartan")]
    terms = reload(tmp_path, names, both_ways([*RELATIONS, ("997010", "has_ingredient", "52175")]))
    assert terms.drug([(RXNORM, "997010")], ()).classes == {"quinine"}
    disagreeing = terms.drug([(RXNORM, "9900016")], ("quinine sulfate 324 MG",))
    assert disagreeing.classes == {"arb"}
    assert disagreeing.disagrees == "quinine"


def test_each_row_of_a_pair_of_relations_is_enough_on_its_own(tmp_path: Path) -> None:
    for row in (rel("9900002", "has_ingredient", "9071"), rel("9071", "ingredient_of", "9900002")):
        assert reload(tmp_path, NAMES, [row]).drug([(RXNORM, "9900002")], ()).classes == {"quinine"}


def test_the_direction_is_what_the_second_concept_has_to_the_first(tmp_path: Path) -> None:
    rows = [rel("9900001", "has_ingredient", "9071"), "9900002||CUI|RO|9900001||CUI|consists_of|1||RXNORM|||||4096|"]
    terms = reload(tmp_path, NAMES, rows)
    assert terms.drug([(RXNORM, "9900001")], ()).classes == {"quinine"}
    assert terms.drug([(RXNORM, "9900002")], ()).by == ""


@pytest.mark.parametrize(("suppress", "classes"), [("N", {"quinine"}), ("E", {"quinine"}), ("O", {"quinine"}), ("Y", set())])
def test_obsolete_names_are_kept_for_old_records_and_names_that_editors_rejected_are_not(
    tmp_path: Path, suppress: str, classes: set[str]
) -> None:
    names = [conso("9071", "IN", "quinine"), conso("9900002", "SCD", "quinine", suppress), conso("9900099", "SCD", "other")]
    rows = [rel("9900002", "has_ingredient", "9071"), rel("9900099", "has_ingredient", "9071")]
    assert reload(tmp_path, names, rows).drug([(RXNORM, "9900002")], ()).classes == classes


def test_an_obsolete_name_never_replaces_the_current_one(tmp_path: Path) -> None:
    names = [conso("3355", "IN", "diclofenac"), conso("9900050", "SCD", "diclofenac Topical Gel")]
    rows = [rel("9900050", "has_ingredient", "3355")]
    for ordered in ([*names, conso("9900050", "SCD", "old name", "O")], [conso("9900050", "SCD", "old name", "O"), *names]):
        assert reload(tmp_path, ordered, rows).drug([(RXNORM, "9900050")], ()).route == "topical"


@pytest.mark.parametrize(
    "row",
    [
        rel("9900061", "has_ingredient", "9071", suppress="O"),
        rel("9900061", "has_ingredient", "9071", suppress="Y"),
        rel("9900061", "has_ingredient", "9071", source="MTHSPL"),
        rel("9900061", "has_inactive_ingredient", "9071"),
        rel("9900061", "reformulated_to", "9071"),
        "|7799000|AUI|RO||779071|AUI|has_ingredient|1||RXNORM|||||4096|",
    ],
)
def test_relations_that_are_withdrawn_or_of_other_sources_or_other_kinds_do_not_count(tmp_path: Path, row: str) -> None:
    assert reload(tmp_path, NAMES, [*both_ways(RELATIONS), row]).drug([(RXNORM, "9900061")], ()).by == ""


def test_names_of_other_sources_are_not_read(tmp_path: Path) -> None:
    label = conso("9900002", "SCD", "quinine", source="MTHSPL")
    names = [conso("9071", "IN", "quinine"), label, conso("9900099", "SCD", "other")]
    rows = [rel("9900002", "has_ingredient", "9071"), rel("9900099", "has_ingredient", "9071")]
    assert reload(tmp_path, names, rows).drug([(RXNORM, "9900002")], ()).by == ""


def test_relations_that_go_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    circle = [("9900001", "isa", "9900002"), ("9900002", "isa", "9900001"), ("9900001", "has_ingredient", "9071")]
    assert reload(tmp_path, NAMES, both_ways(circle)).drug([(RXNORM, "9900002")], ()).classes == {"quinine"}


def test_the_file_says_which_release_it_is_and_what_it_was_made_from(loaded: Path) -> None:
    about = Terminology.load(FOLDER, loaded).rxnorm
    assert about is not None
    assert about.release == TODAY
    assert [(one.name, one.rows) for one in about.inputs] == [("RXNCONSO.RRF", len(NAMES)), ("RXNREL.RRF", 2 * len(RELATIONS))]
    assert about.inputs[0].sha256 == hashlib.sha256((loaded.parent / "RXNCONSO.RRF").read_bytes()).hexdigest()
    assert about.counts["without ingredient"] == 1
    assert (about.counts["BPCK"], about.counts["BN"], about.counts["SCDC"]) == (1, 2, 5)


def test_the_same_release_makes_the_same_file_and_is_part_of_the_content_hash(loaded: Path, tmp_path: Path) -> None:
    before = loaded.read_bytes()
    with_lookup = Terminology.load(FOLDER, loaded).content_hash
    assert reload(tmp_path, NAMES, both_ways(RELATIONS)).content_hash == with_lookup != terminology().content_hash
    assert loaded.read_bytes() == before
    assert reload(tmp_path, NAMES, both_ways(RELATIONS[:-2])).content_hash != with_lookup


def test_without_the_file_everything_is_as_without_the_setting(tmp_path: Path) -> None:
    terms = Terminology.load(FOLDER, tmp_path / "none.msgpack")
    assert terms.rxnorm is None
    assert terms.content_hash == terminology().content_hash


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"SQLite format 3\0", "is not an RxNorm lookup"),
        (lambda _: b"", "is not an RxNorm lookup"),
        (lambda data: data.replace(b"rxnorm 1\n", b"rxnorm 0\n", 1), "has schema 0, this version of the service reads schema 1"),
        (lambda data: data[:-1], "is damaged"),
        (lambda data: data.replace(b"Oral Capsule", b"Oral Cepsule", 1), "is damaged"),
    ],
)
def test_a_file_that_is_broken_or_old_is_an_error_that_says_what_to_do(
    loaded: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    loaded.write_bytes(damage(loaded.read_bytes()))
    with pytest.raises(KnowledgeError, match=rf"rxnorm\.msgpack:1: .*{message}.*terminology load"):
        Terminology.load(FOLDER, loaded)


def test_content_of_another_shape_with_a_right_hash_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rxnorm.msgpack"
    content = b"\x80"
    path.write_bytes(b"cds-service rxnorm 1\n" + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    with pytest.raises(KnowledgeError, match="does not have the shape"):
        rxnorm.read(path, ["9071"])


@pytest.mark.parametrize(
    ("names", "rows", "message"),
    [
        ([*NAMES, "9071|ENG|"], [], rf"RXNCONSO\.RRF:{len(NAMES) + 1}: .*2 columns where 18 are expected"),
        (both_ways(RELATIONS), NAMES, r"RXNCONSO\.RRF:1: .*16 columns where 18 are expected"),
        (NAMES, ["9071||CUI|"], r"RXNREL\.RRF:1: .*3 columns where 16 are expected"),
        ([*NAMES, conso("90x71", "SCD", "x")], [], rf"RXNCONSO\.RRF:{len(NAMES) + 1}: .*RXCUI must be a number"),
        ([conso("1", "SCD", "x", source="MTHSPL")], [], r"RXNCONSO\.RRF:1: .*no product or ingredient of RxNorm itself"),
        ([], [], r"RXNCONSO\.RRF:1: .*no product or ingredient of RxNorm itself"),
        (NAMES, [], r"RXNREL\.RRF:1: .*no product leads to an ingredient"),
    ],
)
def test_files_that_are_wrong_are_named_with_line_and_reason_and_nothing_is_written(
    tmp_path: Path, names: list[str], rows: list[str], message: str
) -> None:
    to = tmp_path / "rxnorm.msgpack"
    with pytest.raises(KnowledgeError, match=message):
        load(*write(tmp_path, names, rows), to, TODAY, Progress(io.StringIO()))
    assert not to.exists()


def test_a_row_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, NAMES, [])
    paths[0].write_bytes(paths[0].read_bytes() + b"\xff\n")
    with pytest.raises(KnowledgeError, match=rf"RXNCONSO\.RRF:{len(NAMES) + 1}: .*not UTF-8"):
        load(*paths, tmp_path / "to", TODAY, Progress(io.StringIO()))


@pytest.mark.parametrize(
    ("folder", "readme", "given", "release"),
    [
        ("RxNorm_full_prescribe_09022025/rrf", None, None, "2025-09-02"),
        ("somewhere/rrf", "Readme_Full_Prescribe_09022025.txt", None, "2025-09-02"),
        ("rxnorm-2025-09-02", None, None, "2025-09-02"),
        ("RxNorm_full_prescribe_09022025/rrf", None, "2025-10-06", "2025-10-06"),
        ("x", None, "10062025", "2025-10-06"),
    ],
)
def test_the_release_is_read_from_names_or_given(
    tmp_path: Path, folder: str, readme: str | None, given: str | None, release: str
) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    if readme:
        (place.parent / readme).touch()
    assert release_of(place / "RXNCONSO.RRF", given) == release


@pytest.mark.parametrize(
    ("given", "message"), [(None, "give it with --release"), ("soon", "must be a date"), ("13322025", "must be")]
)
def test_a_release_that_nothing_says_has_to_be_given(tmp_path: Path, given: str | None, message: str) -> None:
    with pytest.raises(KnowledgeError, match=message):
        release_of(Path("/RXNCONSO.RRF"), given)


def test_progress_is_one_line_per_file_and_a_bar_only_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("cds_service.authoring.progress._PAUSE", 0)
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        with Progress(stream).of("RXNREL.RRF", 100) as progress:
            progress.advance(50, 4096)
            progress.advance(51, 4097)
    assert re.fullmatch(r"RXNREL\.RRF: 4,097 rows in [0-9.]+ s\n", plain.getvalue())
    assert "RXNREL.RRF [###############...............]  50%, 4,096 rows, " in terminal.getvalue()
    assert re.search(r"RXNREL\.RRF: 4,097 rows in [0-9.]+ s\n$", terminal.getvalue())


def test_the_command_writes_the_file_where_the_setting_says_and_tells_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, relations = write(tmp_path, NAMES, both_ways(RELATIONS))
    to = tmp_path / "var" / "lookup.msgpack"
    monkeypatch.setenv("CDS_RXNORM_FILE", str(to))
    assert main(["terminology", "load", str(names), str(relations), "--release", TODAY]) == 0
    said = capsys.readouterr()
    products = sum(1 for _, kind, _ in CONCEPTS if kind not in {"IN", "PIN"}) - 1
    assert f"RxNorm of {TODAY}: {products} products in {to}, 1 without an ingredient left out" in said.out
    assert said.err.count(" rows in ") == 2
    assert [path.name for path in to.parent.iterdir()] == ["lookup.msgpack"]


def test_the_command_names_the_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "RXNCONSO.RRF"
    assert main(["terminology", "load", str(missing), str(missing), "--to", str(tmp_path / "x"), "--release", TODAY]) == 1
    assert f"{missing}: No such file" in capsys.readouterr().err


def test_a_broken_lookup_stops_the_start_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "rxnorm.msgpack"
    broken.write_bytes(b"x")
    monkeypatch.setenv("CDS_RXNORM_FILE", str(broken))
    assert main(["cards", "show"]) == 1
    assert f"{broken}:1: file: is not an RxNorm lookup" in capsys.readouterr().err
