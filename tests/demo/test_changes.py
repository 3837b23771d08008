"""The new versions of cards that a service of made-up months gets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.demo.changes import ChangedTextError, changes, write_cards
from cds_service.demo.schedule import Period
from cds_service.files.paths import cards_dir
from cds_service.knowledge.loader import read_knowledge
from tests.core import knowledge
from tests.reading import terminology


@pytest.mark.parametrize("day", range(1, 8))
def test_the_second_change_comes_on_the_thursday_of_the_week_before_last(day: int) -> None:
    end = datetime(2026, 6, day, 12, tzinfo=UTC)
    first, second = changes(Period.of_days(90, end))
    assert (first.card, second.card) == ("cramp-first-line", "quinine-avoid")
    assert second.at.strftime("%A") == "Thursday"
    assert end.isocalendar().week - second.at.isocalendar().week == 2
    assert first.at.date() == Period.of_days(90, end).after(0.5).date()


def test_a_changed_card_is_its_next_version_with_a_line_of_history_and_others_stay(tmp_path: Path) -> None:
    taken = changes(Period.of_days(90, datetime(2026, 6, 3, tzinfo=UTC)))
    write_cards(cards_dir(), tmp_path / "cards", taken)
    changed = read_knowledge(tmp_path / "cards", terminology())
    assert changed.hash != knowledge().hash
    for card in knowledge().cards:
        now = changed.card(card.id)
        assert now is not None
        change = next((one for one in taken if one.card == card.id), None)
        if change is None:
            assert (now.file.version, now.hash) == (card.file.version, card.hash)
        else:
            major, minor, _ = map(int, card.file.version.split("."))
            assert now.file.version == now.file.history[0].version == f"{major}.{minor + 1}.0"
            assert now.file.history[0].since == change.at.date()


def test_a_card_without_the_text_that_a_change_replaces_is_told(tmp_path: Path) -> None:
    original = tmp_path / "cards"
    (original / "quinine-avoid").mkdir(parents=True)
    (original / "quinine-avoid" / "card.yaml").write_text("id: quinine-avoid\nversion: 1.0.0\n")
    taken = [one for one in changes(Period.of_days(90, datetime(2026, 6, 3, tzinfo=UTC))) if one.card == "quinine-avoid"]
    with pytest.raises(ChangedTextError, match=r"quinine-avoid/card\.yaml has no text 'malaria_problem'"):
        write_cards(original, tmp_path / "changed", taken)
