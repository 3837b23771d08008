"""A site's overlay: how it merges, what is refused and where, what it does to the hashes, and that the cases still tell."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.authoring.cases import Run, load_cases, run_cases
from cds_service.authoring.emitted_resources import emitted_problems, report
from cds_service.cli.main import main
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError, YamlFile
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.loader import read_knowledge
from tests.core import a_card, answer, card, cards, knowledge, write_small
from tests.reading import terminology

CRITERIA = {
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30, "source": ["S1"]},
    "very_low": {"kind": "lab", "analyte": "potassium", "below": 2.5, "unit": "mmol/L", "within_days": 30, "source": ["S1"]},
}
TABLE = [
    {"when": ["very_low"], "indicator": "critical", "summary": "Very low"},
    {"when": ["low"], "indicator": "warning", "summary": "Low {low.value}"},
]
SUGGESTIONS = [
    {"id": "repeat", "label": "Repeat", "actions": [{"type": "create", "description": "Repeat it", "resource": "again"}]},
    {"id": "ecg", "label": "ECG", "actions": [{"type": "create", "description": "Do one", "resource": "again"}]},
]
ORDER = {
    "resourceType": "ServiceRequest",
    "status": "draft",
    "intent": "proposal",
    "code": {"text": "Again"},
    "subject": {"reference": "{patient.reference}"},
}
CASES = """\
- name: A potassium of 3.4 is low
  hook: patient-view
  given: [LOINC#2823-3 Potassium 3.4 mmol/L]
  expect: {indicator: warning, says: [Low]}
- name: A potassium of 3.6 is not low
  hook: patient-view
  given: [LOINC#2823-3 Potassium 3.6 mmol/L]
  expect: silent
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A small `cards/` with the cards `one`, which the tests overlay, and `two`."""
    folder = tmp_path / "cards"
    folder.mkdir()
    one = a_card("one", table=TABLE, suggestions=SUGGESTIONS, detail=[{"text": "First."}, {"text": "Second."}])
    write_small(folder, CRITERIA, one, a_card("two", fire_when=["low"]), orders={"again": ORDER})
    for name in ("one", "two"):
        (folder / name / "cases.yaml").write_text(CASES.replace("warning, says: [Low]", "info") if name == "two" else CASES)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "overlay"
    folder.mkdir()
    return folder


def write(site: Path, **files: str) -> None:
    """Overlay files: `criteria="..."` is criteria.yaml, `one="..."` is one/card.yaml, `one_cases` is one/cases.yaml."""
    for name, text in files.items():
        path = site / f"{name}.yaml"
        if name in ("one", "two"):
            path = site / name / "card.yaml"
            text = f"written_for: 1.0.0\n{text}" if "written_for" not in text else text
        elif name.endswith("_cases"):
            path = site / name.removesuffix("_cases") / "cases.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def load(base: Path, site: Path | None) -> Knowledge:
    return read_knowledge(base, terminology(), site)


def one(known: Knowledge) -> Card:
    found = known.card("one")
    assert found is not None
    return found


def mistakes(base: Path, site: Path) -> list[str]:
    with pytest.raises(KnowledgeError) as caught:
        load(base, site)
    return [str(problem) for problem in caught.value.problems]


# What a site can change


def test_a_threshold_changes_and_the_rest_of_its_criterion_stays(base: Path, site: Path) -> None:
    write(site, criteria="low: {below: 3.3}")
    known = load(base, site)
    changed: Any = known.criteria["low"]
    assert (str(changed.below), changed.unit, changed.within_days) == ("3.3", "mmol/L", 30)
    assert [found["indicator"] for found in cards(answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=known))] == []
    assert len(cards(answer("LOINC#2823-3 Potassium 3.2 mmol/L", known=known))) == 2


def test_a_text_follows_the_number_that_a_site_changes(base: Path, site: Path) -> None:
    rows = "table: {1: {summary: 'Very low in the last {very_low.within_days} days'}}"
    said = f"{rows}\ndetail: {{1: {{text: '{{low.within_days}} days'}}}}\n"
    write(site, one=said, criteria="low: {within_days: 7}")
    changed = one(load(base, site))
    assert (changed.file.table[0].summary, changed.file.detail[0].text) == ("Very low in the last 30 days", "7 days")
    (shown,) = [
        found
        for found in cards(answer("LOINC#2823-3 Potassium 2.4 mmol/L", known=load(base, site)))
        if found["source"]["topic"]["code"] == "one"
    ]
    assert (shown["summary"], shown["detail"].split("\n\n")[0]) == ("Very low in the last 30 days", "7 days")


def test_a_threshold_that_lost_its_point_is_a_mistake_in_the_file_of_the_site(base: Path, site: Path) -> None:
    write(site, criteria="low:\n  below: 34\n")
    assert mistakes(base, site) == [
        "overlay/criteria.yaml:2: low.below: 34 is not a possible threshold: potassium is read from 1.0 to 10.0 mmol/L"
    ]


def test_single_rows_and_paragraphs_change_by_their_number_from_one(base: Path, site: Path) -> None:
    write(site, one='table:\n  2: {summary: "Our words", indicator: info}\ndetail: {1: {text: Our first.}}\n')
    shown = card(answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=load(base, site)), "one")
    assert (shown["summary"], shown["indicator"]) == ("Our words", "info")
    assert shown["detail"] == "Our first.\n\nSecond."


def test_items_that_are_removed_do_not_renumber_those_after_them(base: Path, site: Path) -> None:
    write(site, one="detail: {1: null, 2: {text: Our second.}}")
    assert [item.text for item in one(load(base, site)).file.detail] == ["Our second."]


def test_a_list_takes_the_place_of_the_whole_list(base: Path, site: Path) -> None:
    write(site, one="detail: [{text: Only this.}]\nknown_gaps: [ours]\n")
    file = one(load(base, site)).file
    assert [item.text for item in file.detail] == ["Only this."]
    assert file.known_gaps == ["ours"]
    assert len(file.table) == 2


def test_a_suggestion_changes_by_its_id_and_orders_the_product_of_the_site(base: Path, site: Path) -> None:
    write(
        site,
        orders="ours: {resourceType: ServiceRequest, status: draft, intent: proposal, code: {text: Ours}, "
        'subject: {reference: "{patient.reference}"}}\n',
        one="suggestions: {repeat: {label: Our repeat, actions: [{type: create, description: It, resource: ours}]}, ecg: null}",
    )
    shown = card(answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=load(base, site)), "one")
    assert [item["label"] for item in shown["suggestions"]] == ["Our repeat"]
    assert shown["suggestions"][0]["actions"][0]["resource"]["code"] == {"text": "Ours"}


def test_an_order_changes_in_part(base: Path, site: Path) -> None:
    write(site, orders="again: {code: {text: Other words}}")
    assert load(base, site).orders["again"] == ORDER | {"code": {"text": "Other words"}}


def test_override_reasons_are_reworded_and_added(base: Path, site: Path) -> None:
    write(site, override_reasons="fine: {display: We know}\nours: {display: Our reason}", one="overrides: [ours, fine]")
    shown = card(answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=load(base, site)), "one")
    assert [(reason["code"], reason["display"]) for reason in shown["overrideReasons"]] == [
        ("ours", "Our reason"),
        ("fine", "We know"),
    ]


def test_a_card_is_switched_off(base: Path, site: Path) -> None:
    write(site, one="status: retired")
    answered = answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=load(base, site))
    assert [found["source"]["topic"]["code"] for found in cards(answered)] == ["two"]
    assert [decision.card.id for decision in answered.decisions] == ["two"]


def test_words_that_are_on_every_card_change(base: Path, site: Path) -> None:
    write(site, labels="source_label: Our hospital")
    assert load(base, site).labels.source_label == "Our hospital"
    assert load(base, site).labels.topic_system == knowledge().labels.topic_system


def test_a_criterion_of_the_site_can_take_the_place_of_another(base: Path, site: Path) -> None:
    write(
        site,
        criteria="our_low: {kind: lab, analyte: potassium, below: 3, unit: mmol/L, within_days: 7, source: [OURS]}",
        sources="OURS: {title: Our protocol, says: Below 3, read: all of it}",
        one="table: {2: {when: [our_low], summary: Ours}}\nsources: [S1, OURS]",
    )
    shown = cards(answer("LOINC#2823-3 Potassium 3.4 mmol/L", known=load(base, site)))
    assert [found["source"]["topic"]["code"] for found in shown] == ["two"]
    assert card(answer("LOINC#2823-3 Potassium 2.9 mmol/L", known=load(base, site)), "one")["summary"] == "Ours"


def test_a_criterion_of_the_card_that_the_site_no_longer_uses_is_no_mistake_of_the_site(base: Path, site: Path) -> None:
    own = a_card("one", criteria={"old": {"kind": "age", "at_least": 65}}, fire_when=["old"])
    (base / "one" / "card.yaml").write_bytes(msgspec.json.encode(own))
    write(site, one="fire_when: []")
    assert one(load(base, site)).file.fire_when == []
    write(site, one="fire_when: []\ncriteria: {ours: {kind: age, below: 3}}")
    assert mistakes(base, site) == ["overlay/one/card.yaml:3: criteria.ours: is defined but never used; use it or delete it"]


def test_an_empty_overlay_and_files_that_are_no_knowledge_change_nothing(base: Path, site: Path) -> None:
    (site / "README.md").write_text("Why we do it otherwise.")
    (site / ".git").mkdir()
    assert load(base, site).hash == load(base, None).hash
    assert load(base, site).overlay_hash == ""


# Mistakes point into the file in which they were made


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"criteria": "low:\n  belov: 3.3\n"},
            "overlay/criteria.yaml:2: low.belov: unknown name `belov`; did you mean `below`?",
        ),
        (
            {"criteria": "low:\n  below: [3]\n"},
            "overlay/criteria.yaml:2: low.below: ",
        ),
        (
            {"criteria": "low: {kind: null}"},
            "overlay/criteria.yaml:1: low.kind: is required and can't be removed",
        ),
        (
            {"criteria": "very_lo: {kind: age, below: 3}"},
            "overlay/criteria.yaml:1: very_lo: unknown name `very_lo`; did you mean `very_low`? "
            "(a new one must be used by a card)",
        ),
        (
            {"criteria": "lw: null"},
            "overlay/criteria.yaml:1: lw: can't be removed: unknown name `lw`; did you mean `low`?",
        ),
        (
            {"criteria": "low: {unit: mg/dL}"},
            "overlay/criteria.yaml:1: low.unit: must be `mmol/L`, the unit of potassium",
        ),
        (
            {"orders": "agian: {status: draft}"},
            "overlay/orders.yaml:1: agian: unknown name `agian`; did you mean `again`? (a new one must be used by a card)",
        ),
        (
            {"override_reasons": "fin: {display: Fine}"},
            "overlay/override_reasons.yaml:1: fin: unknown name `fin`; did you mean `fine`? (a new one must be used by a card)",
        ),
        (
            {"labels": "sourc_label: x"},
            "overlay/labels.yaml:1: sourc_label: unknown name `sourc_label`; did you mean `source_label`?",
        ),
        ({"one": "owner: null"}, "overlay/one/card.yaml:2: owner: is required and can't be removed"),
        ({"one": "statsu: draft"}, "overlay/one/card.yaml:2: statsu: unknown name `statsu`; did you mean `status`?"),
        (
            {"one": "status: actve"},
            "overlay/one/card.yaml:2: status: `actve` is not one of the allowed values; did you mean `active`?",
        ),
        (
            {"one": "table:\n  2:\n    indicator: warnign\n"},
            "overlay/one/card.yaml:4: table.2.indicator: `warnign` is not one of the allowed values; did you mean `warning`?",
        ),
        (
            {"one": "detail: {1: null}\ntable: {2: {when: [lo]}}"},
            "overlay/one/card.yaml:3: table.2.when: unknown name `lo`; did you mean `low`?",
        ),
        ({"one": "table: {3: {summary: x}}"}, "overlay/one/card.yaml:2: table.3: unknown item `3`; known are: 1, 2"),
        (
            {"one": "suggestions: {repaet: null}"},
            "overlay/one/card.yaml:2: suggestions.repaet: unknown item `repaet`; did you mean `repeat`?",
        ),
        ({"one": "detail: []"}, "overlay/one/card.yaml:2: detail: "),
        ({"one": "overrides: [fien]"}, "overlay/one/card.yaml:2: overrides: unknown name `fien`; did you mean `fine`?"),
        (
            {"one": "detail: {2: {text: '{low.values}'}}"},
            "overlay/one/card.yaml:2: detail.2.text: a lab criterion has no field `values`; did you mean `value`?",
        ),
        ({"one": "id: other"}, "overlay/one/card.yaml:2: id: can't be changed"),
        (
            {"one": "version: 2.0.0"},
            "overlay/one/card.yaml:2: version: can't be changed; `written_for` says which version the overlay was written for",
        ),
        (
            {"one": "title: x\nwritten_for: 0.9.0"},
            "overlay/one/card.yaml:2: written_for: the card is now version 1.0.0; check what changed "
            "and whether this overlay still fits, then change this",
        ),
        (
            {"one": "written_for: null"},
            "overlay/one/card.yaml:1: file: does not say which version of the card it was written for; add `written_for: 1.0.0`",
        ),
        ({"criteria": "- low\n"}, "overlay/criteria.yaml:1: file: must be a mapping of what differs"),
        ({"criteria": "low: 3\nlow: 4\n"}, "overlay/criteria.yaml:2: low: stands here twice; keep one"),
        (
            {"criteri": "low: {below: 3}"},
            "overlay/criteri.yaml:1: file: cards/ has no file `criteri.yaml`; did you mean `criteria.yaml`?",
        ),
    ],
)
def test_a_mistake_in_the_overlay_is_found_in_its_file_at_its_line_and_path(
    base: Path, site: Path, files: dict[str, str], message: str
) -> None:
    write(site, **files)
    assert mistakes(base, site)[0].startswith(message)  # what follows from it may be told after it


def test_a_folder_that_is_no_card_and_a_file_that_a_card_does_not_have_are_mistakes(base: Path, site: Path) -> None:
    for name in ("onee/card.yaml", "two/cards.yaml"):
        (site / name).parent.mkdir()
        (site / name).write_text("written_for: 1.0.0")
    (site / "one").write_text("a file in place of a folder")
    first, *others = mistakes(base, site)
    assert first.startswith("overlay/one:1: file: cards/ has no file `one`; known are: codes.yaml, criteria.yaml")
    assert others == [
        "overlay/onee:1: file: cards/ has no card `onee`; did you mean `one`?",
        "overlay/two/cards.yaml:1: file: unknown name `cards.yaml`; did you mean `card.yaml`?",
    ]


def test_what_the_overlay_leaves_alone_is_still_found_in_cards(base: Path, site: Path) -> None:
    write(site, criteria="low: {below: 3.3}")
    text = (base / "criteria.yaml").read_text(encoding="utf-8")
    (base / "criteria.yaml").write_text(text.replace("below: 2.5", "belwo: 2.5"), encoding="utf-8")
    found = mistakes(base, site)[0]
    assert found.startswith("cards/criteria.yaml:")
    assert "very_low.belwo: unknown name" in found


def test_the_mistakes_of_several_overlay_files_are_found_in_one_pass(base: Path, site: Path) -> None:
    write(site, one="statsu: draft", two="status: actve")
    assert len(mistakes(base, site)) == 2


# Hashes


def test_the_overlay_has_a_hash_of_its_own_and_changes_those_of_the_cards_it_touches(base: Path, site: Path) -> None:
    def hashes() -> dict[str, str]:
        known = load(base, site)
        return {found.id: found.hash for found in known.cards} | {"overlay": known.overlay_hash, "all": known.hash}

    plain = load(base, None)
    write(site, one="title: Ours")
    first = hashes()
    assert first["two"] == next(found.hash for found in plain.cards if found.id == "two")
    assert first["one"] != one(plain).hash
    assert first["all"] == f"{plain.hash}+{first['overlay']}"
    write(site, one_cases=CASES)
    assert hashes() == first
    write(site, criteria="low: {below: 3.3}")
    second = hashes()
    assert all(first[name] != second[name] for name in first)


# Cases


def checked(base: Path, site: Path | None) -> tuple[list[str], bool, list[Run]]:
    known = load(base, site)
    runs = list(run_cases(load_cases(base, known), known))
    return *report(known, runs, emitted_problems(known, runs)), runs


def test_base_cases_that_an_overlay_breaks_are_told_apart(base: Path, site: Path) -> None:
    assert checked(base, None)[0] == ["2 cards, 4 cases: 4 passed, 0 failed"]
    write(site, criteria="low: {below: 3.3}")
    lines, well, _ = checked(base, site)
    assert not well
    assert lines[0] == "With the overlay, these cases of cards/ no longer pass:"
    assert [line.split(":")[0] for line in lines[1:3]] == ["cards/one/cases.yaml", "cards/two/cases.yaml"]
    assert lines[3] == "overlay: 1 of one; if the site intends this, write what it expects into overlay/one/cases.yaml"
    assert lines[-2].endswith(": 0 cases: 0 passed, 0 failed")
    assert lines[-1] == "2 cards, 4 cases: 2 passed, 2 failed"


def test_cases_of_the_site_replace_those_of_the_card_as_a_list_or_one_by_one(base: Path, site: Path) -> None:
    write(
        site,
        criteria="low: {below: 3.3}",
        one_cases=CASES.replace("3.4", "3.2"),
        two_cases="A potassium of 3.4 is low: {expect: silent}",
    )
    lines, well, runs = checked(base, site)
    assert well
    assert lines[0].endswith(": 3 cases: 3 passed, 0 failed")
    assert lines[1] == "2 cards, 1 cases: 1 passed, 0 failed"
    assert {run.case.card.id for run in runs if run.case.of_site} == {"one", "two"}


def test_a_case_of_the_site_that_fails_is_found_in_its_file(base: Path, site: Path) -> None:
    write(site, two_cases="A potassium of 3.4 is low: {expect: silent}\n")
    lines, well, _ = checked(base, site)
    assert not well
    assert lines[0].startswith("overlay/two/cases.yaml:1: ")
    assert "and the card is shown" in lines[0]


def test_a_retired_card_needs_no_cases_and_a_draft_is_tried_out_by_its_own(base: Path, site: Path) -> None:
    write(site, one="status: retired", two="status: draft")
    lines, well, runs = checked(base, site)
    assert well
    assert {run.case.card.id for run in runs} == {"two"}
    assert lines[-1] == "2 cards, 2 cases: 2 passed, 0 failed"


def test_an_order_of_the_site_that_is_no_fhir_is_found_in_its_file(base: Path, site: Path) -> None:
    write(site, orders="\nagain: {intent: null}")
    lines, well, _ = checked(base, site)
    assert not well
    assert any(line.startswith("overlay/orders.yaml:2: again: is not FHIR R4B") for line in lines)


# The command line and the real cards


def test_the_command_line_checks_and_shows_the_cards_with_the_overlay(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = next(found.file.version for found in knowledge().cards if found.id == "quinine-avoid")
    (site / "quinine-avoid").mkdir()
    (site / "quinine-avoid" / "card.yaml").write_text(f"written_for: {version}\ntitle: Our quinine card\n")
    monkeypatch.setenv("CDS_OVERLAY_DIR", str(site))
    assert main(["cards", "show", "quinine-avoid"]) == 0
    assert capsys.readouterr().out.startswith("Our quinine card")
    (site / "quinine-avoid" / "card.yaml").write_text("written_for: 0.0.1\n")
    assert main(["cards", "check"]) == 1
    assert f"the card is now version {version}" in capsys.readouterr().err


def test_the_real_cards_can_be_laid_over_in_every_file(tmp_path: Path, site: Path) -> None:
    """Laying every file of `cards/` over itself changes nothing but the hashes."""
    for path in [*cards_dir().glob("*.yaml"), *cards_dir().glob("*/card.yaml")]:
        target = site / path.relative_to(cards_dir())
        if path.parent == cards_dir() and path.name not in ("criteria.yaml", "sources.yaml", "orders.yaml", "labels.yaml"):
            continue
        target.parent.mkdir(exist_ok=True)
        if path.name == "card.yaml":
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not line.startswith(("id:", "version:"))]
            version = next(line.split()[1] for line in lines if line.startswith("version:"))
            target.write_text("\n".join([f"written_for: {version}", *kept]), encoding="utf-8")
        else:
            shutil.copy(path, target)
    known = read_knowledge(cards_dir(), terminology(), site)
    assert [found.file for found in known.cards] == [found.file for found in knowledge().cards]
    assert (known.criteria, known.orders, known.sources) == (knowledge().criteria, knowledge().orders, knowledge().sources)


def test_the_overlay_of_the_guide_to_the_cards_does_what_it_says(site: Path) -> None:
    guide = (cards_dir() / "README.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^overlay/(\w+\.yaml) +(\w.*)$", guide, re.MULTILINE))
    files |= dict(re.findall(r"```yaml\n# overlay/(\S+)\n(.*?)```", guide, re.DOTALL))
    assert {"criteria.yaml", "orders.yaml", "quinine-avoid/card.yaml", "electrolyte-hypokalaemia/cases.yaml"} <= set(files)
    version = next(found.file.version for found in knowledge().cards if found.id == "quinine-avoid")
    for name, text in files.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(re.sub(r"written_for: \S+", f"written_for: {version}", text), encoding="utf-8")
    known = read_knowledge(cards_dir(), terminology(), site)
    shown = card(
        answer("order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule", hook="order-sign", known=known), "quinine-avoid"
    )
    assert shown["summary"] == "Quinine is not on our formulary"
    assert [item["label"] for item in shown["suggestions"]] == ["Remove the quinine order", "Give our stretching leaflet"]
    assert [reason["display"] for reason in shown["overrideReasons"]] == ["On specialist advice", "Our renal protocol applies"]
    assert shown["source"]["label"] == "Our hospital"
    assert known.overlay is not None
    name = "electrolyte-hypokalaemia/cases.yaml"
    cases = known.overlay.over(YamlFile(cards_dir() / name, f"cards/{name}"), name).data
    assert [case["expect"] for case in cases if case["name"] == "A potassium of 3.49 is low"] == ["silent"]
