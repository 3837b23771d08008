"""The sample patients: each tells the story that it promises, and is valid FHIR."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import ShorthandError
from cds_service.fhir.validation import problems_r4b
from cds_service.files.paths import fixtures_dir
from tests import core
from tests.core import NOW

SAMPLES = load_samples(fixtures_dir())

# the story of each sample at its own hook: (card, indicator, whether it offers a drug), None where nothing is said
STORIES: dict[str, tuple[str, str, bool] | None] = {
    "mild-potassium": ("electrolyte-hypokalaemia", "info", True),
    "low-potassium": ("electrolyte-hypokalaemia", "warning", True),
    "severe-potassium": ("electrolyte-hypokalaemia", "critical", False),
    "haemolysed-potassium": ("electrolyte-hypokalaemia", "warning", False),
    "old-potassium": ("electrolyte-recheck", "info", False),
    "low-magnesium-mg-dl": ("electrolyte-hypomagnesaemia", "warning", True),
    "low-magnesium-mmol-l": ("electrolyte-hypomagnesaemia", "info", True),
    "both-low": ("electrolyte-combined", "warning", True),
    "dialysis": ("electrolyte-hypokalaemia", "critical", False),
    "child": None,
    "new-cramps": ("cramp-first-line", "info", False),
    "cirrhosis-with-cramps": ("baclofen-suggest", "info", True),
    "culprit-drugs": ("cramp-med-review", "info", False),
    "pregnancy": ("cramp-pregnancy", "info", False),
    "heat-cramp": ("cramp-exercise", "info", False),
    "restless-legs": ("cramp-differential", "info", False),
    "low-calcium": ("cramp-differential", "warning", False),
    "quinine-selected": ("quinine-avoid", "warning", False),
    "quinine-for-cramps": ("quinine-avoid", "warning", False),
    "quinine-with-long-qt": ("quinine-avoid", "critical", False),
    "quinine-for-malaria": None,
    "baclofen-with-kidney-disease": ("baclofen-safety", "critical", False),
    "ibuprofen-on-warfarin": ("otc-analgesic-caution", "warning", False),
    "normal-chart": None,
    "one-statin": None,
    "quinidine-lookalike": None,
}


def offered(card: dict[str, Any]) -> list[str]:
    actions = (action for one in card.get("suggestions", []) for action in one["actions"])
    return [action["resource"]["resourceType"] for action in actions if action["type"] == "create"]


def test_every_sample_has_a_story_here_and_some_are_silent() -> None:
    assert list(SAMPLES) == list(STORIES)
    assert sum(story is None for story in STORIES.values()) >= 3


@pytest.mark.parametrize("name", STORIES)
def test_the_story_comes_true(name: str) -> None:
    cards = core.cards(core.answer_to(SAMPLES[name].request(NOW)))
    story = STORIES[name]
    assert SAMPLES[name].story.startswith("Silent") == (story is None)
    if story is None:
        assert cards == []
        return
    (card,) = cards
    assert (card["source"]["topic"]["code"], card["indicator"], "MedicationRequest" in offered(card)) == story


@pytest.mark.parametrize("name", STORIES)
def test_the_chart_is_valid_fhir_of_one_patient_whose_name_tells_the_story(name: str) -> None:
    patient, *others = SAMPLES[name].resources(NOW)
    assert (patient["resourceType"], patient["id"]) == ("Patient", name)
    (person,) = patient["name"]
    assert person["family"]
    assert f"{person['given'][0]} {person['family']}" == SAMPLES[name].person
    for resource in others:
        subject = resource["patient" if resource["resourceType"] == "AllergyIntolerance" else "subject"]
        assert subject == {"reference": f"Patient/{name}"}
    assert [problem for resource in (patient, *others) for problem in problems_r4b(resource)] == []


def test_all_samples_fit_on_one_server_and_into_one_list() -> None:
    ids = [(one["resourceType"], one["id"]) for each in SAMPLES.values() for one in each.resources(NOW)]
    assert len(set(ids)) == len(ids)
    assert len({each.person for each in SAMPLES.values()}) == len(SAMPLES)
    assert len({each.title for each in SAMPLES.values()}) == len(SAMPLES)


@pytest.mark.parametrize("name", STORIES)
def test_what_is_on_the_server_is_what_is_prefetched(name: str) -> None:
    request = SAMPLES[name].request(NOW)
    found = {"Patient": [request["prefetch"].pop("patient")]}
    for bundle in request["prefetch"].values():
        for entry in bundle["entry"] if bundle else ():
            found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    assert [one for some in found.values() for one in some] == SAMPLES[name].resources(NOW)


def test_a_story_is_as_true_next_year_as_today() -> None:
    later = NOW + timedelta(days=400)
    for day in (NOW, later):
        (result,) = (one for one in SAMPLES["old-potassium"].resources(day) if one["resourceType"] == "Observation")
        assert datetime.fromisoformat(result["effectiveDateTime"]).date() == (day - timedelta(weeks=10)).date()


def test_orders_are_drafted_beside_the_chart_and_at_the_hook_that_is_asked_for() -> None:
    mild = SAMPLES["mild-potassium"]
    assert "draftOrders" not in mild.request(NOW)["context"]
    signed = mild.request(NOW, "order-sign")
    (order,) = (entry["resource"] for entry in signed["context"]["draftOrders"]["entry"])
    assert order["medicationCodeableConcept"]["text"] == "hydrochlorothiazide 25 MG Oral Tablet"
    assert signed["prefetch"] == mild.request(NOW)["prefetch"]
    (other,) = mild.request(NOW, "order-select", ["order: quinine 300 mg"])["context"]["draftOrders"]["entry"]
    assert other["resource"]["medicationCodeableConcept"]["text"] == "quinine 300 mg"
    assert "entry" not in mild.request(NOW, "order-sign", [])["context"]["draftOrders"]
    with pytest.raises(ShorthandError):
        mild.request(NOW, "order-sign", ["order: "])


def test_a_drafted_order_is_no_part_of_the_chart() -> None:
    for each in SAMPLES.values():
        assert all(one.get("status") != "draft" for one in each.resources(NOW))
