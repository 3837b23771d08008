"""What if, backtests, changes: from a card's page to the approval, over calls that were really fired."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from cds_service.access.reader import Reader
from cds_service.changes.change import find_change, sign
from cds_service.cli.main import main
from cds_service.knowledge.approvals import load_approvals
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.replay.backtest_queue import BacktestQueue, work
from cds_service.replay.run_backtest import run_backtest
from cds_service.runtime import new_alert_log
from cds_service.settings import Settings
from tests.core import NOW, a_runtime
from tests.review.fired_log import LOW_POTASSIUM, QUININE, database, fire, pages

OLD_MALARIA = [
    "ICD10#B54 Malaria, onset 2025-10-25",
    "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, id one",
]
CALLS = [(OLD_MALARIA, ""), (QUININE, "overridden"), (OLD_MALARIA, "accepted"), (LOW_POTASSIUM, "")]
DAYS = {"from": "2025-11-20", "to": "2025-12-01", "share": "100"}
MALARIA_DAYS = "criteria.yaml:malaria_problem:onset_within_days"
WHAT_IF = "/review/cards/quinine-avoid/what-if"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("log")
    runtime = a_runtime(folder)
    archiving = new_alert_log(runtime.settings, runtime.knowledge, clock=lambda: NOW, patience=60, prior_limit=60)
    asyncio.run(fire(folder, CALLS, end=NOW - timedelta(hours=10), runtime=replace(runtime, alert_log=archiving)))
    return (folder / "alerts.sqlite3").read_bytes()


@pytest.fixture
def folder(log: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the log; backtests are done when the test says so."""
    monkeypatch.setattr(BacktestQueue, "keep_working", lambda _: None)
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "alerts.sqlite3"))
    (tmp_path / "alerts.sqlite3").write_bytes(log)
    return tmp_path


def settings_of(folder: Path) -> Settings:
    return Settings(log_path=folder / "alerts.sqlite3")


def do_all(folder: Path) -> None:
    settings = settings_of(folder)
    work(BacktestQueue(settings), lambda one, progress: run_backtest(settings, one, 1, progress), ())


async def begun(client: httpx2.AsyncClient, folder: Path, **typed: str) -> str:
    """Ask what if, do the backtest and return its address."""
    answer = await client.post(WHAT_IF, data=DAYS | typed)
    assert answer.status_code == 303, answer.text
    address = answer.headers["location"]
    do_all(folder)
    return str(address)


async def json_of(client: httpx2.AsyncClient, address: str) -> dict[str, Any]:
    path, _, query = address.partition("?")
    answer = await client.get(f"{path}.json{'?' if query else ''}{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_the_form_shows_today_bounds_and_who_else_changes(folder: Path) -> None:
    async with pages(folder) as client:
        page = await json_of(client, WHAT_IF)
        html = (await client.get(WHAT_IF)).text
    one = next(each for each in page["numbers"] if each["name"] == MALARIA_DAYS)
    assert (one["value"], one["unit"], one["low"], one["high"], one["shipped"]) == ("90", "days", "0", "36500", "90 days")
    assert one["cards"]
    assert f'name="{MALARIA_DAYS}" value="90"' in html


async def test_a_number_that_cannot_be_is_refused_beside_its_field_and_nothing_is_lost(folder: Path) -> None:
    async with pages(folder) as client:
        answer = await client.post(WHAT_IF, data=DAYS | {MALARIA_DAYS: "never", "criteria.yaml:platelets_low:within_days": "44"})
    assert answer.status_code == 400
    assert "is not a number" in answer.text
    assert 'value="never"' in answer.text
    assert 'value="44"' in answer.text
    assert BacktestQueue(settings_of(folder)).backtests() == []


async def test_a_candidate_that_does_not_load_shows_file_and_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.knowledge.site_numbers.SiteNumber.read", lambda _, text: 99 if text == "99" else int(text))
    async with pages(folder) as client:  # as if the form took what the loader does not
        path = "/review/cards/electrolyte-hypokalaemia/what-if"
        answer = await client.post(path, data=DAYS | {"thresholds.yaml:potassium_moderate_limit:value": "99"})
    assert answer.status_code == 400
    assert "potassium is read from 1.0 to 10.0" in answer.text
    assert ".yaml:" in answer.text


@pytest.mark.slow
async def test_a_backtest_waits_runs_and_shows_every_case_side_by_side(folder: Path) -> None:
    async with pages(folder, "Ann") as client:
        answer = await client.post(WHAT_IF, data=DAYS | {MALARIA_DAYS: "9", "signal": "31"})
        address = answer.headers["location"]
        waiting = await client.get(address)
        assert waiting.headers["refresh"] == "2"
        assert "refresh" not in (await client.get(f"{address}&still")).headers
        do_all(folder)
        page = await json_of(client, address)
        assert (page["result"]["records"], page["result"]["answered"]) == (4, 4)
        own = next(one for one in page["result"]["cards"] if one["card"] == "quinine-avoid")
        assert (own["both"], own["only_old"], own["only_new"]) == (1, 0, 2)
        assert "Calls of one patient are not independent" in (await client.get(address)).text
        path = address.partition("?")[0]
        cases = await json_of(client, f"{path}/cases?card=quinine-avoid&change=appears")
        assert [one["new"] for one in cases["cases"]] == ["fired", "fired"]
        case = await json_of(client, cases["cases"][0]["path"])
        assert (case["old"]["outcome"], case["new"]["outcome"]) == ("not_fired", "fired")
        assert case["old"]["card"] is None
        assert "quinine" in case["new"]["card"]["summary"].casefold()
        malaria = next(one for one in case["criteria"] if one["name"] == "malaria_problem")
        assert (malaria["truth_old"], malaria["truth_new"], malaria["differs"]) == ("met", "unmet", True)
        assert "9 days" in malaria["says_new"]
        assert (await client.get(cases["cases"][0]["path"])).status_code == 200
        rows = (await client.get(f"{path}/cases.csv")).text.splitlines()
        assert len(rows) == 1 + page["result"]["discordant"]
        assert (await client.get("/review/backtests")).text.count("data-row") == 1
        again = await client.post(WHAT_IF, data=DAYS | {MALARIA_DAYS: "9"})
        assert again.headers["location"] == path  # the same question is the same backtest


@pytest.mark.slow
async def test_it_is_stopped_and_resumed_by_its_page(folder: Path) -> None:
    async with pages(folder) as client:
        address = (await client.post(WHAT_IF, data=DAYS | {MALARIA_DAYS: "9"})).headers["location"]
        assert (await client.post(address, data={"do": "stop"})).status_code == 303
        do_all(folder)
        assert (await json_of(client, address))["backtest"]["standing"]["progress"] == "stopped"
        assert "Resume" in (await client.get(address)).text
        await client.post(address, data={"do": "resume"})
        do_all(folder)
        assert (await json_of(client, address))["backtest"]["standing"]["progress"] == "finished"
        assert (await client.post(address, data={"do": "x"})).status_code == 400
        assert (await client.get("/review/backtests/0123456789abcdef")).status_code == 404


async def changed(folder: Path) -> int:
    """A change with a proof, proposed by Ann for a judged case."""
    async with pages(folder, "Ann") as client:
        address = (await begun(client, folder, **{MALARIA_DAYS: "9"})).partition("?")[0]
        first = (await json_of(client, f"{address}/cases?card=quinine-avoid"))["cases"][0]
        case = await json_of(client, first["path"])
        judged = f"/review/cases/{case['case']['call_id']}/quinine-avoid/{case['case']['nth']}"
        assert (await client.post(judged, data={"verdict": "inappropriate"})).status_code == 303
        page = await json_of(client, address)
        assert page["result"]["judged"] == [{"card": "quinine-avoid", "change": "appears", "verdict": "inappropriate", "n": 1}]
        form = {"backtest": address.rpartition("/")[2], "why": "Old malaria is no reason"}
        answer = await client.post("/review/changes", data=form)
        assert answer.status_code == 303, answer.text
        return int(answer.headers["location"].rpartition("/")[2])


async def test_a_change_is_signed_by_two(folder: Path) -> None:
    number = await changed(folder)
    address = f"/review/changes/{number}"
    async with pages(folder, "Ann") as client:
        page = await json_of(client, address)
        missing = [one["name"] for one in page["requirements"] if not one["met"]]
        assert missing == [
            "a backtest over 14 days or 1,000 evaluations of the card",
            "two signatures by different people",
            "one of them a rule owner's",
        ]
        assert len(page["cases"]) == 1
        assert (await client.post(address, data={"do": "sign"})).status_code == 303
        refused = await client.post(address, data={"do": "sign"})
        assert refused.status_code == 400
        assert "another person" in refused.text
    async with pages(folder, "Ben") as client:
        await client.post(address, data={"do": "sign"})
        page = await json_of(client, address)
        assert [(one["reader"], one["action"]) for one in page["steps"]] == [("Ann", "signed"), ("Ben", "signed")]
        assert "cards approve --change" not in (await client.get(address)).text  # the proof is too small
    with closing(database(folder)) as opened:
        rows = opened.rows("SELECT action FROM review.audit ORDER BY seq")
    assert [row["action"] for row in rows if "change" in row["action"]] == [
        "propose change",
        "sign change",
        "sign change",
        "sign change",
    ]


def approve(folder: Path, number: int, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["cards", "approve", "--change", str(number)])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.slow
async def test_the_command_refuses_and_names_what_is_missing_then_writes_overlay_and_approval(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = await changed(folder)
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 1
    assert "14 days or 1,000 evaluations" in said
    assert "two signatures" in said
    assert not (folder / "approvals.yaml").exists()
    with closing(database(folder)) as opened:
        for name, role in (("Ann", "rule owner"), ("Ben", "reviewer")):
            change = find_change(opened, number)
            assert change is not None
            sign(opened, change, Reader(name, frozenset({role})), at=1)  # type: ignore[arg-type]
    monkeypatch.setattr("cds_service.changes.requirements.EVALUATIONS", 3)
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 1
    assert "CDS_OVERLAY_DIR" in said
    site = folder / "overlay"
    site.mkdir()
    (site / "README.md").write_text("ours")
    monkeypatch.setenv("CDS_OVERLAY_DIR", str(site))
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 1  # the card's own cases say 90 days
    assert "cases of the cards fail" in said
    assert not (site / "criteria.yaml").exists()
    assert not (folder / "approvals.yaml").exists()
    monkeypatch.setattr("cds_service.changes.approval.run_cases", lambda *_: [])  # as if the site had written its own cases
    monkeypatch.setattr("cds_service.changes.approval.emitted_problems", lambda *_: [])
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 0, said
    assert "Restart the service" in said
    known = load_knowledge(Settings(log_path=folder / "alerts.sqlite3", overlay_dir=site), before_approval=True)
    with closing(database(folder)) as opened:
        change = find_change(opened, number)
    assert change is not None
    assert (known.hash, change.state) == (change.candidate, "approved")
    approval = load_approvals(folder / "approvals.yaml")[0]
    assert (approval.card, approval.hash, approval.by) == ("quinine-avoid", change.card_hash, "Ann and Ben")
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 1
    assert "it is approved" in said


@pytest.mark.slow
async def test_a_signature_of_another_knowledge_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = await changed(folder)
    with closing(database(folder)) as opened:
        for name in ("Ann", "Ben"):
            change = find_change(opened, number)
            assert change is not None
            sign(opened, change, Reader(name, frozenset({"rule owner"})), at=1)
    monkeypatch.setattr("cds_service.changes.requirements.EVALUATIONS", 3)
    site = folder / "overlay"
    site.mkdir()
    (site / "labels.yaml").write_text("source_label: Changed since\n")
    monkeypatch.setenv("CDS_OVERLAY_DIR", str(site))
    status, said = await asyncio.to_thread(approve, folder, number, capsys)
    assert status == 1
    assert "make its backtest anew" in said
    assert not (folder / "approvals.yaml").exists()
