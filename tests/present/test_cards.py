"""What an EHR receives: the rules of the protocol, texts that stay texts, orders that stay valid."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example
from hypothesis import given as examples
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cds_service.authoring.emitted_resources import resources_in
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.escaping import NAME_LIMIT, cleaned, markdown
from cds_service.decide.decision import NOT_CHECKED
from cds_service.fhir.validation import problems_r4b
from cds_service.present.card_template import card_uuid
from cds_service.present.suggestions import derived_uuid, suggestion_uuid
from tests import proofs
from tests.case_runs import responses
from tests.core import NOW, PATIENTS, Json, a_card, answer, answer_to, card, cards, knowledge, small
from tests.hostile_texts import UNSEEN, hostile_texts, request_with

HOSTILE_TEXTS = proofs.examples("CDS_HOSTILE_TEXTS", 160, 600)


@pytest.fixture(scope="module")
def answered() -> list[tuple[str, Json, list[Json]]]:
    """(name, request, cards) of all patients and cases."""
    return [(name, request, response["cards"]) for name, request, response in responses()]


def empty_members(value: Any, path: str = "") -> Iterator[str]:
    if value is None or value in ("", [], {}):
        yield path
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from empty_members(one, f"{path}.{name}")
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from empty_members(one, f"{path}[{number}]")


def broken_rules(one: Json) -> Iterator[str]:
    """The rules of CDS Hooks 2.0 for a card, and this service's own, that a card breaks."""
    yield from (f"empty: {path}" for path in empty_members(one))
    if not 0 < len(one["summary"]) < 140 or "\n" in one["summary"]:
        yield "summary"
    if one["indicator"] not in ("info", "warning", "critical") or UUID(one["uuid"]).version != 5:
        yield "indicator or uuid"
    source = one["source"]
    if not source["url"].startswith("https://") or source.keys() != {"label", "url", "topic"}:
        yield "source"
    if source["topic"]["system"] != "urn:cramp-cds:card" or source["topic"].keys() != {"system", "code", "display"}:
        yield "topic"
    if re.search(r"[<{}]", one["detail"].replace("\\{", "").replace("\\}", "")):
        yield "detail holds HTML or an unfilled placeholder"
    if ("suggestions" in one) != (one.get("selectionBehavior") in ("any", "at-most-one")):
        yield "selectionBehavior"
    if source["topic"]["code"] == NOT_CHECKED:
        if one["indicator"] != "info" or one.keys() != {"uuid", "summary", "detail", "indicator", "source"}:
            yield "the notice says more than that something was not checked"
        return
    if any(reason.keys() != {"code", "system", "display"} for reason in one["overrideReasons"]):
        yield "override reasons"
    for link in one["links"]:
        if link["type"] != "absolute" or not link["url"].startswith("https://") or len(link["label"]) > 80:
            yield "links"
    for suggestion in one.get("suggestions", []):
        yield from broken_rules_of_suggestion(suggestion)


def broken_rules_of_suggestion(suggestion: Json) -> Iterator[str]:
    if len(suggestion["label"]) > 80 or UUID(suggestion["uuid"]).version != 5 or not suggestion["actions"]:
        yield "suggestion"
    for action in suggestion["actions"]:
        wanted = {"type", "description", "resourceId" if action["type"] == "delete" else "resource"}
        if action.keys() != wanted:
            yield f"{action['type']} has {sorted(action)}"
        if action["type"] == "delete" and not re.fullmatch(r"[A-Za-z]+/[A-Za-z0-9.-]+", action["resourceId"]):
            yield "resourceId"


def test_every_card_keeps_the_rules_of_the_protocol(answered: list[tuple[str, Json, list[Json]]]) -> None:
    assert {name: found for name, _, shown in answered if (found := [rule for one in shown for rule in broken_rules(one)])} == {}


def test_every_card_and_every_kind_of_action_is_among_those(answered: list[tuple[str, Json, list[Json]]]) -> None:
    shown = [one for _, _, cards_of_one in answered for one in cards_of_one]
    assert {one["source"]["topic"]["code"] for one in shown} == {NOT_CHECKED} | {one.id for one in knowledge().cards}
    actions = [action for one in shown for item in one.get("suggestions", []) for action in item["actions"]]
    assert {action["type"] for action in actions} == {"create", "update", "delete"}
    assert {one["indicator"] for one in shown} == {"info", "warning", "critical"}


def test_every_resource_that_would_be_created_or_changed_is_valid_r4b_and_about_the_patient(
    answered: list[tuple[str, Json, list[Json]]],
) -> None:
    checked: set[bytes] = set()
    for name, request, shown in answered:
        patient = f"Patient/{request['context']['patientId']}"
        for resource in (resource for one in shown for resource in resources_in(one)):
            assert resource["subject"] == {"reference": patient}, name
            encoded = msgspec.json.encode(resource)
            if encoded not in checked:
                assert problems_r4b(resource) == [], name
                checked.add(encoded)
    assert len(checked) > 10


def test_no_two_cards_or_suggestions_of_an_answer_have_the_same_uuid(answered: list[tuple[str, Json, list[Json]]]) -> None:
    for name, _, shown in answered:
        uuids = [one["uuid"] for one in shown] + [item["uuid"] for one in shown for item in one.get("suggestions", [])]
        assert len(set(uuids)) == len(uuids), name


# Identity


def test_a_repeated_call_gets_the_same_uuids_and_another_call_gets_others() -> None:
    hook, lines = PATIENTS["quinine and baclofen"]
    request = request_from_case(lines, hook, NOW)
    other = request | {"hookInstance": "another"}
    first, again, elsewhere = (cards(answer_to(one)) for one in (request, copy.deepcopy(request), other))
    assert first == again
    assert not {one["uuid"] for one in first} & {one["uuid"] for one in elsewhere}


def test_each_order_has_a_card_of_its_own() -> None:
    lines = ["order: quinine 300 mg, id a", "order: quinine 300 mg, id b"]
    shown = cards(answer(*lines, hook="order-sign"))
    assert len({one["uuid"] for one in shown}) == 2
    deleted = [
        action["resourceId"]
        for one in shown
        for item in one["suggestions"]
        for action in item["actions"]
        if "resourceId" in action
    ]
    assert deleted == ["MedicationRequest/a", "MedicationRequest/b"]


@examples(st.text())
@example("\ud800")
def test_a_derived_uuid_is_a_uuid_of_version_5(name: str) -> None:
    assert UUID(derived_uuid(name)).version == 5
    assert UUID(derived_uuid(name)).variant == "specified in RFC 4122"
    assert derived_uuid(name) == derived_uuid(name)


def test_the_parts_of_an_identity_are_told_apart() -> None:
    names = [("a", "card", "x"), ("b", "card", "x"), ("a", "other", "x"), ("a", "card", "y")]
    assert len({card_uuid(*parts) for parts in names}) == 4
    assert suggestion_uuid("a", "x") != suggestion_uuid("a", "y") != suggestion_uuid("b", "y")


# What an EHR sent stays plain text

PAYLOADS = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "**bold** _it_ ~~no~~ `code`",
    "http://evil.example www.evil.example a@evil.example",
    "<http://evil.example>",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "# heading\n\n- list\n1. list\n> quote\n---\n| a | b |",
    "back\\slash \\[x\\](y)",
    "right\u202eto\u2066left\u2069",
    "zero\u200bwidth\ufeff\u200d\u2060 and\u00adsoft",
    "bell\x07 escape\x1b[31m",
    "line\u2028separator\u2029paragraph\x85next",
    "{low.value} {patient.reference} {{context.patientId}}",
    "x" * 500,
]


class _Page(HTMLParser):
    """The tags and the text of rendered Markdown."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += [tag, *(name for name, _ in attrs)]

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> _Page:
    return _Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_is_rendered_as_the_text_that_it_is(payload: str) -> None:
    page = rendered(f"The order **{markdown(payload)}** is quinine.")
    assert page.tags == ["p", "strong"]
    assert page.text.strip().replace("\u200b", "") == f"The order {cleaned(payload)} is quinine."


@examples(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("<>&[]()!*_`~#|\\\n-+.:/@{}\u200b\u202e"), max_size=60))
def test_any_name_is_rendered_as_text(name: str) -> None:
    page = rendered(f"Before {markdown(name)} after.")
    assert page.tags == ["p"]
    assert page.text.strip().replace("\u200b", "") == f"Before {cleaned(name)} after."


@examples(st.text())
def test_a_cleaned_name_is_short_and_hides_nothing(name: str) -> None:
    assert len(cleaned(name)) <= NAME_LIMIT
    assert not UNSEEN.search(cleaned(name))
    assert cleaned(cleaned(name)) == cleaned(name)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_of_drugs_problems_and_reactions_reach_the_card_as_text(payload: str) -> None:
    request = request_with(payload)
    found = card(answer_to(request), "quinine-avoid")
    assert list(broken_rules(found)) == []
    page = rendered(found["detail"])
    assert {*page.tags} == {"p", "strong"}
    assert page.text.replace("\u200b", "").count(cleaned(payload)) >= 3
    assert not UNSEEN.search(found["summary"] + found["detail"])


@pytest.mark.proof
def test_no_hostile_text_becomes_an_element_or_a_link_in_a_card() -> None:
    for text in hostile_texts(HOSTILE_TEXTS):
        found = card(answer_to(request_with(text)), "quinine-avoid")
        page = rendered(found["detail"])
        assert {*page.tags} == {"p", "strong"}, text
        for plain in plain_texts(found):
            assert not UNSEEN.search(plain), text
            assert not re.search(r"<[A-Za-z/!?]", plain), text
        assert not UNSEEN.search(found["detail"]), text
        assert len(found["summary"]) < 140
        assert "evil.example" not in {link["url"] for link in found["links"]} | {found["source"]["url"]}


def plain_texts(found: Json) -> Iterator[str]:
    """What a client draws of a card apart from its detail."""
    yield found["summary"]
    for suggestion in found.get("suggestions", []):
        yield suggestion["label"]
        yield from (action["description"] for action in suggestion["actions"])


def test_a_long_list_of_names_is_cut_and_says_so() -> None:
    known = small(
        {"sedative": {"kind": "drug", "classes": ["opioid"]}}, a_card(detail=[{"text": "{sedative.names}", "when": ["sedative"]}])
    )
    names = ["oxycodone", "morphine", "fentanyl", "tramadol", "codeine", "hydromorphone", "methadone", "tapentadol"]
    (found,) = cards(answer(*(f"takes: {name}" for name in names), known=known))
    assert found["detail"] == "oxycodone, morphine, fentanyl, tramadol, codeine, hydromorphone and 2 more"


def test_a_summary_that_gets_too_long_is_cut_below_140_characters() -> None:
    row = {"indicator": "info", "summary": "{opioid.names}, {opioid.names}", "when": ["opioid"]}
    known = small({"opioid": {"kind": "drug", "classes": ["opioid"]}}, a_card(table=[row]))
    long = "x" * 200
    (found,) = cards(answer(f"takes: RXNORM#1049502 {long}", f"prescribed: morphine {long}", known=known))
    assert len(found["summary"]) < 140


# What is said of a result


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("2.80 mmol/L", "2.8 mmol/L"),
        ("3 mmol/L", "3 mmol/L"),
        ("2.8 meq/l", "2.8 mEq/L = 2.80 mmol/L"),
        ("< 2.8 mmol/L", "&lt;2.8 mmol/L"),
        ("11 mg/dL", "11 mg/dL = 2.81 mmol/L"),
    ],
)
def test_a_result_is_said_as_it_was_sent_and_converted_where_it_is_converted(result: str, said: str) -> None:
    low = {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30}
    known = small({"low": low}, a_card(fire_when=["low"], detail=[{"text": "{low.value} on {low.day}, {low.ago}"}]))
    (found,) = cards(answer(f"LOINC#2823-3 Potassium {result} at 2025-11-28", known=known))
    assert found["detail"] == f"{said} on 2025-11-28, 3 days ago".replace("mEq/L = 2.80 mmol/L", "mEq/L")


def test_results_that_were_not_used_are_named() -> None:
    lines = ["LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28", "LOINC#2823-3 Potassium 2.9 furlongs at 2025-11-30"]
    found = card(answer(*lines), "electrolyte-hypokalaemia")
    assert "**Not used:** potassium of 2025-11-30 has a unit that is not known for it (“2.9 furlongs”)." in found["detail"]


# Changes of a received order


def _to_change() -> Json:
    hook, lines = PATIENTS["baclofen to change"]
    return request_from_case(lines, hook, NOW)


def _updates(request: Json) -> list[Json]:
    found = card(answer_to(request), "baclofen-safety")
    return [action["resource"] for item in found["suggestions"] for action in item["actions"] if action["type"] == "update"]


def test_a_changed_order_is_what_was_received_with_the_dose_replaced() -> None:
    request = _to_change()
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    order["extension"] = [{"url": "https://ehr.example/x", "valueDecimal": 1.5}]
    (changed,) = _updates(request)
    assert changed.pop("dosageInstruction") != order.pop("dosageInstruction")
    assert changed == order


def test_numbers_in_a_changed_order_keep_their_digits() -> None:
    request = _to_change()
    body = msgspec.json.encode(request).replace(
        b'"intent":"order"', b'"intent":"order","extension":[{"url":"https://x.example","valueDecimal":1.10}]'
    )
    found = answer_to(msgspec.json.decode(body, type=dict[str, msgspec.Raw]) | {"hook": "order-sign"})
    assert b'"valueDecimal":1.10' in found.body


@pytest.mark.parametrize(
    "change",
    [
        {"intent": None},
        {"encounter": "Encounter/1"},
        {"contained": [{"resourceType": "Nonsense"}]},
        {"contained": [{"resourceType": None}]},
        {"contained": [{"resourceType": "Patient", "birthDate": "yesterday"}]},
        {"note": "free text"},
        {"reasonCode": {"text": "leg cramps"}},
    ],
)
def test_no_change_of_an_order_that_would_not_be_valid_is_offered_and_the_card_still_speaks(change: Json) -> None:
    request = _to_change()
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    order.update(change)
    for name in [name for name, value in change.items() if value is None]:
        del order[name]
    assert _updates(request) == []


def test_an_order_without_an_id_is_judged_and_not_offered_for_removal() -> None:
    request = request_from_case(["order: quinine 300 mg"], "order-sign", NOW)
    entry = request["context"]["draftOrders"]["entry"][0]
    del entry["fullUrl"], entry["resource"]["id"]
    found = card(answer_to(request), "quinine-avoid")
    assert list(broken_rules(found)) == []
    assert {action["type"] for item in found["suggestions"] for action in item["actions"]} == {"create"}


def test_each_of_several_changes_is_its_own() -> None:
    def item(name: str, order: str) -> Json:
        return {"id": name, "label": name, "actions": [{"type": "update", "description": "Change it", "resource": order}]}

    known = small(
        {"quinine": {"kind": "order", "classes": ["quinine"]}},
        a_card(for_each="quinine", fire_when=["quinine"], suggestions=[item("a", "now"), item("b", "never"), item("c", "later")]),
        orders={
            "now": {"resourceType": "MedicationRequest", "authoredOn": "2025-12-01"},
            "never": {"resourceType": "MedicationRequest", "authoredOn": "no date"},
            "later": {"resourceType": "MedicationRequest", "authoredOn": "2025-12-02"},
        },
    )
    (found,) = cards(answer("order: quinine 300 mg", hook="order-sign", known=known))
    assert [(one["label"], one["actions"][0]["resource"]["authoredOn"]) for one in found["suggestions"]] == [
        ("a", "2025-12-01"),
        ("c", "2025-12-02"),
    ]


def test_a_paragraph_that_belongs_to_the_one_before_goes_on_in_its_line() -> None:
    detail = [
        {"when": ["child"], "text": "Never here."},
        {"text": "First.", "same_line": True},
        {"text": "Second."},
        {"text": "Third.", "same_line": True},
    ]
    known = small({"child": {"kind": "age", "below": 18}}, a_card(detail=detail))
    (shown,) = cards(answer("patient: female, 50 years", known=known))
    assert shown["detail"] == "First.\n\nSecond. Third."
