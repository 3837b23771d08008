"""Loading cards: a mistake is found at its file, line and path; what an EHR is asked for follows from the cards."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.loader import read_knowledge
from tests.core import Json, a_card, knowledge, small, write_small
from tests.reading import terminology

POTASSIUM = "electrolyte-hypokalaemia/card.yaml"
QUININE = "quinine-avoid/card.yaml"

SHARED = """\
low: {kind: lab, analyte: potassium, below: 3.5, unit: mmol/L, within_days: 30, source: [S1]}
dialysis: {kind: problem, sets: [dialysis]}
cramp: {kind: reason, patterns: [cramp_reason]}
replaced: {kind: drug, classes: [quinine], started_after: potassium}
either: {kind: any, of: [low, dialysis]}
both: {kind: all, of: [either], none_of: [replaced]}
"""
CARD = """\
id: one
version: 1.0.0
status: active
title: One
owner: Nobody
why: For tests.
known_gaps: [none]
hooks: [order-sign]
checks: nothing
subjects: [one]
rank: 1
for_each: quinine
criteria:
  quinine: {kind: order, classes: [quinine], source: [S1]}
  high_dose: {kind: dose, above: 300}
fire_when: [low]
unless: [both]
on_unknown: {either: carry_on}
notice_when: [cramp]
table:
  - {when: [high_dose], indicator: warning, summary: "{high_dose.dose}, {low.value}", source: [S1]}
detail:
  - {text: "{order.name} for {patient.reference}"}
suggestions:
  - id: repeat
    label: Repeat
    actions: [{type: create, description: Repeat it, resource: again}]
overrides: [fine]
sources: [S1]
links: [S1]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the real cards, to be spoilt."""
    shutil.copytree(cards_dir(), tmp_path / "cards")
    return tmp_path / "cards"


@pytest.fixture
def one_card(tmp_path: Path) -> Path:
    """The card above and what it needs, to be spoilt."""
    write_small(tmp_path, {}, a_card(), orders={"again": {"resourceType": "ServiceRequest"}})
    (tmp_path / "criteria.yaml").write_text(SHARED, encoding="utf-8")
    (tmp_path / "one" / "card.yaml").write_text(CARD, encoding="utf-8")
    return tmp_path


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(KnowledgeError) as caught:
        read_knowledge(folder, terminology())
    assert str(caught.value).split("\n") == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


def spoil(folder: Path, file: str, old: str, new: str) -> None:
    """Replaces the first `old`."""
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_card_to_be_spoilt_is_without_mistakes(one_card: Path) -> None:
    assert [card.id for card in read_knowledge(one_card, terminology()).cards] == ["one"]


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("known_gaps", "know_gaps", "7: know_gaps", "unknown name `know_gaps`; did you mean `known_gaps`?"),
        ("indicator:", "indicater:", "21: table[0].indicater", "`indicater`; did you mean `indicator`?"),
        ("warning", "warnung", "21: table[0].indicator", "`warnung` is not one of the allowed values; did you mean `warning`?"),
        ("[order-sign]", "[order-sing]", "8: hooks[0]", "did you mean `order-sign`?"),
        (
            "status: active",
            "status: off",
            "3: status",
            "`off` is not one of the allowed values; allowed are: draft, active, retired",
        ),
        ("[order-sign]", "[xxx]", "8: hooks[0]", "allowed are: patient-view, order-select, order-sign"),
        ("kind: dose", "kind: xxx", "15: criteria.high_dose.kind", "allowed are: lab, drug, problem,"),
        ("{either: carry_on}", "{either: xxx}", "18: on_unknown.either", "allowed are: say_so, stay_silent, carry_on"),
        ("rank: 1", "rank: low", "11: rank", "Expected `int`, got `str`"),
        ("rank: 1\n", "", "1: file", "Object missing required field `rank`"),
        ("version: 1.0.0", "version: one", "2: version", "Expected `str` matching regex"),
        ("for_each: quinine", "for_each: quinin", "12: for_each", "unknown name `quinin`; did you mean `quinine`?"),
        ("fire_when: [low]", "fire_when: [lov]", "16: fire_when", "unknown name `lov`; did you mean `low`?"),
        ("unless: [both]", "unless: [boths]", "17: unless", "did you mean `both`?"),
        ("{either: carry_on}", "{eithr: carry_on}", "18: on_unknown.eithr", "did you mean `either`?"),
        (
            "carry_on",
            "carry_one",
            "18: on_unknown.either",
            "`carry_one` is not one of the allowed values; did you mean `carry_on`?",
        ),
        ("notice_when: [cramp]", "notice_when: [cramps]", "19: notice_when", "did you mean `cramp`?"),
        ("{when: [high_dose]", "{when: [higher_dose]", "21: table[0].when", "did you mean `high_dose`?"),
        ("{low.value}", "{lov.value}", "21: table[0].summary", "unknown criterion `lov`; did you mean `low`?"),
        ("{low.value}", "{low.valu}", "21: table[0].summary", "a lab criterion has no field `valu`; did you mean `value`?"),
        ("for_each: quinine\n", "", "13: criteria.quinine", "is defined but never used; use it or delete it"),
        ("source: [S1]}\ndetail", "source: [S3]}\ndetail", "21: table[0].source", "unknown name `S3`"),
        ("resource: again", "resource: agian", "27: suggestions[0].actions[0].resource", "did you mean `again`?"),
        ("overrides: [fine]", "overrides: [fin]", "28: overrides", "did you mean `fine`?"),
        ("\nsources: [S1]", "\nsources: [S4]", "29: sources", "unknown name `S4`"),
        ("links: [S1]", "links: [S2]", "30: links", "unknown name `S2`"),
        ("id: one", "id: two", "1: id", "must be the name of its folder, `one`"),
        (
            "kind: dose",
            "kind: doze",
            "15: criteria.high_dose.kind",
            "`doze` is not one of the allowed values; did you mean `dose`?",
        ),
        ("above:", "abov:", "15: criteria.high_dose.abov", "unknown name `abov`; did you mean `above`?"),
        ("classes: [quinine]", "classes: [quinin]", "14: criteria.quinine.classes", "did you mean `quinine`?"),
        ("source: [S1]}\n  high", "source: [S9]}\n  high", "14: criteria.quinine.source", "unknown name `S9`"),
        ("high_dose: {kind", "low: {kind", "15: criteria.low", "`low` is already defined in cards/criteria.yaml"),
        ("owner:", "title: Again\nowner:", "5: title", "stands here twice; keep one"),
    ],
)
def test_a_mistake_in_a_card_is_found_at_its_line_and_path(one_card: Path, old: str, new: str, place: str, message: str) -> None:
    spoil(one_card, "one/card.yaml", old, new)
    found = mistakes(one_card)
    assert any(one.startswith(f"cards/one/card.yaml:{place}: ") and message in one for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("analyte: potassium", "analyte: potasium", "1: low.analyte", "unknown name `potasium`; did you mean `potassium`?"),
        ("unit: mmol/L", "unit: mg/dL", "1: low.unit", "must be `mmol/L`, the unit of potassium"),
        ("below: 3.5", "below: low", "1: low.below", "neither a number nor the name of a threshold"),
        ("below: 3.5", "below: .inf", "1: file", "is not YAML: no decimal number; put texts in quotes"),
        ("sets: [dialysis]", "sets: [dialisis]", "2: dialysis.sets", "did you mean `dialysis`?"),
        ("patterns: [cramp_reason]", "patterns: [cramp_reasons]", "3: cramp.patterns", "did you mean `cramp_reason`?"),
        (
            "started_after: potassium",
            "started_after: xxx",
            "4: replaced.started_after",
            "unknown name `xxx`; known are: albumin, calcium,",
        ),
        ("of: [low,", "of: [lov,", "5: either.of", "unknown name `lov`; did you mean `low`?"),
        ("none_of: [replaced]", "none_of: [replace]", "6: both.none_of", "did you mean `replaced`?"),
        ("of: [low,", "of: [either,", "5: either", "is a member of itself: either > either"),
        ("of: [low,", "of: [both,", "5: either", "is a member of itself: either > both > either"),
        ("dialysis: {", "low: {", "2: low", "stands here twice; keep one"),
    ],
)
def test_a_mistake_in_a_shared_criterion_is_found_at_its_line_and_path(
    one_card: Path, old: str, new: str, place: str, message: str
) -> None:
    spoil(one_card, "criteria.yaml", old, new)
    found = mistakes(one_card)
    assert any(one.startswith(f"cards/criteria.yaml:{place}: ") and message in one for one in found), found


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "criteria.yaml",
            "below: 3.5",
            "bellow: 3.5",
            "cards/criteria.yaml:1: low.bellow: unknown name `bellow`; did you mean `below`?",
        ),
        (
            "one/card.yaml",
            "above: 300",
            "abov: 300",
            "cards/one/card.yaml:15: criteria.high_dose.abov: unknown name `abov`; did you mean `above`?",
        ),
        (
            "criteria.yaml",
            "of: [either], none_of",
            "of: [either], non_of",
            "cards/criteria.yaml:6: both.non_of: unknown name `non_of`; did you mean `none_of`?",
        ),
    ],
)
def test_a_criterion_that_cannot_be_read_is_the_only_mistake_told(
    one_card: Path, file: str, old: str, new: str, message: str
) -> None:
    spoil(one_card, file, old, new)
    assert mistakes(one_card) == [message]


def test_a_criterion_of_a_copied_card_is_told_once(tmp_path: Path) -> None:
    own = {"old": {"kind": "age", "at_least": 65}}
    one, two = (a_card(name, criteria=own, fire_when=["old"]) for name in ("one", "two"))
    write_small(tmp_path, {}, one, two)
    (found,) = mistakes(tmp_path)
    assert "`old` is already defined in cards/one/card.yaml; give it another name" in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("below: 3.5", "below: 35", "cards/criteria.yaml:1: low.below: 35 is not a possible threshold"),
        ("below: 3.5", "at_most: 0.9", "cards/criteria.yaml:1: low.at_most: 0.9 is not a possible threshold"),
        ("below: 3.5", "below_reported: {mg/dL: 3.5}, below: 3.5", "low.below_reported.mg/dL: 3.5 is not a possible threshold"),
    ],
)
def test_a_threshold_where_no_result_is_read_is_a_mistake(one_card: Path, old: str, new: str, message: str) -> None:
    spoil(one_card, "criteria.yaml", old, new)
    (found,) = mistakes(one_card)
    assert message in found
    assert found.endswith(": potassium is read from 1.0 to 10.0 mmol/L")


@pytest.mark.parametrize("threshold", ["below: 1.0", "above: 10.0", "at_least: 0", "below: 3.5, below_reported: {mg/dL: 13.7}"])
def test_a_threshold_at_the_end_of_what_is_read_and_one_that_any_result_meets_are_none(one_card: Path, threshold: str) -> None:
    spoil(one_card, "criteria.yaml", "below: 3.5", threshold)
    read_knowledge(one_card, terminology())


def test_the_mistakes_of_all_files_are_found_in_one_pass(folder: Path) -> None:
    spoil(folder, POTASSIUM, "rank: ", "rang: ")
    spoil(folder, QUININE, "known_gaps:", "know_gaps:")
    spoil(folder, "criteria.yaml", "analyte: potassium", "analyte: kalium")
    assert {one.split(":")[0] for one in mistakes(folder)} >= {f"cards/{POTASSIUM}", f"cards/{QUININE}", "cards/criteria.yaml"}


@pytest.mark.parametrize(
    "content",
    [
        b"id: [",
        b"a: b: c",
        b"\x00",
        b"\xff\xfe\xfa",
        b"- only\n- a list",
        b"",
        b"title: 1:30.5",
        b"reviewed_on: 2025-02-30",
        b"[a]: 1",
    ],
)
def test_a_file_that_is_no_card_is_a_mistake_and_never_a_crash(one_card: Path, content: bytes) -> None:
    (one_card / "one" / "card.yaml").write_bytes(content)
    (found,) = mistakes(one_card)
    assert found.startswith(("cards/one/card.yaml:1: ", "cards/one/card.yaml:2: "))


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "sources.yaml").unlink()
    assert mistakes(folder) == ["cards/sources.yaml:1: file: cannot be read (No such file or directory)"]


# No card knows another


@pytest.mark.parametrize(
    "place",
    [
        {"fire_when": ["mine"]},
        {"unless": ["mine"]},
        {"detail": [{"text": "Text", "when": ["mine"]}]},
        {"detail": [{"text": "{mine.years} years"}]},
        {"criteria": {"group": {"kind": "any", "of": ["mine"]}}, "fire_when": ["group"]},
    ],
)
def test_a_card_cannot_use_a_criterion_of_another_card(tmp_path: Path, place: Json) -> None:
    own = {"mine": {"kind": "age", "at_least": 65}}
    write_small(tmp_path, {}, a_card("one", criteria=own, fire_when=["mine"]), a_card("two", **place))
    (found,) = mistakes(tmp_path)
    assert found.startswith("cards/two/card.yaml:")
    assert "`mine`" in found


def test_a_shared_group_cannot_use_a_criterion_of_a_card(tmp_path: Path) -> None:
    group = {"group": {"kind": "any", "of": ["mine"]}}
    write_small(tmp_path, group, a_card("one", criteria={"mine": {"kind": "age", "below": 9}}, fire_when=["mine", "group"]))
    (found,) = mistakes(tmp_path)
    assert found.startswith("cards/criteria.yaml:")


def test_a_text_can_name_only_what_its_card_looks_at(tmp_path: Path) -> None:
    write_small(tmp_path, {"adult": {"kind": "age", "at_least": 18}}, a_card(detail=[{"text": "{adult.years} years"}]))
    assert "adult" in mistakes(tmp_path)[0]


def test_a_text_can_name_the_order_only_in_a_card_that_is_decided_for_each_order(tmp_path: Path) -> None:
    write_small(tmp_path, {}, a_card(detail=[{"text": "{order.name} is ordered"}]))
    assert "order" in mistakes(tmp_path)[0]


def test_a_source_that_is_shown_as_a_link_needs_an_address(tmp_path: Path) -> None:
    write_small(tmp_path, {}, a_card())
    spoil(tmp_path, "sources.yaml", "url: https://source.example/1", "url: ''")
    assert mistakes(tmp_path) == ["cards/one/card.yaml:26: links: `S1` has no url, so it can't be a link"]


# What is known, and its version


def test_the_shipped_cards_are_the_eighteen_in_the_order_of_their_ranks() -> None:
    shipped = [
        "quinine-avoid",
        "quinine-safety",
        "baclofen-safety",
        "benzodiazepine-caution",
        "muscle-relaxant-caution",
        "otc-analgesic-caution",
        "magnesium-supplement-note",
        "electrolyte-combined",
        "electrolyte-hypokalaemia",
        "electrolyte-hypomagnesaemia",
        "electrolyte-recheck",
        "cramp-differential",
        "baclofen-suggest",
        "cramp-exercise",
        "cramp-liver-monitor",
        "cramp-pregnancy",
        "cramp-med-review",
        "cramp-first-line",
    ]
    assert [card.id for card in knowledge().cards if card.id in shipped] == shipped  # a site may have added some
    assert knowledge().card("quinine-avoid") in knowledge().cards
    assert knowledge().card("nothing") is None


def test_the_hash_of_a_card_changes_with_its_own_file_and_with_what_it_shares_and_not_with_other_cards(folder: Path) -> None:
    def hashes() -> dict[str, str]:
        known = read_knowledge(folder, terminology())
        return {card.id: card.hash for card in known.cards} | {"all": known.hash}

    first = hashes()
    spoil(folder, POTASSIUM, "title: Low potassium", "title: Low potassium!")
    second = hashes()
    assert {name for name in first if first[name] != second[name]} == {"electrolyte-hypokalaemia", "all"}
    spoil(folder, "criteria.yaml", "within_days: 30", "within_days: 31")
    third = hashes()
    assert all(second[name] != third[name] for name in second)


# Prefetch

_SEARCH = re.compile(r"[A-Z][A-Za-z]+\?[a-z_-]+=[^&?]+(&[a-z_-]+=[^&?]+)*")
_READ = re.compile(r"[A-Z][A-Za-z]+/\{\{context\.[A-Za-z]+\}\}")


def test_every_hook_has_one_service_with_an_id_of_its_own() -> None:
    assert [(one.hook, one.id) for one in knowledge().services] == [
        (hook, f"cramp-care-{hook}") for hook in ("patient-view", "order-select", "order-sign")
    ]


def test_prefetch_templates_stay_in_the_restricted_subset_and_repeat_no_parameter() -> None:
    for service in knowledge().services:
        assert service.prefetch, service.id
        for template in service.prefetch.values():
            if not _READ.fullmatch(template):
                assert _SEARCH.fullmatch(template), template
                parameters = [one.split("=")[0] for one in template.partition("?")[2].split("&")]
                assert len(set(parameters)) == len(parameters), template
                assert {*parameters} <= {"patient", "code", "status", "_sort", "_count"}
                assert "patient={{context.patientId}}" in template
            tokens = re.findall(r"\{\{(.*?)\}\}", template)
            assert tokens == ["context.patientId"]
            assert "{codes}" not in template


def test_there_is_one_prefetch_key_per_resource_type() -> None:
    for service in knowledge().services:
        types = [re.split(r"[/?]", template)[0] for template in service.prefetch.values()]
        assert len(set(types)) == len(types)


@pytest.mark.parametrize(
    ("criterion", "keys", "codes"),
    [
        ({"kind": "lab", "analyte": "qtc", "at_least": 500, "unit": "ms", "within_days": 9}, {"labs"}, {"8636-3"}),
        ({"kind": "lab", "analyte": "egfr", "within_days": 9, "missing": True}, {"labs", "patient"}, {"98979-8", "2160-0"}),
        ({"kind": "drug", "classes": ["quinine"]}, {"statements", "prescriptions"}, set()),
        ({"kind": "drug", "classes": ["quinine"], "started_after": "qtc"}, {"statements", "prescriptions", "labs"}, {"8636-3"}),
        ({"kind": "problem", "sets": ["g6pd"]}, {"problems"}, set()),
        ({"kind": "problem", "sets": ["pregnancy"]}, {"problems", "labs"}, {"82810-3"}),
        ({"kind": "allergy", "classes": ["quinine"]}, {"allergies"}, set()),
        ({"kind": "age", "below": 3}, {"patient"}, set()),
        ({"kind": "order", "classes": ["quinine"]}, set(), set()),
        ({"kind": "order", "classes": ["quinine"], "action": "switch"}, {"prescriptions"}, set()),
        ({"kind": "reason", "patterns": ["cramp_reason"]}, {"problems"}, set()),
        (
            {"kind": "reason", "patterns": ["cramp_reason"], "of": "order or medication"},
            {"problems", "statements", "prescriptions"},
            set(),
        ),
        ({"kind": "hook", "hooks": ["order-sign"]}, set(), set()),
        ({"kind": "jurisdiction", "country": "GB"}, set(), set()),
    ],
)
def test_what_a_criterion_looks_at_is_asked_for(criterion: Json, keys: set[str], codes: set[str]) -> None:
    known = small({"it": criterion}, a_card(fire_when=["it"], hooks=["order-sign"]))
    asked = {service.hook: service.prefetch for service in known.services}
    assert asked["order-sign"].keys() == keys
    assert asked["patient-view"] == {}
    assert codes <= {*re.split(r"[=,&]", asked["order-sign"].get("labs", ""))}


def test_a_member_of_a_group_is_asked_for_too() -> None:
    criteria = {"it": {"kind": "any", "of": ["problem"]}, "problem": {"kind": "problem", "sets": ["g6pd"]}}
    known = small(criteria, a_card(unless=["it"]))
    assert [service.prefetch.keys() for service in known.services] == [{"problems"}] * 3


def test_what_only_a_retired_card_looked_at_is_not_asked_for_any_more(folder: Path) -> None:
    def asked() -> dict[str, str]:
        known = read_knowledge(folder, terminology())
        return next(service.prefetch for service in known.services if service.hook == "order-select")

    platelets = "777-3"
    assert platelets in asked()["labs"]
    for card in ("quinine-avoid", "quinine-safety"):
        spoil(folder, f"{card}/card.yaml", "status: active", "status: retired")
    assert platelets not in asked()["labs"]
    for path in folder.glob("*/card.yaml"):
        if "status: active" in path.read_text(encoding="utf-8"):
            spoil(folder, f"{path.parent.name}/card.yaml", "status: active", "status: retired")
    assert asked() == {}


def test_the_knowledge_of_a_draft_card_is_asked_for_because_it_is_evaluated() -> None:
    known = small({"it": {"kind": "age", "below": 3}}, a_card(status="draft", fire_when=["it"]))
    assert [service.prefetch.keys() for service in known.services] == [{"patient"}] * 3
