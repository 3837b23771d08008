"""The public sandbox, imitated in a real browser on another origin: discovery, FHIR, prefetch, hooks, suggestions, feedback.

The sandbox itself can't be installed from a registry. What it does on the wire was read off recordings of it.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from playwright.sync_api import Page, expect

from cds_service.authoring.samples import load_samples
from cds_service.files.paths import fixtures_dir

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

SAMPLES = load_samples(fixtures_dir())
QUININE = {
    "text": "Quinine Sulfate 324 MG Oral Capsule",
    "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "997010"}],
}
BACLOFEN = {
    "text": "Baclofen 10 MG Oral Tablet",
    "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "197391"}],
}


def tokens(service: str) -> dict[str, str]:
    """Tokens as the sandbox makes them for a call and for feedback, signed with a key that nobody knows."""
    key = ECKey.generate_key("P-384")
    issued = int(time.time())
    claims = {"iss": "https://sandbox.cds-hooks.org", "iat": issued, "exp": issued + 300, "jti": "1"}
    header = {"alg": "ES384", "typ": "JWT", "kid": "1"}
    return {
        name: jwt.encode(header, {**claims, "aud": f"{service}/cds-services{path}"}, key, algorithms=["ES384"])
        for name, path in (("call", ""), ("feedback", "/feedback"))
    }


@pytest.fixture
def page(sandbox_page: Page, sandbox_service: str) -> Page:
    """The imitated sandbox, set up with the service and its patients."""
    return start(sandbox_page, sandbox_service, "/cds-services")


def start(page: Page, service: str, discovery: str) -> Page:
    begun = page.evaluate("(given) => start(...given)", [service + discovery, f"{service}/fhir", tokens(service)])
    assert begun == {"fhirVersion": "4.0.1", "hooks": ["patient-view", "order-select", "order-sign"]}
    return page


def run(page: Page, script: str, *given: Any) -> Any:
    """The result of `script`, a call of the page's functions; `given` are its `$`."""
    return page.evaluate(f"async ($) => {script}", list(given))


def test_the_list_of_patients_tells_their_stories(page: Page) -> None:
    listed = run(page, "patients()")
    assert {one["id"]: one["name"] for one in listed} == {name: sample.person for name, sample in SAMPLES.items()}


def test_opening_each_chart_shows_what_its_story_promises(page: Page) -> None:
    for name, sample in SAMPLES.items():
        run(page, "choosePatient($[0])", name)
        expect(page.locator("#patient")).to_have_text(sample.person.split()[0])
        expect(page.locator("#conditions li")).to_have_count(sum("ICD10#" in str(line) for line in sample.given))
        answer = run(page, "call('patient-view')")
        assert answer["status"] == 200
        expected = sample.hook == "patient-view" and not sample.story.startswith("Silent")
        assert bool(answer["body"]["cards"]) == expected, name
        expect(page.locator("article")).to_have_count(len(answer["body"]["cards"]))


def test_the_service_can_fetch_for_itself_what_was_not_prefetched(page: Page) -> None:
    run(page, "choosePatient($[0])", "severe-potassium")
    answer = run(page, "call('patient-view', {withPrefetch: false})")
    assert answer["status"] == 200
    (card,) = answer["body"]["cards"]
    assert (card["indicator"], card["source"]["topic"]["code"]) == ("critical", "electrolyte-hypokalaemia")


def test_quinine_is_picked_and_the_suggestion_takes_it_out(page: Page) -> None:
    run(page, "choosePatient($[0])", "quinine-for-cramps")
    run(page, "draft()")
    assert run(page, "order('order-select')")["body"] == {"cards": []}
    run(page, "draft($[0], state.conditions[0])", QUININE)
    run(page, "order('order-select')")
    expect(page.locator("article h2")).to_have_text("Quinine should not be used for cramps (boxed warning)")
    page.get_by_role("button", name="Remove the quinine order").click()
    expect(page.locator("article")).to_have_count(0)
    assert run(page, "state.draft.medicationCodeableConcept ?? null") is None
    assert run(page, "state.feedback") == [{"status": 200, "body": {"received": 1}}]


def test_baclofen_is_signed_and_the_card_dismissed_with_a_reason_and_without(page: Page) -> None:
    run(page, "choosePatient($[0])", "baclofen-with-kidney-disease")
    run(page, "draft($[0])", BACLOFEN)
    run(page, "order('order-sign')")
    expect(page.locator("article")).to_have_attribute("data-indicator", "critical")
    reasons = page.get_by_role("button", name="Override:")
    assert reasons.count() > 1
    for clicked in (reasons.first, page.get_by_role("button", name="Dismiss"), page.get_by_role("button", name="Remove")):
        with page.expect_response(lambda answer: answer.url.endswith("/feedback")):
            clicked.click()
    page.wait_for_function("state.feedback.length === 3")
    assert run(page, "state.feedback") == [{"status": 200, "body": {"received": 1}}] * 3


def test_a_second_click_on_the_current_tab_says_once_that_nothing_was_checked(page: Page) -> None:
    run(page, "choosePatient($[0])", "normal-chart")
    for hook, told in (("order-select", ["not-checked"]), ("order-sign", [])):
        answer = run(page, "call($[0], {context: {}})", hook)
        assert answer["status"] == 200
        assert [card["source"]["topic"]["code"] for card in answer["body"]["cards"]] == told


def test_a_refusal_can_be_read_by_the_page(page: Page) -> None:
    run(page, "choosePatient($[0])", "normal-chart")
    answer = run(page, "call($[0], {context: {draftOrders: 1}})", "order-sign")
    assert answer["status"] == 400
    assert "`context.draftOrders`" in answer["body"]["issue"][0]["details"]["text"]
    missing = run(page, "json(state.fhirServer + '/Patient/nobody', {headers: FHIR_JSON})")
    assert (missing["status"], missing["body"]["resourceType"]) == (404, "OperationOutcome")


def test_a_discovery_address_that_ends_in_a_slash_works_too(sandbox_page: Page, sandbox_service: str) -> None:
    start(sandbox_page, sandbox_service, "/cds-services/")
    run(sandbox_page, "choosePatient($[0])", "mild-potassium")
    run(sandbox_page, "call('patient-view')")
    expect(sandbox_page.locator("article")).to_have_count(1)
    sandbox_page.get_by_role("button", name="Dismiss").click()
    sandbox_page.wait_for_function("state.feedback?.length === 1")
    assert run(sandbox_page, "state.feedback[0].status") == 200
