"""Dialects: what each EHR gets, that every EHR gets the full detail, and errors in dialects.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.cli.main import main
from cds_service.decide.decision import NOT_CHECKED
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.card_file import DialectFile
from cds_service.knowledge.dialects import PLAIN, dialect_problems, shortened, topic_code
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from cds_service.runtime import new_runtime
from cds_service.settings import Settings, SettingsError
from cds_service.trust import Caller
from cds_service.trust.callers import UnverifiedCallers
from tests.alert_log_samples import rows
from tests.case_runs import some_requests
from tests.core import (
    NOW,
    PATIENTS,
    Json,
    a_card,
    a_runtime,
    answer_to,
    cards,
    knowledge,
    small,
    write_small,
)
from tests.http_side import SameCaller, running
from tests.reading import terminology

Everything = list[tuple[Json, list[Json], dict[str, list[Json]]]]
OTHERS = ("epic", "oracle", "sandbox")
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def in_dialect(request: Json, dialect: str, known: Knowledge | None = None) -> list[Json]:
    return cards(answer_to(request, known=known, dialect=dialect))


@pytest.fixture(scope="module")
def everything() -> Everything:
    """(request, plain cards, cards by dialect) of all patients and cases."""
    found: Everything = []
    for _, request in some_requests():
        plain = in_dialect(request, "")
        found.append((request, plain, {name: in_dialect(request, name) for name in OTHERS}))
    return found


def suggestions(shown: list[Json]) -> list[Json]:
    return [item for one in shown for item in one.get("suggestions", [])]


def words(markdown: str) -> str:
    return markdown.replace("\\", "")


# Nobody is told less


@pytest.mark.proof
@pytest.mark.parametrize("dialect", OTHERS)
def test_every_dialect_shows_the_same_cards_with_the_same_indicators_and_texts(everything: Everything, dialect: str) -> None:
    for _, plain, others in everything:
        for one, other in zip(plain, others[dialect], strict=True):
            assert (one["uuid"], one["indicator"]) == (other["uuid"], other["indicator"])
            assert other["detail"].endswith(one["detail"])
            assert (
                one["summary"] == other["summary"]
                or one["source"]["topic"]["code"] == NOT_CHECKED
                or (words(other["detail"]).startswith(f"**{words(one['summary'])}**"))
            )
            same = ("overrideReasons", "links")
            assert [one.get(name) for name in same] == [other.get(name) for name in same]
            assert {**one["source"], "topic": None} == {**other["source"], "topic": None}


@pytest.mark.proof
@pytest.mark.parametrize("dialect", OTHERS)
def test_the_list_of_what_was_not_checked_is_complete_in_every_dialect(everything: Everything, dialect: str) -> None:
    notices = [
        (one["detail"], other["detail"])
        for _, plain, others in everything
        for one, other in zip(plain, others[dialect], strict=True)
        if one["source"]["topic"]["code"] == NOT_CHECKED
    ]
    assert notices
    assert all(one == other for one, other in notices)


@pytest.mark.proof
@pytest.mark.parametrize("dialect", OTHERS)
def test_no_dialect_holds_an_empty_list(everything: Everything, dialect: str) -> None:
    for _, _, others in everything:
        for one in others[dialect]:
            assert one.get("suggestions", ["absent"])
            assert ("suggestions" in one) == ("selectionBehavior" in one)
            assert all(item["actions"] for item in one.get("suggestions", []))


def test_a_caller_without_a_dialect_gets_plain_cds_hooks(everything: Everything) -> None:
    for request, plain, _ in everything[:50]:
        assert in_dialect(request, PLAIN) == plain


async def test_the_log_keeps_the_card_as_this_ehr_got_it_under_the_id_of_the_card(tmp_path: Path) -> None:
    hook, lines = PATIENTS["other orders"]
    runtime = msgspec.structs.replace(a_runtime(tmp_path), callers=SameCaller(Caller(client="north", dialect="epic")))
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        answer = await client.post(f"/cds-services/cramp-care-{hook}", json=request_from_case(lines, hook, NOW))
    returned = answer.json()["cards"]
    kept = {
        uuid: (card, msgspec.json.decode(body))
        for uuid, card, body in rows(runtime.settings.log_path, "SELECT uuid, card, body FROM card")
    }
    assert len(returned) == len(kept) >= 2
    for one in returned:
        card, body = kept[one["uuid"]]
        assert body["source"]["topic"]["code"] == one["source"]["topic"]["code"] == card.replace("-", "") != card
        assert body["summary"] == one["summary"]
        assert [item["uuid"] for item in suggestions([body])] == [item["uuid"] for item in suggestions([one])]


# Epic


def test_epic_gets_any_and_one_action_per_suggestion_and_no_update(everything: Everything) -> None:
    for _, _, others in everything:
        shown = others["epic"]
        assert all(one["selectionBehavior"] == "any" for one in shown if "suggestions" in one)
        assert all(len(item["actions"]) == 1 for item in suggestions(shown))
        assert {item["actions"][0]["type"] for item in suggestions(shown)} <= {"create", "delete"}
        uuids = [item["uuid"] for item in suggestions(shown)]
        assert len(set(uuids)) == len(uuids)
    seen = {item["actions"][0]["type"] for _, _, others in everything for item in suggestions(others["epic"])}
    assert seen == {"create", "delete"}


def test_what_epic_is_to_create_has_a_code_of_a_system_that_epic_knows(everything: Everything) -> None:
    created = [
        item["actions"][0]["resource"]
        for _, _, others in everything
        for item in suggestions(others["epic"])
        if item["actions"][0]["type"] == "create"
    ]
    assert {one["resourceType"] for one in created} == {"MedicationRequest"}
    systems = {coding["system"] for one in created for coding in one["medicationCodeableConcept"]["coding"]}
    assert systems == {"urn:oid:2.16.840.1.113883.6.88"}


def test_topic_codes_for_epic_are_letters_and_digits_and_differ(everything: Everything) -> None:
    codes = {one["source"]["topic"]["code"] for _, _, others in everything for one in others["epic"]}
    assert all(re.fullmatch("[A-Za-z0-9]{1,100}", code) for code in codes)
    assert len(codes) == len({one["source"]["topic"]["code"] for _, plain, _ in everything for one in plain})


def test_links_are_a_plain_list_of_absolute_addresses_without_app_context(everything: Everything) -> None:
    for _, plain, others in everything:
        for one in (*plain, *(card for name in OTHERS for card in others[name])):
            for link in one.get("links", []):
                assert link.keys() == {"label", "url", "type"}
                assert link["type"] == "absolute"
                assert link["url"].startswith("https://")


def site_codes(folder: Path) -> Path:
    """An overlay of a site that can order a potassium and an ECG by its own codes."""
    item = "urn:com.epic.cdshooks.action.code.system.preference-list-item"
    overlay = folder / "overlay"
    overlay.mkdir()
    (overlay / "dialects.yaml").write_text(f"epic: {{codes: {{'http://loinc.org|2823-3': {{system: '{item}', code: '77'}}}}}}\n")
    return overlay


def test_a_site_adds_its_own_codes_and_epic_is_offered_these_orders(tmp_path: Path) -> None:
    known = read_knowledge(cards_dir(), terminology(), site_codes(tmp_path))
    hook, lines = PATIENTS["both low"]
    (shown,) = [one for one in in_dialect(request_from_case(lines, hook, NOW), "epic", known) if "suggestions" in one]
    (item,) = shown["suggestions"]  # one of the two orders that are one suggestion elsewhere: the site has no code for the other
    (action,) = item["actions"]
    assert item["label"] == action["description"] == "Create a request for potassium"
    assert item["isRecommended"] is True
    (coding,) = action["resource"]["code"]["coding"]
    assert (coding["system"].rpartition(".")[2], coding["code"]) == ("preference-list-item", "77")
    assert coding["display"].startswith("Potassium")


def alternatives(selection: str = "at-most-one") -> Knowledge:
    """A card with alternatives for each order, of which the second is recommended."""
    common = {"status": "draft", "intent": "proposal", "subject": {"reference": "{patient.reference}"}}
    concept = {"coding": [{"system": RXNORM, "code": "1"}], "text": "A drug"}
    orders = {
        "drug": {"resourceType": "MedicationRequest", "medicationCodeableConcept": concept, **common},
        "test": {"resourceType": "ServiceRequest", "code": {**concept, "text": "A test"}, **common},
    }
    remove = {"type": "delete", "description": "Remove"}
    drug, test = ({"type": "create", "description": f"A {name}", "resource": name} for name in orders)
    suggestions = [
        {"id": "swap", "label": "Swap", "actions": [remove, drug]},
        {"id": "tests", "label": "Tests", "recommended": True, "actions": [test, {**test, "description": "Another test"}]},
        {"id": "monitored", "label": "Drug and test", "actions": [drug, test]},
        {"id": "remove", "label": "Remove", "actions": [remove]},
    ]
    data = a_card(for_each="quinine", fire_when=["quinine"], selection=selection, suggestions=suggestions)
    return small({"quinine": {"kind": "order", "classes": ["quinine"], "source": ["S1"]}}, data, orders=orders)


def test_of_alternatives_epic_gets_the_recommended_one_only_and_what_belongs_together_is_not_split() -> None:
    request = request_from_case(["order: quinine 300 mg, id a"], "order-sign", NOW)
    (plain,) = in_dialect(request, "", alternatives())
    (epic,) = in_dialect(request, "epic", alternatives())
    assert [item["label"] for item in plain["suggestions"]] == ["Swap", "Tests", "Drug and test", "Remove"]
    assert [item["label"] for item in epic["suggestions"]] == ["A test", "Another test"]  # the two parts of one alternative
    (chosen,) = in_dialect(request, "epic", alternatives("any"))
    assert [item["label"] for item in chosen["suggestions"]] == ["A test", "Another test", "Remove"]


# Oracle and the sandbox


def test_oracle_gets_short_summaries_cut_between_words(everything: Everything) -> None:
    cut = 0
    for _, plain, others in everything:
        for one, other in zip(plain, others["oracle"], strict=True):
            assert len(other["summary"]) <= 80
            if other["summary"] != one["summary"]:
                cut += 1
                kept = other["summary"].removesuffix("…")
                assert one["summary"].startswith(kept)
                assert not one["summary"][len(kept)].isalnum()
    assert cut > 10


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("Short enough", 40, "Short enough"),
        ("x" * 40, 40, "x" * 40),
        ("one two three four", 13, "one two…"),
        ("one two, three four", 12, "one two…"),
        ("x" * 41, 40, "x" * 39 + "…"),
    ],
)
def test_a_sentence_is_cut_between_words_and_says_so(text: str, limit: int, expected: str) -> None:
    assert shortened(text, limit) == expected
    assert len(shortened(text, limit)) <= limit


def test_the_sandbox_finds_the_action_that_it_can_apply_first() -> None:
    request = request_from_case(["order: quinine 300 mg, id a"], "order-sign", NOW)
    (plain,) = in_dialect(request, "", alternatives())
    (sandbox,) = in_dialect(request, "sandbox", alternatives())
    first, other = plain["suggestions"][0], sandbox["suggestions"][0]
    assert [action["type"] for action in first["actions"]] == ["delete", "create"]
    assert other["actions"] == first["actions"][::-1]
    assert other["actions"][0]["resource"]["medicationCodeableConcept"]["text"] == "A drug"


def test_a_request_can_be_fired_in_a_dialect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook, lines = PATIENTS["severe magnesium"]
    path = tmp_path / "request.json"
    path.write_bytes(msgspec.json.encode(request_from_case(lines, hook, NOW)))
    assert main(["fire", str(path), "--json", "--now", "2025-12-01T09:00", "--dialect", "epic"]) == 0
    assert '"electrolytehypomagnesaemia"' in capsys.readouterr().out
    assert main(["fire", str(path), "--dialect", "epik"]) == 2
    assert "unknown dialect `epik`; did you mean `epic`?" in capsys.readouterr().err


# Mistakes


def changed(folder: Path, old: str, new: str) -> Path:
    write_small(folder, {}, a_card("one-one"), a_card("oneone"))
    text = (folder / "dialects.yaml").read_text(encoding="utf-8")
    assert old in text
    (folder / "dialects.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("plain:", "plan:", "must have `plain`"),
        ("  any_only: true", "  any_olny: true", "unknown name `any_olny`; did you mean `any_only`?"),
        ("hooks: [patient-view]", "hooks: [patient-veiw]", "did you mean `patient-view`?"),
        ("summary_limit: 80", "summary_limit: 10", "Expected `int` >= 40"),
        ('topic_drops: "-"', 'topic_drops: "-"\n  codes: {"x|1": {system: y, code: z}}', "no order has this code"),
        ("topic_limit: 100", "topic_limit: 1", "has 6 characters"),
        ('topic_drops: "-"', 'topic_drops: "-"', "would both be `oneone`"),
    ],
)
def test_a_mistake_in_the_dialects_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(KnowledgeError) as error:
        read_knowledge(changed(tmp_path, old, new), terminology())
    assert any(re.match(r"cards/dialects.yaml:\d+: ", line) and message in line for line in str(error.value).splitlines())


def test_a_caller_with_an_unknown_dialect_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = UnverifiedCallers()
    callers.dialects = frozenset({"", "epik"})
    monkeypatch.setattr("cds_service.runtime.new_callers", lambda _: callers)
    with pytest.raises(SettingsError, match="no dialect `epik`"):
        new_runtime(Settings(log_path=tmp_path / "alerts.sqlite3"))


def test_every_dialect_that_differs_from_the_standard_names_its_sources() -> None:
    for name, dialect in knowledge().dialects.items():
        assert dialect.sources or name == PLAIN
        assert all(source.url.startswith("https://") for source in dialect.sources)


def test_topic_codes_of_the_plain_dialect_are_the_ids_of_the_cards() -> None:
    plain = DialectFile(about="plain", hooks=["patient-view"])
    assert topic_code("quinine-avoid", plain) == "quinine-avoid"
    assert list(dialect_problems({PLAIN: plain}, ["one", "two"], {})) == []
