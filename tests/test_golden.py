"""What EHRs receive, compared with what was agreed: fixtures/responses."""

from __future__ import annotations

import difflib

import msgspec
import pytest

from cds_service.decide.decision import NOT_CHECKED
from cds_service.knowledge.dialects import PLAIN
from tests.core import knowledge
from tests.golden import canonical, dialects_for, generated, kept, requests


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return kept()


def test_every_ehr_receives_what_was_agreed(files: dict[str, str]) -> None:
    made = generated()
    diff = [
        line
        for name in sorted({*made, *files})
        for line in difflib.unified_diff(
            files.get(name, "").splitlines(),
            made.get(name, "").splitlines(),
            f"fixtures/{name}",
            f"{name} as answered",
            "",
            "",
            2,
            "",
        )
    ]
    assert not diff, "\n".join(["see whether this is wanted, then `make golden`:", *diff])


def test_every_card_and_the_notice_are_among_them_in_each_dialect_that_can_be_asked_for_them(files: dict[str, str]) -> None:
    shown = {name: set[str]() for name in knowledge().dialects}
    for path, text in files.items():
        if path.startswith("responses/"):
            shown[path.split("/")[1]] |= {one["summary"] for one in msgspec.json.decode(text).get("cards", [])}
    codes = {
        one["source"]["topic"]["code"]
        for path, text in files.items()
        if path.startswith(f"responses/{PLAIN}/")
        for one in msgspec.json.decode(text).get("cards", [])
    }
    assert codes == {NOT_CHECKED, *(card.id for card in knowledge().cards)}
    assert shown["epic"] == shown[PLAIN] == shown["sandbox"]
    assert shown["oracle"]


def test_each_hook_and_each_status_is_among_them() -> None:
    assert {one.request["hook"] for one in requests()} == {"patient-view", "order-select", "order-sign"}
    assert {one.status for one in requests()} == {200, 400, 412}
    assert dialects_for(next(one for one in requests() if one.request["hook"] == "order-sign")) == ["plain", "epic", "sandbox"]


def test_the_files_are_in_canonical_format(files: dict[str, str]) -> None:
    assert [name for name, text in files.items() if canonical(msgspec.json.decode(text)) != text] == []
