"""The monthly report: figures with n and intervals, nothing of a person, small counts hidden across tenants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.cli.main import main
from cds_service.database import Database
from cds_service.exports.measure_reports import measure_report
from cds_service.exports.month_figures import Month, month_figures
from cds_service.fhir.validation import problems_r4b
from cds_service.review.monthly_report import monthly_report
from cds_service.rollups.filter import Filter
from cds_service.rollups.rollup import roll_up
from tests.core import NOW, knowledge
from tests.exports.exporting import UTC_DAYS, opened
from tests.log_tables import make_sqlite_log
from tests.review.fired_log import pages
from tests.rollups.fill import SqliteFiller
from tests.rollups.synthetic import Shape, SyntheticLog

MONTH = Month(202511)
SHAPE = Shape(calls=260, days=3, cards=6, clients=3, tenants=3, users=20, patients=40)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log of three tenants, all of whose calls are of one month."""
    path = tmp_path_factory.mktemp("log") / "alerts.sqlite3"
    make_sqlite_log(path)
    made = SyntheticLog(SHAPE)
    with closing(SqliteFiller(path)) as filler:
        filler.start(made)
        for rows in made.days():
            filler.fill(made, rows)
    with opened(path) as database:
        roll_up(database, UTC_DAYS, lambda: NOW)
    return path


@pytest.fixture
def database(log: Path) -> Iterator[Database]:
    with opened(log) as database:
        yield database


def test_small_counts_are_hidden_where_tenants_are_added_up_and_only_there(database: Database) -> None:
    whole = month_figures(database, MONTH, Filter())
    assert whole.tenants == 3
    assert whole.suppressed
    counts = [
        getattr(part, name)
        for one in (*whole.cards, whole.total)
        for part in (one.responses, one.checks)
        for name in part.__struct_fields__
    ]
    assert None in counts
    assert all(n is None or n == 0 or n >= 11 for n in counts)

    tenant = database.rows("SELECT DISTINCT tenant FROM review.daily_call ORDER BY 1")[0]["tenant"]
    own = month_figures(database, MONTH, Filter.of(tenant=database.names.text(tenant)))
    assert not own.suppressed
    assert any(0 < (one.responses.accepted or 0) < 11 for one in own.cards)


def test_rates_are_made_of_numbers_that_are_shown(database: Database) -> None:
    report = monthly_report(database, knowledge(), MONTH, Filter())

    assert any(one.acceptance is None for one in report.lines)
    for one in (*report.lines, report.total):
        if one.acceptance is not None:
            assert one.figures.responses.accepted is not None
            assert one.acceptance.numerator == one.figures.responses.accepted
        if one.fire_rate is not None:
            assert one.figures.checks.not_fired is not None
    assert len(report.history) == 12


def test_the_measure_report_masks_what_is_hidden(database: Database) -> None:
    made = measure_report(month_figures(database, MONTH, Filter()), MONTH, NOW, "")

    assert problems_r4b(made) == []
    populations = [one for group in made["group"] for one in group["population"]]
    masked = [one for one in populations if "count" not in one]
    assert masked
    assert all(one["_count"]["extension"][0]["valueCode"] == "masked" for one in masked)
    assert all(one["count"] == 0 or one["count"] >= 11 for one in populations if "count" in one)


def test_the_command_writes_one_file_that_asks_for_nothing_and_names_nobody(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(log))

    assert main(["report", "--month", "2025-11"]) == 0
    page = capfd.readouterr().out
    assert "<h1>Alerts of 2025-11</h1>" in page
    assert "counts from 1 to 10 are hidden" in page
    assert "@media print" in page
    assert "<svg" in page
    assert not re.search(r"(?:src|href)=|https?://|<script|[0-9a-f]{32}", page)
    assert main(["report", "--month", "November"]) == 2
    assert "YYYY-MM" in capfd.readouterr().err


async def test_the_page_has_the_same_figures(log: Path) -> None:
    async with pages(log.parent, "Ann") as client:
        html = (await client.get("/review/report/2025-11")).text
        data = (await client.get("/review/report/2025-11.json")).json()["report"]
        wrong = await client.get("/review/report/2025-13")

    assert "counts from 1 to 10 are hidden" in html
    assert "2025-10" in html
    assert data["figures"]["tenants"] == 3
    assert wrong.status_code == 404


def test_months_follow_each_other() -> None:
    assert [Month(202511).plus(n).text for n in (-11, -1, 0, 1, 2, 14)] == [
        "2024-12", "2025-10", "2025-11", "2025-12", "2026-01", "2027-01",
    ]  # fmt: skip
    assert (Month.parse("2024-02").first, Month.parse("2024-02").last) == (20240201, 20240229)
    for text in ("2025-00", "2025-13", "25-01", "2025-1", "2025/01", "", "२०२५-०१"):
        with pytest.raises(ValueError, match="YYYY-MM"):
            Month.parse(text)
