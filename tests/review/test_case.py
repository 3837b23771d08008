"""The page of a case: what it shows of a card that fired, that held back, that was silent, that could not be checked."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cds_service.alert_log import AlertLog
from cds_service.alert_log.knowledge_archive import pack_knowledge
from cds_service.alert_log.store import Archive
from cds_service.database import Database
from cds_service.files.paths import cards_dir
from cds_service.knowledge.loader import read_knowledge
from cds_service.review.case import CaseNotFoundError, find_case
from tests.core import a_runtime
from tests.reading import terminology
from tests.review.fired_log import (
    CRITICAL,
    LOW_POTASSIUM,
    MALARIA,
    NO_LABS,
    QUININE,
    SAME_ORIGIN,
    TWO_ORDERS,
    database,
    fire,
    pages,
)

CALLS = [
    (QUININE, "accepted"),
    (MALARIA, ""),
    (CRITICAL, "overridden"),
    (TWO_ORDERS, "specialist-advice"),
    (LOW_POTASSIUM, ""),
    (NO_LABS, ""),
    (MALARIA, ""),
    (QUININE, ""),  # the patient of the first call
    (MALARIA, ""),  # the patient of the second call
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of CALLS."""
    made = tmp_path_factory.mktemp("log")
    asyncio.run(fire(made, CALLS))
    return made


@pytest.fixture
def log(folder: Path) -> Iterator[Database]:
    with closing(database(folder)) as opened:
        yield opened


def address(log: Database, number: int, card: str = "quinine-avoid", nth: int = 1) -> str:
    """The address of a card's case in the call of that number."""
    rows = log.rows("SELECT id FROM log.call ORDER BY received_at")
    return f"/review/cases/{bytes(rows[number]['id']).hex()}/{card}/{nth}"


async def shown(folder: Path, path: str) -> tuple[str, dict[str, Any]]:
    """The text of a page without marks, and its data."""
    async with pages(folder) as client:
        html, json = await client.get(path), await client.get(f"{path}.json")
    assert (html.status_code, json.status_code) == (200, 200)
    return " ".join(re.sub(r"<[^>]*>", " ", html.text).split()), json.json()


async def test_a_case_that_fired_shows_card_evidence_criteria_and_feedback(folder: Path, log: Database) -> None:
    text, data = await shown(folder, address(log, 0))
    assert data["case"]["outcome"] == "fired"
    assert data["card_json"]["summary"] == "Quinine should not be used for cramps (boxed warning)"
    assert "Quinine should not be used for cramps (boxed warning)" in text
    (order,) = [one for one in data["evidence"] if "quinine order" in one["used_by"]]
    assert (order["code"], order["source"]) == ("RxNorm 997010", "draftOrders")
    conditions = {one["name"]: one["truth"] for one in data["criteria"]["conditions"]}
    assert conditions == {"quinine_concerned": "met", "malaria_indication": "unmet"}
    assert [row["number"] for row in data["criteria"]["table"] if row["chosen"]] == [data["case"]["row"]]
    assert [(one["outcome"], one["after_s"], len(one["accepted"])) for one in data["feedback"]] == [("accepted", 9.0, 1)]
    assert {"read", "judge"} <= set(data["times"]["phases"])
    assert data["sources"]["states"]["orders"]["state"] == "present"


async def test_a_case_that_did_not_fire_shows_what_the_call_knew(folder: Path, log: Database) -> None:
    text, data = await shown(folder, address(log, 1))
    assert (data["case"]["outcome"], data["card_json"], data["feedback"]) == ("not_fired", None, [])
    assert "this is all that the call knew" in text
    assert any(one["datum"].startswith("quinine sulfate 324 MG") for one in data["evidence"])
    stopping = [one for one in data["criteria"]["conditions"] if one["truth"] in ("met", "unmet")]
    assert stopping
    assert "Was it right to show no card?" in text
    assert "clinician's response right" not in text


async def test_each_order_of_a_call_is_a_case_of_its_own(folder: Path, log: Database) -> None:
    first, second = [(await shown(folder, address(log, 3, nth=nth)))[1] for nth in (1, 2)]
    assert (first["case"]["of"], second["case"]["of"]) == (2, 2)
    assert first["case"]["order"] != second["case"]["order"]
    assert first["card_json"]["uuid"] != second["card_json"]["uuid"]
    assert second["feedback"][0]["reason"] == "On specialist advice"
    assert second["feedback"][0]["comment_length"] == len("as discussed")
    with pytest.raises(CaseNotFoundError, match="no evaluation 3"):
        find_case(log, address(log, 3).split("/")[3], "quinine-avoid", 3)


async def test_a_plan_that_is_no_number_of_one_is_left_aside(folder: Path, log: Database) -> None:
    async with pages(folder) as client:
        for number in ("9" * 30, "\u0663", "x", ""):
            assert (await client.get(address(log, 0), params={"plan": number})).status_code == 200


async def test_a_case_that_could_not_be_checked_shows_what_was_missing(folder: Path, log: Database) -> None:
    text, data = await shown(folder, address(log, 5, "electrolyte-hypokalaemia"))
    assert data["case"]["outcome"] == "could_not_check"
    assert {one["state"] for one in data["missing"]} == {"did not arrive"}
    assert "could not check" in text


async def test_a_row_that_was_passed_over_for_what_is_not_known_says_so(folder: Path, log: Database) -> None:
    text, data = await shown(folder, address(log, 0))
    table = data["criteria"]["table"]
    (chosen,) = [row["number"] for row in table if row["chosen"]]
    assert [row["number"] for row in table if row["unknown"]] == [2]  # "quinine danger", which needs results that nobody sent
    assert chosen > 2
    assert re.search(r"Quinine is dangerous here: \S* ?.{0,40}not known", text)
    _, data = await shown(folder, address(log, 2))  # its first row held: those below were not needed
    assert not [row for row in data["criteria"]["table"] if row["unknown"]]


async def test_a_notice_is_a_card_without_an_evaluation(folder: Path, log: Database) -> None:
    text, data = await shown(folder, address(log, 5, "not-checked"))
    assert data["card_json"]["source"]["topic"]["code"] == "not-checked"
    assert (data["missing"], data["criteria"]["conditions"], data["case"]["outcome"]) == ([], [], "fired")
    assert "electrolyte-hypokalaemia" in [one["card"] for one in data["not_checked"]]
    assert data["card_json"]["summary"] in text


async def test_the_other_cards_of_a_call_are_listed_and_open_also_where_they_did_not_fire(folder: Path, log: Database) -> None:
    _, data = await shown(folder, address(log, 0))
    others = data["others"]
    assert "quinine-avoid" not in {one["card"] for one in others}
    assert len({(one["card"], one["nth"]) for one in others}) == len(others)
    (silent,) = [one for one in others if one["card"] == "quinine-safety"]
    assert silent["outcome"] == "not_fired"
    _, data = await shown(folder, address(log, 0, "quinine-safety", silent["nth"]))
    assert data["case"]["outcome"] == "not_fired"
    assert "quinine-avoid" in {one["card"] for one in data["others"]}


async def test_a_call_without_a_card_opens_through_the_card_of_the_case(folder: Path, log: Database) -> None:
    path = address(log, 1)  # no card fired, nor in the later call of the same patient
    _, data = await shown(folder, path)
    silent = [one for one in data["calls"] if not one["cards"]]
    assert [one["opens"] for one in silent if not one["this"]] == ["quinine-avoid"]
    (other,) = [one for one in silent if not one["this"]]
    _, data = await shown(folder, f"/review/cases/{other['call']}/quinine-avoid/1")
    assert data["case"]["outcome"] != "fired"


async def test_all_cards_of_the_patient_are_one_link_away(folder: Path, log: Database) -> None:
    async with pages(folder) as client:
        html = (await client.get(address(log, 0))).text
        (link,) = re.findall(r'href="([^"]*)">All cards of this patient', html)
        found = await client.get(link.replace("&amp;", "&").replace("/log?", "/log.json?"))
    calls = {one["path"].split("/")[3] for one in found.json()["rows"]}
    assert calls == {address(log, 0).split("/")[3], address(log, 7).split("/")[3]}


async def test_the_same_patient_a_week_around(folder: Path, log: Database) -> None:
    _, data = await shown(folder, address(log, 7))
    assert [(one["this"], [card["card"] for card in one["cards"]]) for one in data["calls"]] == [
        (False, ["quinine-avoid"]),
        (True, ["quinine-avoid"]),
    ]
    assert data["calls"][0]["cards"][0]["response"] == "accepted"


async def test_the_record_stands_there_without_the_cards_of_its_time(
    folder: Path, log: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cds_service.review.knowledge_then import KnowledgeThen
    from cds_service.review.pages import case as page

    monkeypatch.setattr(page, "knowledge_then", lambda *_: KnowledgeThen("f" * 64, None, "none"))
    text, data = await shown(folder, address(log, 0))
    assert "are not in the log" in text
    assert data["criteria"]["table"] == []
    assert {one["truth"] for one in data["criteria"]["conditions"]} <= {"met", "unmet", "unknown"}
    assert any(one["code"] == "RxNorm 997010" for one in data["evidence"])  # what was recorded needs no card


async def fired_with_other_cards(folder: Path, word: str, packed: Callable[[Path], bytes]) -> str:
    """The address of a case that was judged with a quinine-avoid whose title begins with `word`; `packed`: its archive."""
    cards = folder / "cards"
    shutil.copytree(cards_dir(), cards)
    file = cards / "quinine-avoid" / "card.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("title: ", f"title: {word} ", 1), encoding="utf-8")
    known = read_knowledge(cards, terminology())
    log = AlertLog(folder / "alerts.sqlite3", archive=Archive(known.hash, lambda: packed(cards)))
    await fire(folder, [(QUININE, "")], runtime=replace(a_runtime(folder, known), alert_log=log))
    with closing(database(folder)) as opened:
        return address(opened, 0)


async def test_a_case_is_told_in_the_words_of_the_cards_of_its_time(tmp_path: Path) -> None:
    path = await fired_with_other_cards(tmp_path, "Formerly", lambda cards: pack_knowledge(cards, None))
    text, data = await shown(tmp_path, path)
    assert data["case"]["knowledge_from"] == "archive"
    assert data["case"]["title"].startswith("Formerly ")
    assert [one["name"] for one in data["criteria"]["conditions"]] == ["quinine_concerned", "malaria_indication"]
    assert "In the words of the cards of that time, from the log's archive" in text


async def test_an_archive_that_this_program_reads_differently_is_not_used(tmp_path: Path) -> None:
    path = await fired_with_other_cards(tmp_path, "Once", lambda _: pack_knowledge(cards_dir(), None))
    text, data = await shown(tmp_path, path)
    assert data["case"]["knowledge_from"] == "unreadable"
    assert "reads them differently" in text


@pytest.mark.parametrize(
    "path",
    ["/review/cases/00/quinine-avoid/1", "/review/cases/{call}/unknown-card/1", "/review/cases/zz/quinine-avoid/1",
     "/review/cases/{call}/quinine-avoid/0", "/review/cases/0123456789abcdef0123456789abcdef/quinine-avoid/1"],
)  # fmt: skip
async def test_what_is_not_there_is_said(folder: Path, log: Database, path: str) -> None:
    call = address(log, 0).split("/")[3]
    async with pages(folder) as client:
        answer = await client.get(path.format(call=call))
    assert (answer.status_code, 'role="alert"' in answer.text) == (404, True)


async def test_queries_to_the_fhir_server_are_listed_also_those_without_a_response(
    folder: Path, log: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [
        {"key": "labs", "outcome": "ok", "status": 200, "ms": 12.34, "bytes": 1500},
        {"key": "problems", "outcome": "timeout"},
    ]
    found = find_case(log, address(log, 0).split("/")[3], "quinine-avoid", 1)
    sources = found.body.sources | {"queries": queries}
    asked = replace(found, body=replace(found.body, sources=sources))
    monkeypatch.setattr("cds_service.review.pages.case.find_case", lambda *_: asked)
    text, _ = await shown(folder, address(log, 0))
    assert "labs 200, ok 12.3 ms 1,500 bytes" in text
    assert "problems no response, timeout 0 ms 0 bytes" in text


async def test_a_damaged_body_is_said_and_breaks_no_other_page(tmp_path: Path) -> None:
    await fire(tmp_path, [(QUININE, "")])
    with closing(database(tmp_path)) as opened:
        path = address(opened, 0)
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3", isolation_level=None)) as file:
        file.execute("UPDATE body SET content = x'00'")
    async with pages(tmp_path) as client:
        answer = await client.get(path)
        log = await client.get("/review/log.json?from=2025-11-01&to=2025-12-01")
        plan = await client.post("/review/queue", data={"card": "quinine-avoid", "month": "2025-12"})
    assert (answer.status_code, "damaged, or written by a newer program" in answer.text) == (404, True)
    assert [one["path"] for one in log.json()["rows"]] == [path]
    assert (plan.status_code, "no case of this card" in plan.text) == (400, True)


async def test_texts_of_the_record_are_shown_and_not_run(tmp_path: Path) -> None:
    await fire(tmp_path, [(["problem: <script>alert(1)</script> cramps", QUININE[1]], "")])
    with closing(database(tmp_path)) as opened:
        path = address(opened, 0)
    async with pages(tmp_path) as client:
        page = (await client.get(path)).text
    assert "<script>alert" not in page


async def test_a_verdict_is_kept_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    await fire(tmp_path, [(QUININE, "overridden")])
    with closing(database(tmp_path)) as opened:
        path = address(opened, 0)
    async with pages(tmp_path, "Ann%20Example") as client:
        first = await client.post(path, data={"verdict": "appropriate"})
        assert (first.status_code, first.headers["location"]) == (303, f"{path}?saved=appropriate")
        assert "Saved: appropriate." in (await client.get(first.headers["location"])).text
        await client.post(path, data={"verdict": "malfunction", "cause": "technical", "right_time": "on", "comment": "odd"})
        data = (await client.get(f"{path}.json")).json()
        page = (await client.get(path)).text
    assert [(one["reviewer"], one["verdict"], one["cause"]) for one in data["readings"]] == [
        ("Ann Example", "malfunction", "technical")
    ]
    assert 'value="malfunction" checked' in page
    with closing(database(tmp_path)) as opened:
        assert opened.one("SELECT count(*) AS n FROM review.verdict") == {"n": 2}


async def test_a_first_verdict_asks_for_a_name_and_keeps_it_in_a_cookie(folder: Path, log: Database) -> None:
    path = address(log, 6)
    async with pages(folder) as client:
        assert 'id="reviewer" name="reviewer" required' in (await client.get(path)).text
        refused = await client.post(path, data={"verdict": "unsure"})
        assert (refused.status_code, "Not saved. Give a name" in refused.text) == (400, True)
        kept = await client.post(path, data={"verdict": "unsure", "reviewer": " Zoë  Example "})
        assert kept.status_code == 303
        cookie = kept.headers["set-cookie"]
        assert "cds_reviewer=Zo%C3%AB%20Example;" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        page = (await client.get(path)).text
        assert "You are <b>Zoë Example</b>" in page


async def test_the_second_reader_sees_nothing_of_the_first(folder: Path, log: Database) -> None:
    path = address(log, 4, "electrolyte-hypokalaemia")
    async with pages(folder, "Ann") as client:
        await client.post(path, data={"verdict": "appropriate", "comment": "Ann's secret"})
    async with pages(folder, "Ben") as client:
        before = (await client.get(path)).text + (await client.get(f"{path}.json")).text
        assert "secret" not in before
        assert "hidden until you have given yours" in before
        await client.post(path, data={"verdict": "inappropriate"})
        assert "Ann&#39;s secret" in (await client.get(path)).text
    async with pages(folder, "Cleo") as client:
        assert "adjudicator" in (await client.get(path)).text
        await client.post(path, data={"verdict": "appropriate"})
    async with pages(folder, "Dan") as client:
        refused = await client.post(path, data={"verdict": "unsure"})
        assert (refused.status_code, "settled" in refused.text) == (400, True)


async def test_what_was_typed_stays_where_it_could_not_be_saved(folder: Path, log: Database) -> None:
    async with pages(folder, "Ann") as client:
        answer = await client.post(address(log, 0), data={"comment": "a long thought", "harm": "minor"})
    assert answer.status_code == 400
    assert "Not saved. Choose one of these as verdict" in answer.text
    assert "a long thought</textarea>" in answer.text
    assert '<option value="minor" selected>' in answer.text


async def test_a_form_from_another_site_is_refused(folder: Path, log: Database) -> None:
    async with pages(folder, "Ann") as client:
        client.headers = {**SAME_ORIGIN, "sec-fetch-site": "cross-site"}
        with pytest.raises(Exception, match="own pages only"):
            await client.post(address(log, 0), data={"verdict": "appropriate"})
