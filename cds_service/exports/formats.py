"""List what can be exported, and open it as chunks of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from cds_service.access.reader import Role
from cds_service.database import Database
from cds_service.exports.audit_events import AuditEntries, audit_event
from cds_service.exports.card_rows import CardRows
from cds_service.exports.columns import CARD_COLUMNS, EVALUATION_COLUMNS
from cds_service.exports.csv_lines import CsvLines
from cds_service.exports.detected_issues import detected_issue
from cds_service.exports.evaluation_rows import EvaluationRows
from cds_service.exports.fhir_bundles import FhirBundles
from cds_service.exports.guidance_responses import guidance_response
from cds_service.exports.json_lines import JsonLines
from cds_service.exports.measure_reports import measure_report
from cds_service.exports.month_figures import Month, month_figures
from cds_service.exports.parquet_files import ParquetFiles
from cds_service.exports.selection import Selection

CACHE_MB = 4  # of SQLite: an export reads each page of the file about once
Chunks = Iterator[tuple[bytes, int]]  # bytes, each with how many rows they hold


class Format(msgspec.Struct, frozen=True):
    """One kind of export. `open` reads over a connection; `role` is what a reader of the pages needs for it."""

    name: str
    title: str
    ending: str
    media_type: str
    role: Role
    open: Callable[[Database, Selection, datetime], Chunks]
    resumable: bool = False


def _cards(write: Callable[[Iterable[Any]], Chunks]) -> Callable[[Database, Selection, datetime], Chunks]:
    return lambda database, selection, _: write(CardRows(database, selection))


def _evaluations(write: Callable[[Iterable[Any]], Chunks]) -> Callable[[Database, Selection, datetime], Chunks]:
    return lambda database, selection, _: write(EvaluationRows(database, selection))


def _months(database: Database, selection: Selection, at: datetime) -> Chunks:
    """Yield a MeasureReport for each calendar month that the filter's days touch, of the whole month."""
    days = [day for day, _ in selection.spans(database, "call")]
    months = [Month(number) for number in sorted({day // 100 for day in days})]
    scope = repr(selection.chosen.between(None, None).query())
    reports = (measure_report(month_figures(database, one, selection.chosen), one, at, scope) for one in months)
    return FhirBundles(dict)(reports)


_NDJSON, _FHIR = "application/x-ndjson", "application/fhir+ndjson"
FORMATS = {
    one.name: one
    for one in (
        Format(
            "csv", "Cards as CSV, the six fields of HTI-1 first", "csv", "text/csv", "reviewer",
            _cards(CsvLines(CARD_COLUMNS, feedback=True)),
        ),
        Format("ndjson", "Cards as NDJSON", "ndjson", _NDJSON, "reviewer", _cards(JsonLines("card")), resumable=True),
        Format(
            "parquet", "Cards as Parquet, a folder for each tenant and day, in a zip archive", "zip", "application/zip",
            "reviewer", lambda database, selection, _: ParquetFiles(CARD_COLUMNS).into_zip(CardRows(database, selection)),
        ),
        Format(
            "evaluations-csv", "Evaluations as CSV, also those that did not fire", "csv", "text/csv", "reviewer",
            _evaluations(CsvLines(EVALUATION_COLUMNS, feedback=False)),
        ),
        Format(
            "evaluations-ndjson", "Evaluations as NDJSON", "ndjson", _NDJSON, "reviewer", _evaluations(JsonLines("evaluation")),
            resumable=True,
        ),
        Format(
            "evaluations-parquet", "Evaluations as Parquet, in a zip archive", "zip", "application/zip", "reviewer",
            lambda database, selection, _: ParquetFiles(EVALUATION_COLUMNS).into_zip(EvaluationRows(database, selection)),
        ),
        Format(
            "guidance-response", "Evaluations as FHIR R4 GuidanceResponse", "ndjson", _FHIR, "reviewer",
            _evaluations(FhirBundles(guidance_response)),
        ),
        Format(
            "detected-issue", "Cards as FHIR R4 DetectedIssue", "ndjson", _FHIR, "reviewer", _cards(FhirBundles(detected_issue))
        ),
        Format("measure-report", "Months as FHIR R4 MeasureReport, counts only", "ndjson", _FHIR, "viewer", _months),
        Format(
            "audit-event", "The audit as FHIR R4 AuditEvent", "ndjson", _FHIR, "auditor",
            lambda database, selection, _: FhirBundles(audit_event)(AuditEntries(database, selection)),
        ),
    )
}  # fmt: skip
