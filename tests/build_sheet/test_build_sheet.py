"""Build sheets: complete, copied from what runs, and readable as pages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from cds_service.app import create_app
from cds_service.build_sheet.ehrs import known_ehrs
from cds_service.build_sheet.sheet import build_sheet
from cds_service.settings import Settings
from tests.core import a_runtime, knowledge
from tests.http_side import running

EHRS = known_ehrs()


def sheet(name: str, **settings: str) -> str:
    return build_sheet(name, knowledge(), Settings(**settings))  # type: ignore[arg-type]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    runtime = a_runtime(tmp_path)
    async with running(create_app(runtime.settings, runtime=runtime)) as one:
        yield one


@pytest.mark.parametrize("name", EHRS)
def test_all_that_this_ehr_calls_and_queries_can_be_copied(name: str) -> None:
    text = sheet(name, public_url="https://cds.north.example")
    hooks = knowledge().dialects[EHRS[name].dialect].hooks
    for service in knowledge().services:
        address = f"`https://cds.north.example/cds-services/{service.id}`"
        assert (address in text) == (service.hook in hooks)
        for template in service.prefetch.values() if service.hook in hooks else ():
            assert f"\n{template}\n" in text
    assert "CDS_PUBLIC_URL" not in text
    assert ("/cds-services`" in text) is not EHRS[name].typed_queries


def test_without_a_public_address_the_sheet_says_so() -> None:
    assert "`CDS_PUBLIC_URL` is not set" in sheet("generic")


@pytest.mark.parametrize("name", EHRS)
def test_every_card_reason_and_link_is_there_to_map(name: str) -> None:
    text = sheet(name)
    hooks = set(knowledge().dialects[EHRS[name].dialect].hooks)
    for card in knowledge().cards:
        there = not hooks.isdisjoint(card.file.hooks)
        assert (f"(`{card.id}` {card.file.version})" in text) == there
        for code in card.file.overrides if there else ():
            assert f"| `{code}` | {knowledge().overrides[code].display} |" in text
        for source in card.file.links if there else ():
            assert f"`{knowledge().sources[source].url}`" in text


def test_what_an_ehr_cannot_do_is_said() -> None:
    assert "`quinineavoid`" in sheet("epic")  # its topic codes have no dashes
    assert re.search(r"- `[a-z-]+` is shown without: .+Check", sheet("epic"))
    assert "order-sign" not in sheet("oracle").partition("## What this EHR cannot do")[0].replace("order-signing", "")
    assert "is shown without" not in sheet("generic")


@pytest.mark.parametrize("name", EHRS)
def test_the_entry_for_the_registry_is_toml_that_the_registry_knows(name: str) -> None:
    (entry,) = re.findall(r"```toml\n(.*?)```", sheet(name), re.DOTALL)
    (client,) = tomllib.loads(entry)["client"]
    assert client.get("preset", "") == EHRS[name].preset
    assert {"name", "iss", "jku", "fhir_bases"} <= set(client)


@pytest.mark.parametrize("name", EHRS)
async def test_each_sheet_is_a_page_without_scripts(client: httpx2.AsyncClient, name: str) -> None:
    page = await client.get(f"/build-sheets/{name}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<script" not in page.text
    assert f"<h1>Build sheet: {EHRS[name].title}</h1>" in page.text
    assert all(f'href="/build-sheets/{one}"' in page.text for one in EHRS)
    assert "+-----" in page.text  # the pictures of the cards


async def test_an_unknown_sheet_lists_those_that_there_are(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/build-sheets/meditech")
    assert (answer.status_code, "epic, oracle" in answer.text) == (404, True)
    assert (await client.get("/build-sheets/style.css")).status_code == 200
