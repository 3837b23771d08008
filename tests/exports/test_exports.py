"""Each kind of export of a log that a service wrote, read back by what reads such files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset
import pytest

from cds_service.alert_log.records import new_call_id
from cds_service.alert_log.store import Store
from cds_service.database import Database, ScopedDatabase
from cds_service.database.errors import OutOfScopeError
from cds_service.exports.card_rows import CardRows
from cds_service.exports.columns import CARD_COLUMNS, EVALUATION_COLUMNS, FEEDBACK_COLUMNS
from cds_service.exports.cursor import CursorError
from cds_service.exports.evaluation_rows import cases_of
from cds_service.exports.formats import FORMATS
from cds_service.exports.parquet_files import ParquetFiles
from cds_service.fhir.validation import problems_r4b
from cds_service.review.verdicts import CaseId, Opinion, keep
from cds_service.rollups.filter import Filter
from cds_service.rollups.log_rows import newest
from cds_service.rollups.rollup import roll_up
from tests.alert_log_samples import a_call, a_card, a_feedback
from tests.core import NOW
from tests.exports.exporting import UTC_DAYS, exported, json_rows, opened, selected
from tests.review.fired_log import CRITICAL, LOW_POTASSIUM, MALARIA, NO_LABS, QUININE, TWO_ORDERS, fire

CALLS = [*[(QUININE, "accepted"), (QUININE, "overridden"), (QUININE, "")] * 2,
         (MALARIA, ""), (CRITICAL, "overridden"), (TWO_ORDERS, ""), (LOW_POTASSIUM, ""), (NO_LABS, "")]  # fmt: skip

EVALUATED = json.dumps(
    [{"card": "quinine-avoid", "order_key": "", "outcome": "fired"}, {"card": "baclofen-safety", "outcome": "not_fired"}]
).encode()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a log of calls that were fired at the service, one of whose cases was judged."""
    folder = tmp_path_factory.mktemp("log")
    asyncio.run(fire(folder, CALLS, end=NOW - timedelta(hours=10)))
    with opened(folder / "alerts.sqlite3") as database:
        roll_up(database, UTC_DAYS, lambda: NOW)
        first = json_rows(database, "ndjson")[0]
        case = CaseId(bytes.fromhex(first["call"]), 1, first["cardId"], first["nth"])
        keep(database, case, "Ann", Opinion("appropriate", harm="none", comment="not exported"), plan=None, at=1)
    return folder / "alerts.sqlite3"


@pytest.fixture
def database(log: Path) -> Iterator[Database]:
    with opened(log) as database:
        yield database


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_a_card_s_row_has_what_the_columns_say(database: Database) -> None:
    rows = json_rows(database, "ndjson")

    assert len(rows) >= len(CALLS) - 2
    for row in rows:
        assert {*row} == {one.name for one in CARD_COLUMNS} | {"row", "schema", "cursor"}
    assert [one["verdict"] for one in rows[0]["verdicts"]] == ["appropriate"]
    assert not any(row["verdicts"] for row in rows[1:])
    responses = [row["response"] for row in rows if row["cardId"] == "quinine-avoid"]
    assert responses[:3] == ["accepted", "overridden", "none"]
    assert all(row["evidence"] for row in rows if row["cardId"] == "quinine-avoid")
    assert "not exported" not in exported(database, "ndjson").decode()


def test_csv_begins_with_the_six_fields_of_hti_1(database: Database) -> None:
    content = exported(database, "csv")
    found = table(content)

    header = content.decode().partition("\r\n")[0].split(",")
    assert header == [one.name for one in (*FEEDBACK_COLUMNS, *CARD_COLUMNS)]
    assert header[:6] == ["intervention", "actionTaken", "userFeedback", "user", "date", "location"]
    for row, same in zip(found, json_rows(database, "ndjson"), strict=True):
        for column in CARD_COLUMNS:
            value = same[column.name]
            assert (json.loads(row[column.name]) if column.kind == "json" else row[column.name]) == (
                value if column.kind == "json" else "" if value is None else str(value)
            )
        assert row["intervention"] == f"{same['cardId']} {same['version']}".strip()
        assert (row["actionTaken"], row["user"], row["date"]) == (same["response"], same["userKey"], same["receivedAt"])
    assert {row["userFeedback"] for row in found if row["actionTaken"] == "none"} == {""}


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if "fhir" in one.media_type])
def test_bundles_are_valid_fhir_and_hold_everything(database: Database, name: str) -> None:
    from cds_service.access.audit import append

    append(database, 1, "Ann", "export", "/review/exports?days=7", "for the committee", {"rows": 3, "sha256": ""})
    append(database, 2, "", "open case", "/review/cases/1", "", None)

    bundles = json_rows(database, name)

    assert bundles
    for bundle in bundles:
        assert problems_r4b(bundle) == []
        for entry in bundle["entry"]:
            assert problems_r4b(entry["resource"]) == []
            assert entry["fullUrl"] == f"urn:uuid:{entry['resource']['id']}"
    resources = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
    assert len({one["id"] for one in resources}) == len(resources)
    if name == "detected-issue":
        assert len(resources) == len(json_rows(database, "ndjson"))
        assert {one["mitigation"][0]["action"]["text"] for one in resources if "mitigation" in one} == {"accepted", "overridden"}
    if name == "guidance-response":
        evaluations = json_rows(database, "evaluations-ndjson")
        assert len(resources) == sum(one["applies"] == "yes" and one["outcome"] != "not_applicable" for one in evaluations)
        assert {one["status"] for one in resources} == {"success", "data-required"}
        assert any("dataRequirement" in one for one in resources)


def test_evaluations_are_rows_also_where_nothing_fired(database: Database) -> None:
    rows = json_rows(database, "evaluations-ndjson")

    assert {*rows[0]} == {one.name for one in EVALUATION_COLUMNS} | {"row", "schema", "cursor"}
    assert {"fired", "not_fired", "could_not_check"} <= {row["outcome"] for row in rows}
    assert len({row["call"] for row in rows}) == len(CALLS)
    only = json_rows(database, "evaluations-ndjson", Filter.of(outcome="could_not_check"))
    assert only == [row for row in rows if row["outcome"] == "could_not_check"]
    assert table(exported(database, "evaluations-csv"))[0]["cardId"] == rows[0]["cardId"]


def test_listed_cases_are_exported_and_no_others(database: Database) -> None:
    rows = json_rows(database, "evaluations-ndjson")
    wanted = [rows[0], rows[7], rows[-1]]
    texts = [f"{row['call']}/{row['cardId']}/{row['nth']}" for row in wanted]

    found = json_rows(database, "evaluations-ndjson", cases=cases_of([f"/review/cases/{texts[0]}", *texts[1:]]))

    assert found == wanted
    assert json_rows(database, "evaluations-ndjson", Filter.of(client="another"), cases=cases_of(texts)) == []
    with pytest.raises(ValueError, match="case 2"):
        cases_of([texts[0], "xyz"])
    with pytest.raises(ValueError, match="case 1 "):  # after the year 9999
        cases_of([f"{'f' * 32}/quinine-avoid/1"])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"card": "quinine-avoid"},
        {"response": "overridden"},
        {"response": ("none", "accepted")},
        {"state": "shown", "mode": "live"},
        {"reason": ("", "informed")},
        {"comment": "no"},
        {"repeated": "yes"},
        {"repeated": "no"},
        {"about_order": "no"},
        {"indicator": "critical"},
        {"ms_from": "0", "ms_to": "100000"},
        {"hook": "order-sign", "status": "200"},
        {"card": "no such card"},
    ],
    ids=str,
)
def test_the_filter_means_what_it_means_on_the_log_s_page(database: Database, values: dict[str, Any]) -> None:
    chosen = Filter.of(20251101, 20251231, **values)

    page = newest(database, UTC_DAYS, chosen, limit=1_000).rows

    assert [(row["call"], row["cardId"], row["response"], row["state"]) for row in json_rows(database, "ndjson", chosen)] == [
        (bytes(one.call_id).hex(), one.card, one.response, one.state) for one in reversed(page)
    ]


def test_an_export_goes_on_from_any_row_and_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also where the service went on writing: what came after the beginning does not exist for it."""
    path = tmp_path / "alerts.sqlite3"
    with closing(Store(path)) as store:
        store.append([a_call(a_card(f"u{n}"), a_card(f"v{n}", order_key="b"), minute=n, evaluations=EVALUATED) for n in range(6)])
        store.append([a_feedback("u1"), a_feedback("v2", "accepted")])
    names = ("ndjson", "evaluations-ndjson")
    with opened(path) as database:
        wholes = {name: exported(database, name).splitlines(keepends=True) for name in names}
        with closing(Store(path)) as store:  # one that was received earlier and written later, and answers
            late = a_call(a_card("u9"), minute=3, evaluations=EVALUATED)
            store.append([late, a_feedback("u4"), a_feedback("u1", "accepted", minute=90)])
        for name, lines in wholes.items():
            assert len(lines) == 12
            for count in range(1, len(lines) + 1):
                cursor = json.loads(lines[count - 1])["cursor"]
                assert b"".join(lines[:count]) + exported(database, name, after=cursor) == b"".join(lines)
            assert len(json_rows(database, name)) in (13, 14)


def test_a_cursor_that_is_none_is_refused(database: Database) -> None:
    for text in ("", "x", "s0.1v1-1-00-1", "s1v1-1-" + "0" * 32 + "-0"):
        with pytest.raises(CursorError, match="cursor"):
            selected(database, after=text or "?")


@pytest.mark.parametrize("kind", ["parquet", "evaluations-parquet"])
def test_parquet_is_read_back_by_tenant_and_day(database: Database, tmp_path: Path, kind: str) -> None:
    columns = CARD_COLUMNS if kind == "parquet" else EVALUATION_COLUMNS
    with zipfile.ZipFile(io.BytesIO(exported(database, kind))) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)

    found = pyarrow.dataset.dataset(tmp_path, partitioning="hive").to_table()

    rows = json_rows(database, kind.replace("parquet", "ndjson"))
    assert set(found.column_names) == {one.name for one in columns} | {"day"}
    assert found.num_rows == len(rows)
    for got, row in zip(found.sort_by("receivedAt").to_pylist(), rows, strict=False):
        assert got["receivedAt"] == datetime.fromisoformat(row["receivedAt"]).astimezone(UTC)
        assert str(got["day"]) == row["receivedAt"][:10]
    assert sorted(found.column("cardId").to_pylist()) == sorted(row["cardId"] for row in rows)
    missing = [json.loads(one) for one in found.column("missing").to_pylist()]
    assert sorted(map(str, missing)) == sorted(str(row["missing"]) for row in rows)


def test_parquet_into_a_folder_has_sums_and_needs_an_empty_one(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    written = list(ParquetFiles(CARD_COLUMNS).into_folder(CardRows(database, selected(database)), folder))

    assert (folder / "_SHA256SUMS").read_bytes() == b"".join(line for line, _ in written)
    assert sum(count for _, count in written) == len(json_rows(database, "ndjson"))
    assert pyarrow.dataset.dataset(folder, partitioning="hive").count_rows() == len(json_rows(database, "ndjson"))
    with pytest.raises(FileExistsError, match="not empty"):
        list(ParquetFiles(CARD_COLUMNS).into_folder(CardRows(database, selected(database)), folder))


STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


def test_no_cell_of_500_is_a_formula(tmp_path: Path) -> None:
    """T15: whatever a caller sends as text."""
    path = tmp_path / "alerts.sqlite3"
    hostile = [f"{STARTS[n % len(STARTS)]}cmd|' /C calc'!A{n}" for n in range(125)]
    with closing(Store(path)) as store:
        store.append(
            [
                a_call(
                    a_card(f"u{n}", about=text.replace("\0", "=")),
                    minute=n,
                    hook_instance=text,
                    client=text.replace("\0", "+"),
                    degraded=text.replace("\0", "-"),
                )
                for n, text in enumerate(hostile)
            ]
        )
    with opened(path) as database:
        rows = table(exported(database, "csv"))

    cells = [row[name] for row in rows for name in ("about", "hookInstance", "client", "degraded", "location")]
    assert len(cells) == 625
    assert all(cell.startswith("'") for cell in cells)
    assert {cell[0] for row in rows for name, cell in row.items() if cell and name != "tableRow"}.isdisjoint(STARTS)


def test_a_reader_of_some_clients_exports_theirs(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    with closing(Store(path)) as store:
        calls = [a_call(a_card(f"u{n}"), minute=n, client=("north", "south")[n % 2], evaluations=EVALUATED) for n in range(8)]
        store.append([msgspec.structs.replace(one, id=new_call_id(one.received_at)) for one in calls])
        store.append([a_feedback("u1", client="south"), a_feedback("u2", client="north")])
    with opened(path) as whole:
        roll_up(whole, UTC_DAYS, lambda: NOW)
        scoped = ScopedDatabase(whole, {"north"}, None)
        for name in ("ndjson", "evaluations-ndjson"):
            rows = json_rows(scoped, name)
            assert [row | {"cursor": ""} for row in rows] == [
                row | {"cursor": ""} for row in json_rows(whole, name) if row["client"] == "north"
            ]
            assert rows
        others = [row for row in json_rows(whole, "evaluations-ndjson") if row["client"] == "south"]
        case = f"{others[0]['call']}/{others[0]['cardId']}/{others[0]['nth']}"
        assert len(json_rows(whole, "evaluations-ndjson", cases=cases_of([case]))) == 1
        assert json_rows(scoped, "evaluations-ndjson", cases=cases_of([case])) == []
        with pytest.raises(OutOfScopeError):
            exported(scoped, "audit-event")
        assert exported(scoped, "measure-report") != exported(whole, "measure-report")
