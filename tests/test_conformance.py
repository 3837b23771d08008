"""What this service sends keeps the rules of CDS Hooks, and the validators that say so find what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.api_docs.document import FEEDBACK_EXAMPLE
from cds_service.hooks.discovery import describe
from tests.case_runs import responses as all_responses
from tests.conformance import USER_TOKENS, Json, discovery_problems, feedback_problems, prefetch_problems, problems
from tests.core import knowledge
from tests.golden import kept

# Context fields that may stand in a template, by hook (CDS Hooks library, "Prefetch Token: Yes"); not draftOrders and selections.
TOKENS = dict.fromkeys(("patient-view", "order-select", "order-sign"), ("userId", "patientId", "encounterId"))


@pytest.fixture(scope="module")
def golden() -> dict[str, Json]:
    return {name: msgspec.json.decode(text) for name, text in kept().items()}


def responses(golden: dict[str, Json]) -> dict[str, tuple[Json, Json]]:
    """(request, response) of the golden responses that have cards, by path."""
    return {
        name: (golden[f"requests/{Path(name).name}"], body)
        for name, body in golden.items()
        if name.startswith("responses/") and "cards" in body
    }


# What is sent


def test_every_golden_response_keeps_the_rules(golden: dict[str, Json]) -> None:
    found = {name: told for name, (request, body) in responses(golden).items() if (told := problems(body, request))}
    assert found == {}


def test_every_answer_to_a_case_keeps_the_rules() -> None:
    found = {name: told for name, request, response in all_responses() if (told := problems(response, request))}
    assert found == {}


def test_a_service_without_guidance_answers_with_an_empty_array_of_cards(golden: dict[str, Json]) -> None:
    assert golden["responses/plain/nothing-to-say.json"] == {"cards": []}


def test_no_response_has_system_actions_extensions_or_app_context(golden: dict[str, Json]) -> None:
    for _, body in responses(golden).values():
        assert body.keys() == {"cards"}
        assert not any("extension" in card or "icon" in card["source"] for card in body["cards"])
        assert not any(
            "appContext" in link or link["type"] == "smart" for card in body["cards"] for link in card.get("links", [])
        )


def test_every_card_and_suggestion_has_a_uuid_for_feedback(golden: dict[str, Json]) -> None:
    for _, body in responses(golden).values():
        for card in body["cards"]:
            assert all("uuid" in item for item in (card, *card.get("suggestions", [])))


def test_a_card_with_links_and_a_card_of_text_alone_are_among_what_is_sent(golden: dict[str, Json]) -> None:
    """Two things that Inferno's crd_server suite wants to see at least once."""
    cards = [card for _, body in responses(golden).values() for card in body["cards"]]
    assert any(link["type"] == "absolute" for card in cards for link in card.get("links", []))
    assert any("links" not in card and "suggestions" not in card for card in cards)
    assert all({"system", "code"} <= card["source"]["topic"].keys() for card in cards)


def test_the_source_leads_to_a_publication_and_never_to_this_patient(golden: dict[str, Json]) -> None:
    known = {source.url for source in knowledge().sources.values()} | {knowledge().notice.url}
    for _, body in responses(golden).values():
        for card in body["cards"]:
            assert card["source"]["url"] in known
            assert all(link["url"] in known for link in card.get("links", []))


def test_an_update_holds_the_whole_order_and_not_only_what_changed(golden: dict[str, Json]) -> None:
    seen = 0
    for request, body in responses(golden).values():
        entries = request["context"].get("draftOrders", {}).get("entry", [])
        drafts = {entry["resource"]["id"]: entry["resource"] for entry in entries}
        for card in body["cards"]:
            for action in (one for item in card.get("suggestions", []) for one in item["actions"] if one["type"] == "update"):
                seen += 1
                assert drafts[action["resource"]["id"]].keys() <= action["resource"].keys()
                assert action["resource"] != drafts[action["resource"]["id"]]
    assert seen


def test_an_error_is_an_operation_outcome_and_has_no_cards(golden: dict[str, Json]) -> None:
    errors = [body for name, body in golden.items() if name.startswith("responses/") and "cards" not in body]
    assert len(errors) >= 5
    for body in errors:
        assert body["resourceType"] == "OperationOutcome"
        assert body["issue"][0]["details"]["text"]


def test_discovery_keeps_the_rules() -> None:
    document = msgspec.json.decode(describe(knowledge().services).body)
    assert discovery_problems(document) == []
    assert all(service["title"] and service["usageRequirements"] for service in document["services"])
    ids = [service["id"] for service in document["services"]]
    assert len(set(ids)) == len(ids)  # the public sandbox keys services by id


@pytest.mark.parametrize("service", knowledge().services, ids=lambda service: str(service.hook))
def test_prefetch_templates_keep_to_the_restricted_subset(service: Any) -> None:
    assert {key: told for key, text in service.prefetch.items() if (told := prefetch_problems(text, TOKENS[service.hook]))} == {}
    assert all(service.prefetch)


def test_the_feedback_example_of_the_documentation_keeps_the_rules() -> None:
    assert feedback_problems(FEEDBACK_EXAMPLE) == []


# The validators find what is wrong

GOOD: Json = {
    "cards": [
        {
            "uuid": "u-1",
            "summary": "A sentence",
            "detail": "a \\<b\\> c",
            "indicator": "info",
            "source": {"label": "S", "url": "https://x.example/", "topic": {"system": "urn:x", "code": "1"}},
            "selectionBehavior": "at-most-one",
            "suggestions": [
                {
                    "label": "L",
                    "uuid": "u-2",
                    "isRecommended": True,
                    "actions": [
                        {"type": "delete", "description": "D", "resourceId": "MedicationRequest/1"},
                        {"type": "create", "description": "C", "resource": {"resourceType": "Patient"}},
                        {"type": "update", "description": "U", "resource": {"resourceType": "Patient", "id": "1"}},
                    ],
                }
            ],
            "overrideReasons": [{"code": "1", "system": "urn:x", "display": "One"}],
            "links": [{"label": "L", "url": "https://x.example/", "type": "absolute"}],
        }
    ]
}
Change = Callable[[Json], object]


def suggestion(card: Json) -> Json:
    found: Json = card["suggestions"][0]
    return found


BAD: list[tuple[str, Change]] = [
    ("summary is required", lambda card: card.pop("summary")),
    ("fewer than 140", lambda card: card.update(summary="x" * 140)),
    ("no one sentence", lambda card: card.update(summary="a\nb")),
    ("indicator is none of", lambda card: card.update(indicator="hard-stop")),
    ("detail is no string", lambda card: card.update(detail=["x"])),
    ("detail holds HTML", lambda card: card.update(detail="<img src=x>")),
    ("uuid is no string", lambda card: card.update(uuid=1)),
    ("source is no object", lambda card: card.pop("source")),
    ("source: label", lambda card: card["source"].pop("label")),
    ("source: url is no absolute URL", lambda card: card["source"].update(url="/relative")),
    ("source: icon is no absolute URL", lambda card: card["source"].update(icon="icon.png")),
    ("topic: system", lambda card: card["source"]["topic"].pop("system")),
    ("topic: is no object", lambda card: card["source"].update(topic="x")),
    ("selectionBehavior is neither", lambda card: card.pop("selectionBehavior")),
    ("selectionBehavior is neither", lambda card: card.update(selectionBehavior="all")),
    ("selectionBehavior without suggestions", lambda card: card.pop("suggestions")),
    ("suggestions is empty", lambda card: card.update(suggestions=[])),
    ("suggestions is no array", lambda card: card.update(suggestions={"label": "x"})),
    (
        "two suggestions are recommended",
        lambda card: card["suggestions"].append({"label": "M", "uuid": "u-3", "isRecommended": True}),
    ),
    ("same uuid", lambda card: card["suggestions"].append({"label": "M", "uuid": "u-1"})),
    ("label is required", lambda card: suggestion(card).pop("label")),
    ("isRecommended is no boolean", lambda card: suggestion(card).update(isRecommended="yes")),
    ("actionSelectionBehavior", lambda card: suggestion(card).update(actionSelectionBehavior="any")),
    ("actions is empty", lambda card: suggestion(card).update(actions=[])),
    ("type is none of", lambda card: suggestion(card)["actions"][0].update(type="remove")),
    ("description is required", lambda card: suggestion(card)["actions"][0].pop("description")),
    ("a delete has", lambda card: suggestion(card)["actions"][0].update(resource={"resourceType": "Patient"})),
    ("a delete has", lambda card: suggestion(card)["actions"][0].pop("resourceId")),
    ("a delete has", lambda card: suggestion(card)["actions"][0].update(resourceId="https://x.example/MedicationRequest/1")),
    ("a create has a resource", lambda card: suggestion(card)["actions"][1].pop("resource")),
    ("a create has no resourceId", lambda card: suggestion(card)["actions"][1].update(resourceId="Patient/1")),
    ("a new resource has no id", lambda card: suggestion(card)["actions"][1]["resource"].update(id="1")),
    ("a changed resource has an id", lambda card: suggestion(card)["actions"][2]["resource"].pop("id")),
    ("resource: gender", lambda card: suggestion(card)["actions"][1]["resource"].update(gender=["x"])),
    ("which is none of the draft orders", lambda card: suggestion(card)["actions"][0].update(resourceId="MedicationRequest/2")),
    ("display is required", lambda card: card["overrideReasons"][0].pop("display")),
    ("code is required", lambda card: card["overrideReasons"][0].pop("code")),
    ("links[0]: type is neither", lambda card: card["links"][0].update(type="relative")),
    ("links[0]: url is no http(s) URL", lambda card: card["links"][0].update(url="javascript:alert(1)")),
    ("appContext is for smart links", lambda card: card["links"][0].update(appContext="x")),
    ("links.0.label is empty", lambda card: card["links"][0].update(label=None)),
    ("unknown member color", lambda card: card.update(color="red")),
]
DRAFTS = {
    "context": {
        "draftOrders": {"entry": [{"resource": {"resourceType": kind, "id": "1"}} for kind in ("MedicationRequest", "Patient")]}
    }
}


def test_a_response_without_mistakes_has_no_problem() -> None:
    assert problems(GOOD, DRAFTS) == []
    assert problems({"cards": []}) == []


@pytest.mark.parametrize(("message", "change"), BAD, ids=[f"{number}-{message}" for number, (message, _) in enumerate(BAD)])
def test_a_mistake_in_a_response_is_found(message: str, change: Change) -> None:
    body = copy.deepcopy(GOOD)
    change(body["cards"][0])
    assert any(message in told for told in problems(body, DRAFTS))


@pytest.mark.parametrize(
    "body", [None, [], {}, {"cards": None}, {"cards": {}}, {"cards": [1]}, {"cards": [], "systemActions": []}]
)
def test_what_is_no_response_is_found(body: Any) -> None:
    assert problems(body)


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("array `services`", []),
        ("array `services`", {}),
        ("is no object", {"services": [1]}),
        ("hook is required", {"services": [{"id": "a", "description": "d", "title": "t"}]}),
        ("title is recommended", {"services": [{"hook": "h", "id": "a", "description": "d"}]}),
        ("no segment", {"services": [{"hook": "h", "id": "a/b", "description": "d", "title": "t"}]}),
        ("object of strings", {"services": [{"hook": "h", "id": "a", "description": "d", "title": "t", "prefetch": {"k": 1}}]}),
        ("is empty", {"services": [{"hook": "h", "id": "a", "description": "d", "title": "t", "prefetch": {}}]}),
    ],
)
def test_a_mistake_in_a_discovery_document_is_found(message: str, body: Any) -> None:
    assert any(message in told for told in discovery_problems(body))


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("none of this hook", "Patient/{{context.draftOrders}}"),
        ("none of this hook", "Patient/{{patientId}}"),
        ("a brace", "Patient/{context.patientId}"),
        ("no relative URL", "https://x.example/Patient/1"),
        ("neither a read nor a search", "metadata"),
        ("no search of a type", "Patient/1/Observation?code=1"),
        ("outside the restricted subset", "Observation?patient={{context.patientId}}&_include=Observation:subject"),
        ("outside the restricted subset", "Observation?subject.name=x"),
        ("outside the restricted subset", "Observation?code:not=x"),
        ("outside the restricted subset", "Observation?date=ap2020-01-01"),
        ("stands twice", "Observation?date=ge2020-01-01&date=le2021-01-01"),
    ],
)
def test_a_mistake_in_a_prefetch_template_is_found(message: str, template: str) -> None:
    assert any(message in told for told in prefetch_problems(template, TOKENS["patient-view"]))


@pytest.mark.parametrize(
    "template",
    [
        "Patient/{{context.patientId}}",
        "{{context.userId}}",
        f"Practitioner/{{{{{USER_TOKENS[0]}}}}}",
        "Observation?patient={{context.patientId}}&code:in=http://x.example/vs&date=ge2020-01-01&_sort=-date&_count=5",
    ],
)
def test_templates_of_the_subset_have_no_problem(template: str) -> None:
    assert prefetch_problems(template, TOKENS["patient-view"]) == []


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("card is required", {"card": None}),
        ("neither accepted nor overridden", {"outcome": "ignored"}),
        ("acceptedSuggestions is missing", {"outcome": "accepted"}),
        ("neither reason nor userComment", {"overrideReason": {}}),
        ("no time in UTC", {"outcomeTimestamp": "2026-03-01T10:05:31+01:00"}),
        ("no time in UTC", {"outcomeTimestamp": "yesterday"}),
    ],
)
def test_a_mistake_in_feedback_is_found(message: str, change: Json) -> None:
    item = {"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-03-01T10:05:31Z"}
    assert feedback_problems({"feedback": [item]}) == []
    assert any(message in told for told in feedback_problems({"feedback": [{**item, **change}]}))
