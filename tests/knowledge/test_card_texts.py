"""Every number in a text comes from its criterion or its order: it follows where a site changes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.authoring.typed_numbers import typed_numbers
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from tests.core import Json, a_card, answer, small, write_small
from tests.reading import terminology

LOW = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
EGFR = {"kind": "lab", "analyte": "egfr", "below": 30, "unit": "mL/min/{1.73_m2}", "within_days": 365}
ORDER = {"kind": "order", "classes": ["baclofen"]}
DOSE = {"kind": "dose", "above": 30}
OLD = {"kind": "age", "at_least": 65}
TABLET: Json = {
    "resourceType": "MedicationRequest",
    "status": "draft",
    "intent": "proposal",
    "medicationCodeableConcept": {"text": "potassium chloride"},
    "subject": {"reference": "{patient.reference}"},
    "dosageInstruction": [
        {
            "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
            "doseAndRate": [{"doseQuantity": {"value": 20, "unit": "mEq"}}],
        }
    ],
}


def with_text(text: str, criteria: Json, **changes: Any) -> Knowledge:
    return small(criteria, a_card(table=[{"when": list(criteria), "indicator": "info", "summary": text}], **changes))


@pytest.mark.parametrize(
    ("criterion", "text", "said"),
    [
        (LOW, "below {it.below} {it.unit}, {it.within_days} days", "below 3.5 mmol/L, 30 days"),
        (LOW | {"older_than_days": 7}, "after {it.older_than_days} days", "after 7 days"),
        (EGFR, "below {it.below} {it.unit}", "below 30 mL/min/1.73 m²"),
        (OLD, "from {it.at_least} {it.unit}", "from 65 years"),
        ({"kind": "age", "below": 18}, "under {it.below}", "under 18"),
        (DOSE, "above {it.above} {it.unit}", "above 30 mg/day"),
        ({"kind": "problem", "sets": ["malaria"], "onset_within_days": 90}, "of {it.onset_within_days} days", "of 90 days"),
        ({"kind": "count", "classes": ["statin"], "at_least": 2}, "{it.at_least} of them", "2 of them"),
    ],
)
def test_a_number_of_a_criterion_is_filled_in_when_cards_load(criterion: Json, text: str, said: str) -> None:
    card = with_text(text, {"it": criterion}).cards[0]
    assert card.file.table[0].summary == said
    assert card.summaries[0].placeholders == []


def test_a_group_says_the_number_that_its_members_agree_about() -> None:
    one = with_text("{both.within_days} days", {"both": {"kind": "any", "of": ["low", "dose"]}, "low": LOW, "dose": DOSE})
    assert one.cards[0].file.table[0].summary == "30 days"
    with pytest.raises(KnowledgeError, match="a any criterion has no field `within_days`"):
        with_text("{both.within_days} days", {"both": {"kind": "any", "of": ["low", "egfr"]}, "low": LOW, "egfr": EGFR})


def test_the_rule_of_repetition_says_its_days() -> None:
    card = with_text("a text", {"low": LOW}, known_gaps=["Silent for {repeat.after_days} days"], repeat={"after_days": 90})
    assert card.cards[0].file.known_gaps == ["Silent for 90 days"]
    with pytest.raises(KnowledgeError, match=r"known_gaps\[0\]: the card has no `repeat` rule"):
        with_text("a text", {"low": LOW}, known_gaps=["Silent for {repeat.days}"], repeat={"after_days": 90})


def test_what_is_offered_says_its_dose() -> None:
    item = {
        "id": "tablet",
        "label": "Order potassium chloride {offered.dose} {offered.frequency}",
        "actions": [{"type": "create", "description": "An order of {offered.dose}", "resource": "tablet"}],
    }
    drawn = small({}, a_card(suggestions=[item]), orders={"tablet": TABLET}).cards[0].suggestions[0]
    assert drawn.label == "Order potassium chloride 20 mEq twice daily"
    assert drawn.actions[0].description == "An order of 20 mEq"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{low.above}", r"a lab criterion has no field `above`"),
        ("{lw.below}", r"unknown criterion `lw`; did you mean `low`"),
        ("{offered.dose}", r"the offered orders have no `dose`"),
        ("{repeat.after_days}", r"no `repeat` rule"),
    ],
)
def test_a_placeholder_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(KnowledgeError, match=message):
        with_text(text, {"low": LOW})


def test_a_text_that_is_of_no_patient_holds_no_evidence() -> None:
    page = [{"text": "Below {low.below}: {low.value}", "source": ["S1"]}]
    with pytest.raises(KnowledgeError, match=r"page\[0\]\.text: a lab criterion has no field `value`"):
        small({"low": LOW}, a_card(fire_when=["low"], page=page))
    page = [{"text": "Below {low.below} {low.unit}", "source": ["S1"]}]
    assert small({"low": LOW}, a_card(fire_when=["low"], page=page)).cards[0].file.page[0].text == "Below 3.5 mmol/L"


def test_a_passage_of_the_page_names_a_source_of_the_card() -> None:
    with pytest.raises(KnowledgeError, match=r"page\[0\]\.source: unknown name `S9`"):
        small({}, a_card(page=[{"text": "More", "source": ["S9"]}]))


# Typed numbers


def typed(tmp_path: Path, criteria: Json, **changes: Any) -> list[str]:
    write_small(tmp_path, criteria, a_card(fire_when=list(criteria), **changes))
    return [str(problem) for problem in typed_numbers(tmp_path, read_knowledge(tmp_path, terminology()))]


@pytest.mark.parametrize(
    ("criteria", "text", "placeholder"),
    [
        ({"low": LOW}, "Below 3.5 mmol/L", "{low.below}"),
        ({"low": LOW}, "Below 3.50", "{low.below}"),
        ({"low": LOW}, "Below 3.5 mEq/L", "{low.below}"),
        ({"low": LOW}, "Not measured for 30 days", "{low.within_days}"),
        ({"old": OLD}, "Over 65 years old", "{old.at_least}"),
        ({"old": OLD}, "65 or older", "{old.at_least}"),
        ({"dose": DOSE}, "at most 30 mg a day", "{dose.above}"),
        ({"egfr": EGFR}, "eGFR below 30", "{egfr.below}"),
        ({"count": {"kind": "count", "classes": ["statin"], "at_least": 2}}, "2 drugs", "{count.at_least}"),
    ],
)
def test_a_typed_number_that_a_criterion_has_is_told_with_its_placeholder(
    tmp_path: Path, criteria: Json, text: str, placeholder: str
) -> None:
    (problem,) = typed(tmp_path, criteria, detail=[{"text": "First"}, {"text": text}])
    assert re.match(r"cards/one/card\.yaml:\d+: detail\[1\]\.text: has [\d.]+, which is", problem)
    assert f"`{placeholder}`" in problem


@pytest.mark.parametrize(
    ("criteria", "text"),
    [
        ({"low": LOW}, "Within {low.within_days} days, below {low.below}"),
        ({"low": LOW}, "after 3.55 or 13.5 or B3.5 or 30.5"),
        ({"low": LOW}, "30 % of them"),
        ({"dose": DOSE}, "at 30 °C"),
        ({"old": OLD}, "65 mg"),
        ({"count": {"kind": "count", "classes": ["statin"], "at_least": 2}}, "for 2 weeks, grade 2"),
    ],
)
def test_other_numbers_are_left_alone(tmp_path: Path, criteria: Json, text: str) -> None:
    assert typed(tmp_path, criteria, detail=[{"text": text}]) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("eGFR 15 to 29", "has 29, the last before `{it.below}`"),
        ("eGFR 15 to 30", "has 30, which is `{it.below}`"),
        ("after 29 days", ""),
        ("eGFR 15 to 28", ""),
    ],
)
def test_the_last_number_before_a_limit_is_told(tmp_path: Path, text: str, told: str) -> None:
    problems = typed(tmp_path, {"it": EGFR}, detail=[{"text": text}])
    assert len(problems) == bool(told)
    assert all(told in problem for problem in problems)


@pytest.mark.parametrize(("limit", "found"), [(2000, 1), (2, 0)])
def test_a_number_with_thousands_is_one_number(tmp_path: Path, limit: int, found: int) -> None:
    kinase = {"kind": "lab", "analyte": "creatine_kinase", "above": limit, "unit": "U/L", "within_days": 30}
    assert len(typed(tmp_path, {"it": kinase}, detail=[{"text": "above 2,000 U/L"}])) == found


def test_a_number_that_a_source_says_stays(tmp_path: Path) -> None:
    said = {"text": "In the trial eGFR was below 30", "quoted": ["30"]}
    assert typed(tmp_path, {"egfr": EGFR}, detail=[said]) == []


def test_labels_descriptions_reasons_and_the_page_are_looked_at(tmp_path: Path) -> None:
    action = {"type": "delete", "description": "Below 3.5"}
    problems = typed(
        tmp_path,
        {"low": LOW},
        table=[{"indicator": "info", "summary": "3.5"}],
        suggestions=[{"id": "one", "label": "Below 3.5", "actions": [action]}],
        not_checked=[{"when": ["low"], "because": "below 3.5"}],
        page=[{"text": "3.5", "source": ["S1"]}],
        why="Below 3.5 it matters",
        known_gaps=["Only below 3.5"],
    )
    places = [problem.split(": ")[1] for problem in problems]
    assert places == [
        "table[0].summary",
        "suggestions[0].label",
        "suggestions[0].actions[0].description",
        "not_checked[0].because",
        "why",
        "known_gaps[0]",
        "page[0].text",
    ]


# A site


def test_a_site_that_moves_the_ceiling_of_baclofen_moves_the_sentences(tmp_path: Path) -> None:
    card = cards_dir() / "baclofen-safety" / "card.yaml"
    version = re.search(r"^version: (.+)$", card.read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    (tmp_path / "baclofen-safety").mkdir()
    moved = f"written_for: {version[1]}\ncriteria: {{dose_above_30: {{above: 20}}}}\n"
    (tmp_path / "baclofen-safety" / "card.yaml").write_text(moved, encoding="utf-8")
    order = "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 12.5 mg BID"
    given = ["patient: female, 50 years", "ICD10#R25.2 Cramp and spasm", "LOINC#98979-8 eGFR 85 mL/min/{1.73_m2}", order]
    site = read_knowledge(cards_dir(), terminology(), tmp_path)
    shown = answer(*given, hook="order-sign", known=site).shown
    summaries = [msgspec.json.decode(one.body)["summary"] for one in shown]
    assert any("25 mg/day exceeds 20 mg/day" in summary for summary in summaries), summaries
    moved_card = site.card("baclofen-safety")
    assert moved_card is not None
    file = moved_card.file
    said = [file.why, *file.known_gaps, *(row.summary for row in file.table), *(item.text for item in file.detail)]
    assert any("20 mg" in text for text in said)
    assert not any("30 mg" in text for text in said)
