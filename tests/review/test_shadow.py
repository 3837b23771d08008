"""Shadow beside live: a draft of a card in the log that has the live one too."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cds_service.files.paths import cards_dir
from cds_service.knowledge.loader import read_knowledge
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from tests.core import NOW, a_runtime
from tests.reading import terminology
from tests.review.fired_log import LOW_POTASSIUM, QUININE, database, fire, pages

CARD = "quinine-avoid"
KIDNEYS = ["LOINC#98979-8 eGFR 12 mL/min/{1.73_m2}", "order: baclofen 10 mg tablet three times a day, id b"]
BOTH = [*QUININE, *KIDNEYS]  # a critical card stands before it in the response
DAYS = "from=2025-11-29&to=2025-12-01"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which the card is live, then a draft that is never shown."""
    made = tmp_path_factory.mktemp("log")
    asyncio.run(fire(made, [(QUININE, ""), (QUININE, "accepted"), (LOW_POTASSIUM, "")], end=NOW - timedelta(hours=20)))
    cards = made / "cards"
    shutil.copytree(cards_dir(), cards)
    path = cards / CARD / "card.yaml"
    path.write_text(path.read_text().replace("status: active", "status: draft", 1))
    known = read_knowledge(cards, terminology())
    calls = [(QUININE, ""), (BOTH, ""), (LOW_POTASSIUM, "")]
    asyncio.run(fire(made, calls, end=NOW - timedelta(hours=10), runtime=a_runtime(made, known)))
    with closing(database(made)) as opened:
        roll_up(opened, SiteDays("UTC"), lambda: NOW)
    return made


async def shown(folder: Path, card: str = CARD) -> dict[str, Any]:
    async with pages(folder, "Ann") as client:
        assert (await client.get(f"/review/cards/{card}/shadow?{DAYS}")).status_code == 200
        return dict((await client.get(f"/review/cards/{card}/shadow.json?{DAYS}")).json())


async def test_each_content_has_its_rate_and_the_mode_in_which_it_ran(folder: Path) -> None:
    live, shadow = (await shown(folder))["contents"]
    assert (live["mode"], live["live"], live["shadow"], live["fired"]) == ("live", 2, 0, 2)
    assert (shadow["mode"], shadow["live"], shadow["shadow"], shadow["fired"]) == ("shadow", 0, 2, 2)
    assert live["content_hash"] != shadow["content_hash"]
    assert live["difference"] is None
    assert shadow["low"] <= shadow["difference"] <= shadow["high"]


async def test_a_case_says_where_its_card_would_have_stood(folder: Path) -> None:
    page = await shown(folder)
    assert [(one["position"], one["state"]) for one in page["cases"]] == [(2, "shown"), (1, "shown")]
    assert page["positions"] == {"1": 1, "2": 1}
    async with pages(folder, "Ann") as client:
        for one in page["cases"]:
            assert "shadow" in (await client.get(one["path"])).text


async def test_a_card_without_shadow_says_so(folder: Path) -> None:
    page = await shown(folder, "electrolyte-hypokalaemia")
    assert page["cases"] == []
    async with pages(folder) as client:
        assert "No card in shadow fired" in (await client.get(f"/review/cards/electrolyte-hypokalaemia/shadow?{DAYS}")).text
        assert (await client.get("/review/cards/unknown/shadow")).status_code == 404
