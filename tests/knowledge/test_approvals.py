"""Approvals: which cards are live, what makes an approval stale, and the file in which a site keeps them."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.cli.main import main
from cds_service.decide.decision import Outcome
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.approvals import Approval, ApprovalError, approve, load_approvals, shadow_rule, standing
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.loader import read_knowledge
from cds_service.knowledge.site_knowledge import approvals_path, card_states, load_knowledge, log_card_states
from cds_service.settings import Settings
from tests.core import Json, a_card, answer, cards, decision, write_small
from tests.http_side import Stub, new_test_app, running
from tests.reading import terminology

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
TIME = "2026-11-23 08:30:00+00:00"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cards that all speak about everybody: two of the same subject, one draft, one retired."""
    folder = tmp_path / "cards"
    folder.mkdir()
    write_small(
        folder,
        {},
        a_card("first", subjects=["same"], rank=1),
        a_card("second", subjects=["same"], rank=2),
        a_card("trial", status="draft", rank=3),
        a_card("old", status="retired", rank=4),
    )
    return folder


def production(folder: Path, approvals: list[Approval], overlay: Path | None = None) -> Knowledge:
    return read_knowledge(folder, terminology(), overlay, shadow_rule("production", approvals))


def named(known: Knowledge, card_id: str) -> Card:
    found = known.card(card_id)
    assert found is not None
    return found


def approved(card: Card) -> Approval:
    return Approval(card=card.id, version=card.file.version, hash=card.hash, by="A. Pharmacist", at=AT, note="All read")


def shown(known: Knowledge) -> list[str]:
    return [found["source"]["topic"]["code"] for found in cards(answer(known=known))]


# Which cards are live


def test_the_dev_profile_shows_all_active_cards(folder: Path) -> None:
    known = read_knowledge(folder, terminology(), None, shadow_rule("dev", []))
    assert {card.id: (card.live, card.why_shadow) for card in known.cards} == {
        "first": (True, ""),
        "second": (True, ""),
        "trial": (False, "draft"),
        "old": (False, "retired"),
    }


def test_production_shows_nothing_that_the_site_has_not_approved(folder: Path) -> None:
    known = production(folder, [])
    assert {card.id: card.why_shadow for card in known.cards} == {
        "first": "not approved by this site",
        "second": "not approved by this site",
        "trial": "draft",
        "old": "retired",
    }
    answered = answer(known=known)
    assert cards(answered) == []
    assert [one.decision.card.id for one in answered.shadows if one.decision is not None] == ["first", "second", "trial"]
    assert decision(answered, "first").outcome is Outcome.FIRED


def test_an_approved_card_is_shown_in_production(folder: Path) -> None:
    second = named(production(folder, []), "second")
    assert shown(production(folder, [approved(second)])) == ["second"]


def test_a_card_in_shadow_suppresses_no_other(folder: Path) -> None:
    both = [approved(named(production(folder, []), name)) for name in ("first", "second")]
    assert shown(production(folder, both)) == ["first"]  # the second gives way to it
    assert shown(production(folder, both[1:])) == ["second"]


def test_a_card_in_shadow_takes_no_place_under_the_cap(folder: Path) -> None:
    labels = (folder / "labels.yaml").read_text(encoding="utf-8")
    (folder / "labels.yaml").write_text(re.sub(r"most_cards: \d+", "most_cards: 1", labels), encoding="utf-8")
    second = named(production(folder, []), "second")
    assert shown(production(folder, [approved(second)])) == ["second"]


def test_a_card_in_shadow_says_nothing_of_what_it_could_not_check(tmp_path: Path) -> None:
    low = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
    write_small(tmp_path, {"low": low}, a_card("one", fire_when=["low"]))
    loaded = read_knowledge(tmp_path, terminology())
    (notice,) = cards(answer("source labs: error", known=loaded))
    assert notice["source"]["topic"]["code"] == "not-checked"
    assert cards(answer("source labs: error", known=production(tmp_path, []))) == []


def test_an_approved_draft_stays_in_shadow(folder: Path) -> None:
    trial = named(production(folder, []), "trial")
    assert named(production(folder, [approved(trial)]), "trial").why_shadow == "draft"


def change_card(folder: Path) -> Path | None:
    path = folder / "first" / "card.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("first speaks", "first says more"), encoding="utf-8")
    return None


def change_shared(folder: Path) -> Path | None:
    path = folder / "override_reasons.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("It is fine", "Fine"), encoding="utf-8")
    return None


def change_overlay(folder: Path) -> Path | None:
    (folder.parent / "overlay" / "first").mkdir(parents=True)
    (folder.parent / "overlay" / "first" / "card.yaml").write_text("written_for: 1.0.0\ntitle: Ours\n")
    return folder.parent / "overlay"


@pytest.mark.parametrize("change", [change_card, change_shared, change_overlay])
def test_a_change_of_the_content_makes_an_approval_stale(folder: Path, change: object) -> None:
    approval = approved(named(production(folder, []), "first"))
    assert named(production(folder, [approval]), "first").live
    overlay = change(folder)  # type: ignore[operator]
    now = named(production(folder, [approval], overlay), "first")
    assert now.why_shadow == "changed since version 1.0.0 was approved"
    assert standing(now, [approval]) == "stale: changed since version 1.0.0 was approved by A. Pharmacist, 2026-11-23: All read"
    assert standing(now, [approval, approved(now)]) == "approved by A. Pharmacist, 2026-11-23: All read"
    assert standing(now, []) == "not approved"


def test_a_change_of_another_card_leaves_an_approval_as_it_is(folder: Path) -> None:
    approval = approved(named(production(folder, []), "second"))
    change_card(folder)
    assert named(production(folder, [approval]), "second").live


def test_going_back_to_what_was_approved_makes_it_live_again(folder: Path) -> None:
    path = folder / "first" / "card.yaml"
    before = path.read_bytes()
    approval = approved(named(production(folder, []), "first"))
    change_card(folder)
    newer = approved(named(production(folder, []), "first"))
    path.write_bytes(before)
    assert named(production(folder, [approval, newer]), "first").live


# The file


def test_an_approval_is_added_and_what_stands_in_the_file_stays(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "approvals.yaml"
    known = production(folder, [])
    given = approve(path, named(known, "first"), " A. Pharmacist ", "Read: all; yes", AT)
    path.write_text(path.read_text(encoding="utf-8") + "# a comment of the site", encoding="utf-8")
    second = approve(path, named(known, "second"), "Dr. Ö. B", '"quoted" # no comment\nsecond line', AT)
    assert load_approvals(path) == [given, second]
    assert "# a comment of the site\n" in path.read_text(encoding="utf-8")
    assert (given.by, given.at, given.version, given.hash) == ("A. Pharmacist", AT, "1.0.0", named(known, "first").hash)
    assert second.note == '"quoted" # no comment\nsecond line'
    assert [one.name for one in path.parent.iterdir()] == ["approvals.yaml"]


@pytest.mark.parametrize(
    ("card_id", "by", "note", "message"),
    [
        ("trial", "A", "n", "trial is draft: only an active card can be approved"),
        ("old", "A", "n", "old is retired: only an active card can be approved"),
        ("first", " ", "n", "say who approves"),
        ("first", "A", "", "say who approves"),
    ],
)
def test_what_cannot_be_approved_is_refused(folder: Path, tmp_path: Path, card_id: str, by: str, note: str, message: str) -> None:
    with pytest.raises(ApprovalError, match=message):
        approve(tmp_path / "approvals.yaml", named(production(folder, []), card_id), by, note, AT)
    assert not (tmp_path / "approvals.yaml").exists()


def test_two_approvals_at_once_lose_none(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "approvals.yaml"
    (tmp_path / "approvals.yaml.new").write_text("written by somebody else")
    with pytest.raises(ApprovalError, match="another approval is being written"):
        approve(path, named(production(folder, []), "first"), "A", "n", AT)
    assert (tmp_path / "approvals.yaml.new").read_text() == "written by somebody else"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {card: first, version: 1.0.0, hash: 12, by: A, note: n}\n", "approvals.yaml:1: [0]"),
        (f"- {{card: first, version: 1.0.0, hash: {'a' * 64}, by: A, at: {TIME}, not: n}}\n", "unknown name `not`"),
        ("first: approved\n", "approvals.yaml:1: file"),
        ("- [\n", "is not YAML"),
    ],
)
def test_a_file_with_mistakes_is_named_and_left_as_it_is(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "approvals.yaml"
    path.write_text(text)
    with pytest.raises(KnowledgeError, match=re.escape(message)):
        load_approvals(path)
    with pytest.raises(KnowledgeError):
        approve(path, named(production(folder, []), "first"), "A", "n", AT)
    assert path.read_text() == text


def test_no_file_means_that_nothing_is_approved(tmp_path: Path) -> None:
    assert load_approvals(tmp_path / "approvals.yaml") == []


# A process


def settings(folder: Path, profile: str = "production") -> Settings:
    return Settings(profile=profile, cards_dir=folder, log_path=folder.parent / "log" / "alerts.sqlite3")  # type: ignore[arg-type]


@pytest.fixture
def with_value_sets(folder: Path) -> Path:
    from cds_service.files.paths import cards_dir

    (folder / "value_sets").symlink_to(cards_dir() / "value_sets")
    return folder


def test_the_file_is_beside_the_log_unless_a_setting_names_another(tmp_path: Path) -> None:
    assert approvals_path(Settings(log_path=tmp_path / "a.sqlite3")) == tmp_path / "approvals.yaml"
    assert approvals_path(Settings(approvals_file=tmp_path / "ours.yaml")) == tmp_path / "ours.yaml"


def test_knowledge_of_a_production_process_follows_the_file(with_value_sets: Path) -> None:
    chosen = settings(with_value_sets)
    before = load_knowledge(chosen)
    assert card_states(before)["live"] == []
    approve(approvals_path(chosen), named(before, "first"), "A", "n", AT)
    assert card_states(load_knowledge(chosen)) == {
        "live": ["first"],
        "shadow": [
            {"id": "second", "version": "1.0.0", "why": "not approved by this site"},
            {"id": "trial", "version": "1.0.0", "why": "draft"},
        ],
        "hash": before.hash,
    }
    assert card_states(load_knowledge(chosen, before_approval=True))["live"] == ["first", "second"]


def test_a_file_of_approvals_with_mistakes_stops_production_and_not_dev(with_value_sets: Path) -> None:
    chosen = settings(with_value_sets)
    approvals_path(chosen).parent.mkdir()
    approvals_path(chosen).write_text("first: approved\n")
    with pytest.raises(KnowledgeError):
        load_knowledge(chosen)
    assert card_states(load_knowledge(settings(with_value_sets, "dev")))["live"] == ["first", "second"]


def test_log_lines_at_start_say_which_cards_are_live_and_which_run_in_shadow_and_why(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = production(folder, [approved(named(production(folder, []), "second"))])
    with caplog.at_level(logging.INFO):
        log_card_states(known, "production")
    assert caplog.messages == [
        f"cards_live live=1 shadow=2 hash={known.hash} cards=second",
        "card_in_shadow card=first version=1.0.0 why=not approved by this site",
        "card_in_shadow card=trial version=1.0.0 why=draft",
    ]


async def test_health_says_which_cards_are_live_and_which_run_in_shadow(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import msgspec

    from cds_service.app import create_app

    known = production(folder, [])
    runtime = msgspec.structs.replace(new_test_app(tmp_path, Stub())[1], knowledge=known)
    with caplog.at_level(logging.INFO):
        async with running(create_app(runtime.settings, runtime=runtime, respond=Stub())) as client:
            told: Json = (await client.get("/health")).json()["cards"]
    assert told == card_states(known)
    assert [one["id"] for one in told["shadow"]] == ["first", "second", "trial"]
    assert any(message.startswith("cards_live live=0 shadow=3") for message in caplog.messages)


# The command line


@pytest.fixture
def on_command_line(with_value_sets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("first", "second", "trial"):
        silent = "- {name: A retired card is silent, hook: patient-view, given: [], expect: {indicator: info}}\n"
        (with_value_sets / name / "cases.yaml").write_text(silent, encoding="utf-8")
    second = "- {name: It gives way to the first, hook: patient-view, given: [], expect: silent}\n"
    (with_value_sets / "second" / "cases.yaml").write_text(second, encoding="utf-8")
    monkeypatch.setenv("CDS_CARDS_DIR", str(with_value_sets))
    monkeypatch.setenv("CDS_APPROVALS_FILE", str(with_value_sets.parent / "ours.yaml"))
    return with_value_sets.parent / "ours.yaml"


def test_a_card_is_approved_and_listed_on_the_command_line(on_command_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards", "approvals"]) == 0
    assert "(no such file yet)" in capsys.readouterr().out
    assert main(["cards", "approve", "first", "--by", "A. Pharmacist", "--note", "Read with its cases"]) == 0
    told = capsys.readouterr().out
    assert "first 1.0.0 (" in told
    assert "1 cases passed) is approved by A. Pharmacist" in told
    assert "Restart the service" in told
    (given,) = load_approvals(on_command_line)
    assert (given.card, given.by, given.note) == ("first", "A. Pharmacist", "Read with its cases")
    assert main(["cards", "approvals"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(on_command_line)
    assert re.search(r"^first +1\.0\.0 +active +[0-9a-f]{12}  approved by A\. Pharmacist, \d{4}-\d\d-\d\d: Read", lines[1])
    assert [line.split("  ")[-1] for line in lines[2:]] == ["not approved"] * 3


def test_a_card_that_fails_its_cases_is_not_approved(on_command_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = on_command_line.parent / "cards" / "first" / "cases.yaml"
    cases.write_text(cases.read_text(encoding="utf-8").replace("info", "warning"), encoding="utf-8")
    assert main(["cards", "approve", "first", "--by", "A", "--note", "n"]) == 1
    assert "not approved: first fails its own cases or checks" in capsys.readouterr().err
    assert not on_command_line.exists()


def test_an_unknown_card_and_a_draft_are_not_approved(on_command_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards", "approve", "frist", "--by", "A", "--note", "n"]) == 2
    assert "did you mean `first`?" in capsys.readouterr().err
    assert main(["cards", "approve", "trial", "--by", "A", "--note", "n"]) == 1
    assert "only an active card can be approved" in capsys.readouterr().err
    assert not on_command_line.exists()


def test_an_approval_of_a_card_that_is_gone_is_listed(on_command_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_command_line.write_text(f"- {{card: gone, version: 1.0.0, hash: {'a' * 64}, by: A, at: {TIME}, note: n}}\n")
    assert main(["cards", "approvals"]) == 0
    assert re.search(r"^gone +approved, but this card no longer exists$", capsys.readouterr().out, re.MULTILINE)
