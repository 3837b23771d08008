"""The public page of each card: complete, without patient data or scripts, cached, and linked from the card in the EHR."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from fastapi import FastAPI

from cds_service.app import create_app
from cds_service.knowledge.knowledge import Card
from cds_service.present.cards import Presenter
from cds_service.settings import Settings
from tests.core import a_card, a_runtime, answer, drawn, knowledge, small
from tests.review_site.test_review_site import Page

CARDS = knowledge().cards


def client(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://cds.example")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    runtime = a_runtime(tmp_path)
    return create_app(runtime.settings, runtime=runtime)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
async def test_the_page_of_a_card_says_what_it_rests_on(app: FastAPI, card: Card) -> None:
    async with client(app) as http:
        answered = await http.get(f"/cards/{card.id}/{card.file.version}")
    assert answered.status_code == 200
    page = Page(answered.text)
    known = knowledge()
    for wanted in (card.file.why, card.file.version, *card.file.known_gaps):
        assert " ".join(wanted.split()) in page.words
    for name in card.file.sources:
        assert known.sources[name].title in page.words
        assert f"Read: {known.sources[name].read}" in page.words
    for change in card.file.history:
        assert " ".join(change.what.split()) in page.words
    assert "Cases" not in page.words  # what tests it is for who signs it
    assert page.tags.isdisjoint({"script", "img", "iframe", "form", "link", "base"})


async def test_the_plain_address_leads_to_the_version_that_is_served(app: FastAPI) -> None:
    card = CARDS[0]
    async with client(app) as http:
        answered = await http.get(f"/cards/{card.id}")
        assert answered.status_code == 307
        assert answered.headers["cache-control"] == "no-cache"
        followed = await http.get(f"/cards/{card.id}", follow_redirects=True)
    assert followed.url.path == f"/cards/{card.id}/{card.file.version}"
    assert followed.status_code == 200


@pytest.mark.parametrize("path", ["/cards/no-such-card", "/cards/no-such-card/1.0.0"])
async def test_what_is_not_served_is_not_found(app: FastAPI, path: str) -> None:
    async with client(app) as http:
        assert (await http.get(path)).status_code == 404


async def test_a_link_to_another_version_leads_to_the_one_that_is_served(app: FastAPI) -> None:
    card = CARDS[0]
    async with client(app) as http:
        answered = await http.get(f"/cards/{card.id}/0.0.1")
    assert (answered.status_code, answered.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert answered.headers["cache-control"] == "no-cache"
    assert "no longer served" in Page(answered.text).words
    assert f'<a href="{card.file.version}">' in answered.text


async def test_advice_stands_before_rules_on_the_public_page_only(app: FastAPI) -> None:
    card = next(card for card in CARDS if card.file.page)
    advice, rules = "More about it", "When it fires"
    async with client(app) as http:
        public = (await http.get(f"/cards/{card.id}/{card.file.version}")).text
        review = (await http.get(f"/cards/{card.id}.html")).text
    assert public.count(advice) == review.count(advice) == 1
    assert public.index(advice) < public.index(rules)
    assert review.index(advice) > review.index(rules)


async def test_a_page_that_a_reader_has_is_not_sent_again(app: FastAPI) -> None:
    path = f"/cards/{CARDS[0].id}/{CARDS[0].file.version}"
    async with client(app) as http:
        first = await http.get(path)
        again = await http.get(path, headers={"if-none-match": first.headers["etag"]})
        other = await http.get(path, headers={"if-none-match": '"another"'})
        head = await http.head(path)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == "public, max-age=300"
    assert other.status_code == 200
    assert (head.status_code, head.content) == (200, b"")


async def test_only_its_own_style_is_let_into_a_page(app: FastAPI) -> None:
    async with client(app) as http:
        answered = await http.get(f"/cards/{CARDS[0].id}/{CARDS[0].file.version}")
    style = answered.text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answered.headers["content-security-policy"]
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert 'style="' not in answered.text
    assert answered.headers["referrer-policy"] == "no-referrer"


async def test_in_the_dev_profile_the_review_pages_are_there_too(app: FastAPI) -> None:
    async with client(app) as http:
        assert (await http.get("/cards")).headers["location"] == "/cards/index.html"


@pytest.mark.parametrize("profile", ["dev", "production"])
async def test_the_pages_are_public_in_every_profile(tmp_path: Path, profile: Any) -> None:
    runtime = a_runtime(tmp_path)
    app = create_app(Settings(profile=profile), runtime=runtime)
    async with client(app) as http:
        assert (await http.get(f"/cards/{CARDS[0].id}", follow_redirects=True)).status_code == 200


async def test_a_retired_card_has_no_page(tmp_path: Path) -> None:
    runtime = a_runtime(tmp_path, small({}, a_card(status="retired")))
    async with client(create_app(runtime.settings, runtime=runtime)) as http:
        assert (await http.get("/cards/one")).status_code == 404


# The link


def links(url: str) -> list[list[dict[str, str]]]:
    potassium = answer("LOINC#2823-3 Potassium 2.4 mmol/L")
    shown = drawn(potassium.decisions, potassium.facts, Presenter(knowledge(), url))
    return [msgspec.json.decode(one.body)["links"] for one in shown if one.decision is not None]


def test_each_card_links_to_its_page_first() -> None:
    shown = links("https://cds.example")
    assert shown
    for one in shown:
        assert one[0]["label"] == knowledge().labels.page_label
        assert one[0]["type"] == "absolute"
        assert one[0]["url"].startswith("https://cds.example/cards/")
        known = knowledge().card(one[0]["url"].split("/")[-2])
        assert known is not None
        assert one[0]["url"].endswith(f"/{known.file.version}")


def test_without_an_address_no_card_links_to_its_page() -> None:
    assert all("/cards/" not in link["url"] for one in links("") for link in one)
