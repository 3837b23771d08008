"""Why a card fired or did not: the explanation says what the decision did, and names what indeed stopped it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import ShorthandError, request_from_case
from cds_service.cli.main import main
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import SOURCES, PriorCard
from cds_service.criteria.findings import IS_UNMET, MET, UNMET, Finding, Truth, conditions
from cds_service.decide.decision import Decision, Outcome
from cds_service.decide.one_card import _Unsure, judge_card
from cds_service.evaluate import Evaluation
from cds_service.explain.explain import explain
from cds_service.explain.explanation import CardExplanation, CriterionExplanation, Explanation
from cds_service.explain.text import draw_explanation, outcome_words
from cds_service.files.paths import fixtures_dir
from tests import proofs
from tests.case_runs import some_requests
from tests.core import NOW, PATIENTS, a_card, answer, answer_to, decide, facts, knowledge, small, unexpected

CRAMP = {"kind": "problem", "sets": ["muscle_cramp"]}
LOW = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
QUININE = {"kind": "order", "classes": ["quinine"]}
CRITERIA = {"cramp": CRAMP, "low": LOW, "quinine": QUININE}
WORDS = {Truth.MET: "met", Truth.UNMET: "unmet", Truth.UNKNOWN: "unknown"}
PARTS = 8  # of all requests, so that a test is short and a failure says where


@cache
def answers(part: int) -> list[tuple[str, Evaluation, Explanation]]:
    """(name, answer, explanation) of a part of all requests: the samples, and the cases of every card."""
    samples = [(name, one.request(NOW)) for name, one in load_samples(fixtures_dir()).items()]
    found = [(name, answer_to(request)) for name, request in islice([*samples, *some_requests()], part, None, PARTS)]
    return [(name, answered, explained(answered)) for name, answered in found]


def explained(answered: Evaluation) -> Explanation:
    return explain(answered.facts, answered.decisions, knowledge())


def look_at(answered: Evaluation, card: str) -> CardExplanation:
    (found,) = [one for one in explained(answered).cards if one.card == card]
    return found


def one_look(*given: str, hook: str = "order-sign", **changes: Any) -> CardExplanation:
    """The explanation of one small card."""
    known = small(CRITERIA, a_card(**changes))
    read = facts(*given, hook=hook)
    (found,) = explain(read, decide(read, known, unexpected), known).cards
    return found


def all_looks(card: CardExplanation) -> Iterator[CriterionExplanation]:
    todo = [*card.conditions, *(look for row in card.rows for look in row.criteria)]
    while todo:
        look = todo.pop()
        yield look
        todo += look.members


class Otherwise(dict[str, Finding]):
    """The findings of a decision with some of them turned into what the card wants."""

    def __init__(self, decision: Decision, looks: list[CriterionExplanation]) -> None:
        super().__init__({look.name: MET if look.wanted == "met" else UNMET for look in looks})
        self._findings = decision.findings

    def __missing__(self, name: str) -> Finding:
        return self._findings[name]


def truth_of(decision: Decision, looks: list[CriterionExplanation], when: list[str], unless: list[str]) -> Truth:
    return _Unsure(decision.card, cast("Evaluator", Otherwise(decision, looks))).hold(conditions(when, unless))


# On every sample and every case of every card


@pytest.mark.proof
@pytest.mark.parametrize("part", range(PARTS))
def test_the_explanation_is_that_of_the_decisions(part: int) -> None:
    for name, answered, explanation in answers(part):
        assert [one.card for one in explanation.cards] == [one.card.id for one in answered.decisions], name
        shown = {one.decision.card.id for one in answered.shown if one.decision is not None}
        assert {one.card for one in explanation.cards if one.shown} == shown, name
        for decision, look in zip(answered.decisions, explanation.cards, strict=True):
            assert look.outcome is decision.outcome, name
            assert look.because, name
            if decision.row >= 0:
                assert [row.truth for row in look.rows[: decision.row]].count("met") == 0, (name, look.card)
                assert look.rows[decision.row].truth == "met", (name, look.card)
                assert {one.effect for one in look.conditions} <= {"holds"}, (name, look.card)
                assert sum(row.reached for row in look.rows) == look.row, (name, look.card)
            elif any(one.effect == "stops" for one in look.conditions):
                assert not any(row.reached for row in look.rows), (name, look.card)
            for one in all_looks(look):
                assert one.truth == WORDS[decision.findings[one.name].truth], (name, look.card, one.name)
        assert msgspec.json.decode(msgspec.json.encode(explanation))["hook"] == answered.facts.hook


@pytest.mark.proof
@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_named_as_the_reason_is_what_stops_the_card_and_nothing_else_does(part: int) -> None:
    silent = 0
    for name, answered, explanation in answers(part):
        for decision, look in zip(answered.decisions, explanation.cards, strict=True):
            if decision.outcome is not Outcome.NOT_FIRED:
                continue
            silent += 1
            where = (name, look.card)
            common = [one for one in look.conditions if one.effect == "stops"]
            rows = [row for row in look.rows if [one.name for one in row.criteria if one.effect == "stops"] == look.stops]
            stopping = common or [one for one in rows[-1].criteria if one.effect == "stops"]
            file = decision.card.file
            row = file.table[rows[-1].number - 1] if rows else file.table[0]
            when, unless = (file.fire_when, file.unless) if common else (row.when, row.unless)
            assert stopping, where
            assert [one.name for one in stopping] == look.stops, where
            assert all(one.says in look.because for one in stopping), where
            assert truth_of(decision, stopping, when, unless) is not IS_UNMET, where
            for one in stopping:
                rest = [other for other in stopping if other.name != one.name]
                assert truth_of(decision, rest, when, unless) is IS_UNMET, (*where, one.name)
            if not common:
                other = judge_card(
                    decision.card, cast("Evaluator", Otherwise(decision, stopping)), decision.order, answered.facts.hook
                )
                assert other.outcome is not Outcome.NOT_FIRED, where
    assert silent > 150


_LINES = sorted({line for _, given in PATIENTS.values() for line in given if not line.startswith("source")})
_STATES = [f"source {name}: {state}" for name in SOURCES if name != "patient" for state in ("error", "absent", "partial")]


@pytest.mark.proof
@settings(max_examples=proofs.examples("CDS_RECORDS", 20, 200))
@examples(
    st.sampled_from(["patient-view", "order-select", "order-sign"]), st.lists(st.sampled_from(_LINES + _STATES), unique=True)
)
def test_no_mixture_of_data_breaks_an_explanation(hook: str, lines: list[str]) -> None:
    try:
        request = request_from_case(lines, hook, NOW)
    except ShorthandError:
        return  # two patients, orders at patient-view and the like
    if hook == "order-select" and not request["context"]["selections"]:
        return
    answered = answer_to(request)
    explanation = explained(answered)
    assert len(explanation.cards) == len(answered.decisions)
    assert draw_explanation(explanation)


# What it says


def test_a_missing_result_is_not_known_and_the_card_counts_it_as_not_met() -> None:
    look = one_look(fire_when=["low"])
    assert (look.outcome, look.stops) == (Outcome.NOT_FIRED, ["low"])
    assert look.because == (
        "not known: potassium below 3.5 mmol/L, at most 30 days old (no potassium result in the last 30 days); "
        "the card then counts it as not met"
    )
    (condition,) = look.conditions
    assert (condition.truth, condition.cause, condition.policy, condition.effect) == (
        "unknown",
        "not_recorded",
        "carry on",
        "stops",
    )


def test_a_result_that_is_too_old_is_named() -> None:
    look = one_look("LOINC#2823-3 Potassium 3.1 mmol/L at 2025-09-01", fire_when=["low"])
    assert "the newest is 3.1 mmol/L of 2025-09-01, 91 days old" in look.because


def test_evidence_has_value_unit_date_code_and_place() -> None:
    look = one_look("LOINC#2823-3 Potassium 4.2 mmol/L at 2025-11-28", fire_when=["low"])
    assert look.because == "not met: potassium below 3.5 mmol/L, at most 30 days old (potassium 4.2 mmol/L (2025-11-28))"
    (seen,) = look.conditions[0].evidence
    assert (seen.text, seen.value, seen.unit, seen.date) == ("potassium", "4.2", "mmol/L", "2025-11-28")
    assert (seen.code, seen.source, seen.reference) == ("http://loinc.org|2823-3", "labs", "Observation/observation-1")


def test_a_converted_result_is_shown_as_it_was_sent_and_as_it_is_compared() -> None:
    read = explained(answer("LOINC#19123-9 Magnesium 2.0 mg/dL at 2025-11-28")).read
    (magnesium,) = [one for one in read if one.text == "magnesium"]
    assert magnesium.words == "magnesium 2.0 mg/dL (2025-11-28)"
    assert magnesium.meaning == "compared as 0.8227 mmol/L"


def test_a_result_that_is_not_there_is_called_as_people_call_it() -> None:
    looks = [look for card in explained(answer("ICD10#R25.2 Cramp")).cards for look in all_looks(card)]
    found = {look.found for look in looks if look.cause == "not_recorded"}
    assert "no QTc result in the last 365 days" in found
    assert "no eGFR result in the last 365 days" in found
    assert not any(name in words for words in found for name in ("qtc", "egfr", "_"))


def test_a_condition_that_silences_the_card_is_the_reason() -> None:
    look = one_look("ICD10#R25.2 Cramp and spasm", unless=["cramp"])
    assert look.because == "it does not fire where this is met: an active problem: muscle cramp (Cramp and spasm)"
    assert look.conditions[0].wanted == "unmet"


def test_the_row_that_came_closest_is_the_reason_and_of_those_as_close_the_last() -> None:
    table = [
        {"when": ["low", "cramp"], "indicator": "critical", "summary": "both"},
        {"when": ["low"], "indicator": "warning", "summary": "low"},
        {"when": ["cramp"], "indicator": "info", "summary": "cramp"},
    ]
    look = one_look("LOINC#2823-3 Potassium 4.2 mmol/L", table=table)
    assert look.because.startswith("none of its 3 rows holds; row 3 came closest and lacks: not met: an active problem")
    assert look.stops == ["cramp"]


def test_rows_behind_the_one_that_holds_are_looked_at_and_marked_as_not_reached() -> None:
    table = [
        {"when": ["cramp"], "indicator": "info", "summary": "cramp"},
        {"when": ["low"], "indicator": "info", "summary": "low"},
    ]
    look = one_look("ICD10#R25.2 Cramp and spasm", "LOINC#2823-3 Potassium 3.1 mmol/L", table=table)
    assert (look.row, [(row.truth, row.reached) for row in look.rows]) == (1, [("met", True), ("met", False)])


def test_a_source_that_failed_is_could_not_check_and_says_whether_the_clinician_is_told() -> None:
    look = one_look("source labs: error", "ICD10#R25.2 Cramp", table=[{"when": ["low"], "indicator": "info", "summary": "low"}])
    assert (look.outcome, look.said, look.stops) == (Outcome.COULD_NOT_CHECK, True, ["low"])
    assert look.because.startswith("it could not be checked: laboratory results")
    assert (look.rows[0].truth, look.rows[0].criteria[0].truth) == ("unknown", "unknown")


def test_an_order_that_the_card_is_not_for_is_named_with_the_reason() -> None:
    look = one_look("order: amoxicillin 500 mg", for_each="quinine", fire_when=["quinine"])
    assert [(one.order, one.because) for one in look.other_orders] == [
        ("amoxicillin 500 mg", "not met: an order for quinine (among 1 draft order there is none that fits)")
    ]


def test_an_order_that_is_not_selected_is_named() -> None:
    given = ["order: quinine 324 mg, not selected", "order: amoxicillin 500 mg"]
    look = one_look(*given, hook="order-select", for_each="quinine", fire_when=["quinine"])
    assert look.other_orders[0].because == "it is not among `context.selections`"


def test_of_two_orders_each_is_explained_by_itself() -> None:
    orders = ["order: quinine 324 mg, for malaria, id one", "order: quinine 324 mg, for leg cramps, id two"]
    known = small(CRITERIA, a_card(for_each="quinine", fire_when=["quinine"]))
    read = facts(*orders)
    explanation = explain(read, decide(read, known, unexpected), known)
    assert [one.conditions[0].evidence[0].reference for one in explanation.cards] == [
        "MedicationRequest/one",
        "MedicationRequest/two",
    ]


def test_a_card_that_gave_way_names_the_other() -> None:
    look = look_at(answer("ICD10#R25.2 Cramp", "LOINC#2823-3 Potassium 2.8 mmol/L", "LOINC#2601-3 Magnesium 0.45 mmol/L"),
                   "electrolyte-hypokalaemia")  # fmt: skip
    assert (look.outcome, look.shown) == (Outcome.GAVE_WAY, False)
    assert look.because == "the card electrolyte-combined covers the same subject"


def test_a_card_about_a_patient_who_has_died_says_so() -> None:
    look = look_at(answer("patient: male, 80 years, deceased", "LOINC#2823-3 Potassium 2.2 mmol/L"), "electrolyte-hypokalaemia")
    assert (look.outcome, look.shown) == (Outcome.NOT_APPLICABLE, False)
    assert look.because == "no card applies: the patient is recorded as deceased"


def test_a_repeat_says_when_it_was_shown() -> None:
    known = small(CRITERIA, a_card(fire_when=["cramp"], repeat={"after_days": 90}))
    prior = PriorCard("one", NOW - timedelta(days=3), indicator="info", uuid="an-uuid")
    read = msgspec.structs.replace(facts("ICD10#R25.2 Cramp", hook="patient-view"), prior_cards=(prior,))
    (look,) = explain(read, decide(read, known, unexpected), known).cards
    assert look.because == (
        "it was shown on 2025-11-28 at 09:00 UTC and there is nothing new (not shown again for 90 days about the same patient); "
        "again in 87 days, from 2026-02-26"
    )


def test_a_card_beyond_the_most_says_so() -> None:
    cards = [a_card(f"card-{number}", rank=number) for number in range(5)]
    known = small({}, *cards)
    read = facts(hook="patient-view")
    looks = explain(read, decide(read, known, unexpected), known).cards
    most = known.labels.most_cards
    assert [one.outcome for one in looks] == [Outcome.FIRED] * most + [Outcome.CAPPED] * (5 - most)
    assert looks[-1].because.startswith(f"a response has at most {most} info cards")


def test_a_draft_fires_in_shadow_and_is_not_shown() -> None:
    look = one_look("ICD10#R25.2 Cramp", fire_when=["cramp"], status="draft")
    assert (look.outcome, look.shadow, look.shown) == (Outcome.FIRED, "draft", False)
    assert outcome_words(look) == "fired, in shadow: not shown"


def test_a_card_that_broke_says_that_the_service_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cds_service.decide.one_card.judge_card", broken)
    known = small(CRITERIA, a_card(fire_when=["cramp"]))
    read = facts(hook="patient-view")
    (look,) = explain(read, decide(read, known, lambda *_: None), known).cards
    assert look.outcome is Outcome.FAILED
    assert "ZeroDivisionError" in look.because


def test_a_drug_that_no_card_knows_is_shown_as_not_recognised() -> None:
    read = explained(answer("takes: wonder pill 5 mg")).read
    (pill,) = [one for one in read if one.kind == "medication"]
    assert (pill.text, pill.meaning) == ("wonder pill 5 mg", "not recognised as anything that a card looks for")


def test_cards_of_other_hooks_are_listed_with_their_hooks() -> None:
    explanation = explained(answer(hook="patient-view"))
    assert explanation.elsewhere["quinine-safety"] == ["order-select", "order-sign"]
    assert explanation.elsewhere.keys().isdisjoint(one.card for one in explanation.cards)


def test_names_of_the_ehr_are_cleaned() -> None:
    read = explained(answer("takes: a\u202eb\u200bc 5 mg")).read
    assert "ab" in next(one.text for one in read if one.kind == "medication")


# The command

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(
    request: dict[str, Any] | bytes, capsys: Captured, monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[int, str, str]:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    status = main(["explain", "-", "--now", "2025-12-01T09:00", *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.usefixtures("plain")
def test_explain_says_for_every_card_why(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_from_case(["LOINC#2823-3 Potassium 2.4 mmol/L"], "patient-view", NOW)
    status, out, err = run(request, capsys, monkeypatch)
    assert (status, err) == (0, "")
    for card in knowledge().cards_at("patient-view"):
        assert f"\n{card.id}: " in out
    assert "electrolyte-hypokalaemia: fired\n  It fired because row 2 of 11 holds: potassium of at most 2.5 mmol/L" in out
    assert "It did not fire because" in out
    assert "result: potassium 2.4 mmol/L (2025-11-28) [http://loinc.org|2823-3" in " ".join(out.split())
    assert [line for line in out.splitlines() if len(line) > 88] == []


@pytest.mark.usefixtures("plain")
def test_explain_of_one_card_as_text_and_as_json(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_from_case([], "patient-view", NOW)
    _, out, _ = run(request, capsys, monkeypatch, "--card", "quinine-avoid")
    assert "quinine-avoid: did not fire" in out
    assert "electrolyte" not in out
    _, out, _ = run(request, capsys, monkeypatch, "--card", "quinine-avoid", "--json")
    (card,) = json.loads(out)["cards"]
    assert (card["outcome"], bool(card["stops"])) == ("not_fired", True)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("card", "status", "words"),
    [
        ("quinine-safety", 0, "quinine-safety is not evaluated at patient-view: its hooks are order-select, order-sign"),
        ("quinine-avoids", 2, "unknown card `quinine-avoids`; did you mean `quinine-avoid`?"),
    ],
)
def test_explain_of_a_card_that_does_not_speak_here(
    card: str, status: int, words: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_from_case([], "patient-view", NOW)
    result, out, err = run(request, capsys, monkeypatch, "--card", card)
    assert (result, (out + err).strip()) == (status, words)


@pytest.mark.usefixtures("plain")
def test_explain_refuses_what_the_service_would_refuse(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = run(b'{"hook": "patient-view", "hookInstance": "x"}', capsys, monkeypatch)
    assert (status, out) == (1, "")
    assert "`context.patientId` is required" in err


def test_what_holds_a_card_back_is_named_with_its_source() -> None:
    hospice = explained(answer("ICD10#Z51.5 Palliative care", "ICD10#R25.2 Cramp and spasm since 2025-11-20"))
    (card,) = [one for one in hospice.cards if one.card == "cramp-first-line"]
    assert "an active problem: palliative care (Palliative care) [engineering]" in card.because
    assert [look.source for look in card.conditions if look.name == "palliative_care"] == [["engineering"]]


def test_a_group_is_named_with_the_sources_of_its_members() -> None:
    criteria = {
        "low": LOW | {"source": ["S1"]},
        "cramp": CRAMP | {"source": ["S2", "S1"]},
        "both": {"kind": "all", "of": ["low", "cramp"]},
    }
    known = small(criteria, a_card(fire_when=["both"]))
    answered = answer("ICD10#R25.2 Cramp and spasm", known=known)
    (card,) = explain(answered.facts, answered.decisions, known).cards
    assert card.because.endswith("[S1, S2]; the card then counts it as not met")
