"""Numbers that have a name: they stand once, a change reaches every card that uses them, a site may still write its own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from cds_service.authoring.version_lock import contents
from cds_service.criteria.lab import LabCriterion
from cds_service.explain.meanings import Meanings
from cds_service.explain.terminal import draw_review
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.loader import read_knowledge
from tests.core import Json, a_card, knowledge, write_small
from tests.reading import terminology

NAMED = {"kind": "lab", "analyte": "potassium", "below": "normal_low", "unit": "mmol/L", "within_days": 30}
PLAIN = NAMED | {"below": 3.5}
NORMAL = {"value": 3.5, "unit": "mmol/L", "what": "Lower limit of normal", "source": ["S1"], "since": date(2026, 11, 23)}
CARD = a_card(fire_when=["low"], detail=[{"text": "Below {low.below}"}])


def load(folder: Path, criteria: Json, thresholds: Json, card: Json = CARD, overlay: Path | None = None) -> Knowledge:
    folder.mkdir()
    write_small(folder, criteria, card)
    (folder / "thresholds.yaml").write_text(yaml.safe_dump(thresholds), encoding="utf-8")
    return read_knowledge(folder, terminology(), overlay)


def limit(loaded: Knowledge) -> str:
    criterion = loaded.criteria["low"]
    assert isinstance(criterion, LabCriterion)
    return str(criterion.below)


def test_a_criterion_takes_its_number_from_the_threshold_that_it_names(tmp_path: Path) -> None:
    loaded = load(tmp_path / "cards", {"low": NAMED}, {"normal_low": NORMAL})
    assert limit(loaded) == "3.5"
    assert loaded.cards[0].file.detail[0].text == "Below 3.5"
    assert loaded.named == {"low": {"below": "normal_low"}}


def test_a_name_is_layout_and_the_number_behind_it_is_content(tmp_path: Path) -> None:
    def content(name: str, criteria: Json, thresholds: Json, card: Json = CARD) -> str:
        loaded = load(tmp_path / name, criteria, thresholds, card)
        return contents(tmp_path / name, loaded)["one"]

    plain = content("plain", {"low": PLAIN}, {})
    assert content("named", {"low": NAMED}, {"normal_low": NORMAL}) == plain
    assert content("typed", {"low": PLAIN}, {}, CARD | {"detail": [{"text": "Below 3.5", "quoted": ["3.5"]}]}) == plain
    assert content("moved", {"low": NAMED}, {"normal_low": NORMAL | {"value": 3.4}}) != plain


def test_a_site_moves_a_threshold_or_one_criterion(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "thresholds.yaml").write_text("normal_low: {value: 3.4}\n", encoding="utf-8")
    assert limit(load(tmp_path / "one", {"low": NAMED}, {"normal_low": NORMAL}, overlay=overlay)) == "3.4"
    (overlay / "criteria.yaml").write_text("low: {below: 3.3}\n", encoding="utf-8")
    assert limit(load(tmp_path / "two", {"low": NAMED}, {"normal_low": NORMAL}, overlay=overlay)) == "3.3"


@pytest.mark.parametrize(
    ("criterion", "threshold", "message"),
    [
        (NAMED | {"below": "normal_lo"}, NORMAL, r"low\.below: neither a number nor .* `normal_lo`; did you mean `normal_low`"),
        (NAMED, NORMAL | {"unit": "mg/dL"}, r"low\.below: `normal_low` is in mg/dL, and the criterion needs a number in mmol/L"),
        (NAMED | {"below": 3.5, "within_days": "normal_low"}, NORMAL, r"low\.within_days: .* in mmol/L, .* a number in days"),
        (NAMED, NORMAL | {"source": ["S9"]}, r"thresholds\.yaml:\d+: normal_low\.source: unknown name `S9`"),
        (NAMED, NORMAL | {"sinc": 1}, r"thresholds\.yaml:\d+: normal_low\.sinc: unknown name"),
        ({"kind": "age", "below": "normal_low"}, NORMAL, r"low\.below: .* a number in years"),
        ({"kind": "dose", "above": "normal_low"}, NORMAL, r"low\.above: .* a number in mg/day"),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, criterion: Json, threshold: Json, message: str) -> None:
    with pytest.raises(KnowledgeError, match=message):
        load(tmp_path / "cards", {"low": criterion}, {"normal_low": threshold}, a_card(fire_when=["low"]))


def test_each_threshold_is_used() -> None:
    used = {threshold for fields in knowledge().named.values() for threshold in fields.values()}
    assert set(knowledge().thresholds) - used == set()


def test_a_term_is_told_with_its_number_unit_source_and_date(tmp_path: Path) -> None:
    criteria = {"low": NAMED, "child": {"kind": "age", "below": 18}, "either": {"kind": "any", "of": ["low", "child"]}}
    loaded = load(tmp_path / "cards", criteria, {"normal_low": NORMAL}, a_card(fire_when=["either"]))
    low = "potassium below 3.5 mmol/L, at most 30 days old [Lower limit of normal, since 2026-11-23 (S1)]"
    assert Meanings(loaded).term("low") == low
    assert Meanings(loaded).term("either") == f"'either' ({low}; or under 18 years)"
    shown = " ".join(draw_review(loaded.cards[0], loaded).split())
    assert f"Only when - 'either' ({low}; or under 18 years)" in shown


@pytest.mark.parametrize("card", knowledge().cards, ids=lambda card: card.id)
def test_what_is_read_in_the_terminal_names_each_term_with_its_meaning(card: Card) -> None:
    shown = " ".join(draw_review(card, knowledge()).split()).replace("- ", "-")
    for name in card.criteria:
        assert Meanings(knowledge()).expanded(name).replace("- ", "-") in shown, name
