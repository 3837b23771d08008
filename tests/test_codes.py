"""Codes, units and statuses that were not understood: what the log keeps of them, and how a site sees and maps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cds_service.alert_log import AlertLog
from cds_service.alert_log.unread import unread_codes
from cds_service.cli import main
from cds_service.facts import Unread
from cds_service.logged import MAX_UNREAD, NOT_A_CODE, kept_codes
from cds_service.metrics import UNREAD_CODES, counts
from cds_service.tally import flush, note_answer
from tests.alert_log_samples import START, a_call

LOCAL = "urn:oid:1.2.3"
POTASSIUM = {"kind": "lab", "system": LOCAL, "code": "K", "source": "labs", "meaning": "potassium"}
DRUG = {"kind": "drug", "system": LOCAL, "code": "77", "source": "prescriptions", "meaning": ""}
STATUS = {"kind": "status", "system": "", "code": "completed-ish", "source": "labs", "meaning": ""}


def a_code(code: str = "K", system: str = LOCAL, kind: Any = "lab") -> Unread:
    return Unread(kind, system, code, "labs")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (a_code(), a_code()),
        (a_code("", ""), a_code("", "")),
        (a_code("12-34.5_A:b|c/d"), a_code("12-34.5_A:b|c/d")),
        (a_code(system="http://acme.example/lab#codes"), a_code(system="http://acme.example/lab#codes")),
        (a_code("Mr Zaphod"), a_code(NOT_A_CODE)),
        (a_code("x" * 65), a_code(NOT_A_CODE)),
        (a_code("Zaphod\nBeeblebrox"), a_code(NOT_A_CODE)),
        (a_code("Zäphod"), a_code(NOT_A_CODE)),
        (a_code(system="of Mr Zaphod"), a_code(system=NOT_A_CODE)),
        (a_code("mg%", "", "unit"), a_code("mg%", "", "unit")),
        (a_code("mL/min/{1.73_m2}", "", "unit"), a_code("mL/min/{1.73_m2}", "", "unit")),
        (a_code("mg of Zaphod", "", "unit"), a_code(NOT_A_CODE, "", "unit")),
        (a_code("mg%"), a_code(NOT_A_CODE)),
    ],
)
def test_only_what_looks_like_a_code_is_kept(sent: Unread, kept: Unread) -> None:
    assert kept_codes([sent]) == (kept,)


def test_each_code_is_kept_once_and_not_without_end() -> None:
    assert kept_codes([a_code(), a_code(), a_code("Na")]) == (a_code(), a_code("Na"))
    assert len(kept_codes(a_code(f"c{number}") for number in range(10_000))) == MAX_UNREAD


def test_they_are_counted_by_kind() -> None:
    flush()
    before = counts(UNREAD_CODES)
    note_answer("s", [], [], [], [a_code(), a_code("Na"), a_code("x", kind="status")])
    flush()
    after = counts(UNREAD_CODES)
    assert {kind: after[kind] - before.get(kind, 0) for kind in ("lab", "status")} == {"lab": 2, "status": 1}


@pytest.fixture
async def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three calls of two clients, and one without anything that was not understood."""
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    writer = AlertLog(path)
    writer.start()
    for minute, client, unread in (
        (0, "north", [POTASSIUM, DRUG]),
        (1, "north", [POTASSIUM, STATUS, {**POTASSIUM, "source": "draftOrders"}]),
        (2, "south", [POTASSIUM, {**POTASSIUM, "code": NOT_A_CODE}]),
        (3, "south", []),
    ):
        await writer.append(a_call(client=client, minute=minute, facts=msgspec.json.encode({"unread": unread})))
    await writer.append(a_call(minute=4))  # refused: without facts
    await writer.append(a_call(minute=5, facts=b"{}"))  # of an earlier version
    await writer.close()
    return path


def test_they_are_listed_by_client_the_most_frequent_first(log: Path) -> None:
    rows = [(one.client, one.kind, one.code, one.meaning, one.calls) for one in unread_codes(log, None, None)]
    assert rows == [
        ("north", "lab", "K", "potassium", 2),
        ("north", "drug", "77", "", 1),
        ("north", "status", "completed-ish", "", 1),
        ("south", "lab", "K", "potassium", 1),
        ("south", "lab", NOT_A_CODE, "potassium", 1),
    ]
    assert [one.code for one in unread_codes(log, None, "north")] == ["K", "77", "completed-ish"]
    assert [one.client for one in unread_codes(log, START.replace(minute=32), None)] == ["south", "south"]
    assert unread_codes(log, None, "nobody") == []


def test_the_command_prints_a_table(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "unread", "--client", "north", "--since", "2025-11-28"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "calls"
    assert lines[1].split() == ["2", "north", "lab", LOCAL, "K", "potassium", "2025-11-28"]
    assert len(lines) == 4


def test_the_command_prints_a_file_to_fill_in(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "unread", "--yaml"]) == 0
    text = capsys.readouterr().out
    unknown = {"analyte": "?", "unit": "?", "specimen": "?"}
    assert yaml.safe_load(text) == {
        "labs": [{"system": LOCAL, "code": "K", **unknown}],
        "drugs": [{"system": LOCAL, "code": "77", "ingredient": "?"}],
    }
    assert "# 2 calls of north, last 2025-11-28; its name says potassium" in text
    assert "# status completed-ish: 1 calls of north" in text


def test_the_command_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "log"))
    assert main(["codes", "unread"]) == 1
    (tmp_path / "log").write_bytes(b"no database, and long enough to see it" * 100)
    assert main(["codes", "unread"]) == 1
    told = capsys.readouterr().err
    assert "no log there yet" in told
    assert "is no alert log that can be read" in told
