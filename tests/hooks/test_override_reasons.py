"""Reasons of overrides: those of a list are kept, of all others only their length."""

from __future__ import annotations

import pytest

from cds_service.alert_log import FeedbackRecord
from cds_service.hooks.feedback import EPIC_REASONS
from cds_service.hooks.override_reasons import with_known_reason
from tests.core import NOW, knowledge

OURS = "urn:cramp-cds:override-reason"
DISPLAYS = {code: one.display for code, one in knowledge().overrides.items()}
KNOWN = ("known-chronic", "Known and accepted for this patient")


@pytest.mark.parametrize(
    ("system", "code", "display", "kept"),
    [
        (OURS, KNOWN[0], "", (OURS, *KNOWN)),
        ("", KNOWN[0], "as sent", (OURS, *KNOWN)),
        (OURS, KNOWN[0], "Mr Smith said so", (OURS, *KNOWN)),
        ("http://elsewhere.example", KNOWN[0], "", ("", "other", "(13 characters)")),
        (OURS, "mr-smith", "", ("", "other", "(8 characters)")),
        ("", "", "Mr Smith", ("", "other", "(8 characters)")),
        ("http://mr-smith.example", "1", "Mr Smith", ("", "other", "(9 characters)")),
        (EPIC_REASONS, "45", "Mr Smith", (EPIC_REASONS, "45", "")),
        (EPIC_REASONS, "Mr Smith", "", ("", "other", "(8 characters)")),
        ("", "", "", ("", "", "")),
        ("http://mr-smith.example", "", "", ("", "", "")),
    ],
)
def test_only_reasons_of_a_list_are_kept(system: str, code: str, display: str, kept: tuple[str, str, str]) -> None:
    sent = FeedbackRecord(NOW, "s", "card", "overridden", [], system, code, display, 0, "")
    one = with_known_reason(sent, OURS, DISPLAYS)
    assert (one.reason_system, one.reason_code, one.reason_display) == kept
    assert "Smith" not in repr(one)
    assert "smith" not in repr(one)


def test_every_reason_that_a_card_offers_is_kept() -> None:
    assert knowledge().labels.override_system == OURS
    for card in knowledge().cards:
        for code in card.file.overrides:
            sent = FeedbackRecord(NOW, "s", "card", "overridden", [], OURS, code, "", 0, "")
            assert with_known_reason(sent, OURS, DISPLAYS).reason_code == code
