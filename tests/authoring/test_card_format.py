"""The layout of card files: what they say stays, comments stay, and a second time changes nothing."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from cds_service.authoring.card_format import WIDTH, card_files, format_cards, formatted
from cds_service.authoring.version_lock import contents
from cds_service.cli.main import main
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError, YamlFile
from cds_service.knowledge.loader import read_knowledge
from tests.reading import terminology

CLASSES = "[ace_inhibitor, arb, renin_inhibitor_arni, k_sparing_diuretic, mra, nsaid, loop_diuretic]"
FIRST_LINE = (
    "A text that does not fit on one line with its name is folded between two of its words, so that each line has at most as"
)
SECOND_LINE = "many characters as a screen shows."
FLOW = f"""\
# first
id: one
version: 1.0.0
rank: 20
criteria:
  low: {{kind: lab, analyte: potassium, below: 3.50, unit: mmol/L, within_days: 30, source: [HYPOK-BANDS, engineering]}} # why
  long: {{kind: drug, drafts: false, classes: {CLASSES}, source: [S1, S2]}} # why
table:
  # the loud one
  - {{when: [low], indicator: critical, summary: "Low {{low.value}}: act", source: [S1, S2]}}
detail:
  - {{text: "Short: yes"}} # a remark
  - {{when: [low], text: "{FIRST_LINE} {SECOND_LINE}"}}
history:
  - {{version: 1.0.0, since: 2026-11-23, what: First, affects: Adults, source: [S1]}}
"""
LAID_OUT = f"""\
# first
id: one
version: 1.0.0
rank: 20
criteria:
  low: {{kind: lab, analyte: potassium, below: 3.50, unit: mmol/L, within_days: 30, source: [HYPOK-BANDS, engineering]}} # why
  long: # why
    kind: drug
    drafts: false
    classes: {CLASSES}
    source: [S1, S2]
table:
  # the loud one
  - when: [low]
    indicator: critical
    summary: "Low {{low.value}}: act"
    source: [S1, S2]
detail:
  # a remark
  - text: "Short: yes"
  - when: [low]
    text: >-
      {FIRST_LINE}
      {SECOND_LINE}
history:
  - {{version: 1.0.0, since: 2026-11-23, what: First, affects: Adults, source: [S1]}}
"""


laid_out = cache(formatted)  # most files are laid out already, and a second time is the same work


def test_rows_and_paragraphs_are_opened_and_long_texts_folded() -> None:
    assert formatted(FLOW) == LAID_OUT
    assert formatted(LAID_OUT) == LAID_OUT


@pytest.mark.parametrize("path", list(card_files(cards_dir())), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_file_says_stays_and_a_second_time_changes_nothing(tmp_path: Path, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    once = laid_out(text)
    (tmp_path / "once.yaml").write_text(once, encoding="utf-8")
    assert YamlFile(tmp_path / "once.yaml", "once").data == YamlFile(path, "before").data
    assert laid_out(once) == once
    assert sorted(_comments(once)) == sorted(_comments(text))
    assert [line for line in once.splitlines() if len(line) > WIDTH and not line.startswith("#")] == []


def _comments(text: str) -> list[str]:
    return [line.partition("# ")[2] for line in text.splitlines() if "# " in line]


def test_the_hashes_of_all_cards_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.authoring.card_format.formatted", laid_out)
    folder = Path(shutil.copytree(cards_dir(), tmp_path / "cards"))
    before = contents(folder, read_knowledge(folder, terminology()))
    format_cards(folder, write=True)
    assert contents(folder, read_knowledge(folder, terminology())) == before
    assert format_cards(folder, write=False) == [] or {problem.message for problem in format_cards(folder, write=False)} == {
        f"is longer than {WIDTH} characters; break it"
    }


def test_a_file_that_is_laid_out_otherwise_is_named_and_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    card = tmp_path / "one" / "card.yaml"
    card.write_text(FLOW, encoding="utf-8")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))
    assert main(["cards", "fmt", "--check"]) == 1
    assert capsys.readouterr().out == ("cards/one/card.yaml:7: file: is not formatted; run `cds-service cards fmt`\n")
    assert card.read_text(encoding="utf-8") == FLOW
    assert main(["cards", "fmt"]) == 0
    assert card.read_text(encoding="utf-8") == LAID_OUT
    assert main(["cards", "fmt", "--check"]) == 0
    assert [path.name for path in card.parent.iterdir()] == ["card.yaml"]


def test_a_comment_that_is_too_long_is_named(tmp_path: Path) -> None:
    (tmp_path / "criteria.yaml").write_text(f"# {'x' * WIDTH}\nadult: {{kind: age, at_least: 18}}\n", encoding="utf-8")
    (problem,) = format_cards(tmp_path, write=False)
    assert str(problem) == f"cards/criteria.yaml:1: file: is longer than {WIDTH} characters; break it"


def test_what_is_not_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "criteria.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"cards/criteria\.yaml:\d+: file: is not YAML"):
        format_cards(tmp_path, write=True)
