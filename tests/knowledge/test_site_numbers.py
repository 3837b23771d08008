"""The numbers of a card that an overlay may change: which, between what, and the overlay that is made of them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.overlay_edit import write_candidate
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.knowledge.site_numbers import SiteNumber, SiteNumberError, Value, changes_of, site_numbers
from cds_service.settings import Settings
from tests.core import knowledge

QUININE, POTASSIUM = "quinine-avoid", "electrolyte-hypokalaemia"


def numbers(card_id: str) -> dict[str, SiteNumber]:
    card = knowledge().card(card_id)
    assert card is not None
    return {one.name: one for one in site_numbers(card, knowledge(), cards_dir())}


def test_every_number_of_the_shipped_cards_lies_between_its_bounds() -> None:
    found = [one for card in knowledge().cards for one in site_numbers(card, knowledge(), cards_dir())]
    assert len(found) > 200
    for one in found:
        assert not one.by_overlay, one.name
        if not isinstance(one.value, bool):
            assert one.low is not None
            assert one.high is not None
            assert one.low <= one.value <= one.high, one.name
            assert one.read(f"{one.value:f}" if isinstance(one.value, Decimal) else str(one.value)) == one.value


def test_a_threshold_says_its_unit_its_bounds_and_who_else_uses_it() -> None:
    one = numbers(POTASSIUM)["thresholds.yaml:potassium_moderate_limit:value"]
    assert (one.value, one.unit, one.low, one.high) == (Decimal("3.0"), "mmol/L", Decimal("1.0"), Decimal("10.0"))
    assert "potassium_moderate" in one.uses
    assert "quinine-safety" in one.cards
    assert POTASSIUM not in one.cards


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("thresholds.yaml:potassium_moderate_limit:value", "three", "not a number"),
        ("thresholds.yaml:potassium_moderate_limit:value", "NaN", "decimals"),
        ("thresholds.yaml:potassium_moderate_limit:value", "99", "from 1.0 to 10.0 mmol/L"),
        ("criteria.yaml:malaria_problem:onset_within_days", "9.5", "whole number"),
        ("criteria.yaml:malaria_problem:undated", "perhaps", "yes or no"),
    ],
)
def test_what_no_overlay_can_have_is_refused_with_the_reason(name: str, text: str, why: str) -> None:
    one = (numbers(POTASSIUM) | numbers(QUININE))[name]
    with pytest.raises(SiteNumberError, match=why) as caught:
        one.read(text)
    assert changes_of([one], {name: text}) == ({}, {name: str(caught.value)})


def candidate(tmp_path: Path, changes: dict[SiteNumber, Value], overlay: Path | None = None) -> Settings:
    write_candidate(tmp_path / "candidate", overlay, changes)
    return Settings(overlay_dir=tmp_path / "candidate", log_path=tmp_path / "alerts.sqlite3")


def test_changes_of_all_three_files_load_as_one_overlay(tmp_path: Path) -> None:
    found = numbers(QUININE) | numbers("cramp-first-line")
    wanted: dict[str, Value] = {
        "thresholds.yaml:platelets_normal_low:value": Decimal(140),
        "criteria.yaml:malaria_problem:onset_within_days": 30,
        "quinine-avoid/card.yaml:criteria:quinine_active:drafts": True,
        "cramp-first-line/card.yaml:repeat:after_days": 45,
    }
    settings = candidate(tmp_path, {found[name]: value for name, value in wanted.items()})
    known = load_knowledge(settings)
    assert known.thresholds["platelets_normal_low"].value == 140
    assert known.thresholds["platelets_normal_low"].source == ["engineering"]  # no citation says 140
    changed = {one.name: one.value for card in known.cards for one in site_numbers(card, known, cards_dir()) if one.by_overlay}
    assert changed == wanted
    assert known.hash.startswith(f"{knowledge().hash}+")


def test_what_the_site_wrote_stays_with_its_comments(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "thresholds.yaml").write_text("# Agreed in March\npotassium_normal_low: {value: 3.4, source: [engineering]}\n")
    known = load_knowledge(Settings(overlay_dir=site, log_path=tmp_path / "alerts.sqlite3"))
    card = known.card(POTASSIUM)
    assert card is not None
    found = {one.name: one for one in site_numbers(card, known, cards_dir())}
    own = found["thresholds.yaml:potassium_normal_low:value"]
    assert (own.value, own.shipped, own.by_overlay) == (Decimal("3.4"), Decimal("3.5"), True)
    settings = candidate(tmp_path, {found["thresholds.yaml:potassium_moderate_limit:value"]: Decimal("2.9")}, site)
    text = (tmp_path / "candidate" / "thresholds.yaml").read_text()
    assert text.startswith("# Agreed in March\npotassium_normal_low: {value: 3.4, source: [engineering]}\n")
    assert load_knowledge(settings).thresholds["potassium_moderate_limit"].value == Decimal("2.9")


def test_numbers_that_do_not_fit_together_are_refused_by_the_loader_with_file_and_line(tmp_path: Path) -> None:
    one = numbers(POTASSIUM)["thresholds.yaml:potassium_moderate_limit:value"]
    settings = candidate(tmp_path, {one: Decimal(99)})  # as if nobody had looked at the bounds
    with pytest.raises(KnowledgeError) as caught:
        load_knowledge(settings)
    assert any(
        "is not a possible threshold: potassium is read from 1.0 to 10.0" in str(problem) for problem in caught.value.problems
    )
