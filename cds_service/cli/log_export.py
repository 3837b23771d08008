"""Run `cds-service log export`: hand out the log on standard output or into a folder, with an entry in the audit."""

from __future__ import annotations

import argparse
import getpass
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from cds_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from cds_service.database import Database
    from cds_service.exports.audited import Enter
    from cds_service.exports.selection import Selection

_PARQUET = ("parquet", "evaluations-parquet")
# Written out, so that `--help` needs none of the libraries; tests/cli compare them with exports/formats.
FORMATS = (
    "csv", "ndjson", "parquet", "evaluations-csv", "evaluations-ndjson", "evaluations-parquet",
    "guidance-response", "detected-issue", "measure-report", "audit-event",
)  # fmt: skip


def add_log_export_command(log: argparse._SubParsersAction[Any], instant: Callable[[str], datetime]) -> None:
    """Add `export` to the commands under `log`; `instant` reads a time from an argument."""
    export = log.add_parser("export", help="write the log to standard output, one row per card or evaluation")
    export.add_argument("--format", choices=FORMATS, required=True)
    export.add_argument("--since", type=instant, help="only calls from this ISO time on, UTC where no zone is given")
    export.add_argument(
        "--filter",
        default="",
        metavar="QUERY",
        help='what stands behind the ? of a page of the log: "card=quinine-avoid&days=7"',
    )
    export.add_argument("--after", default="", metavar="CURSOR", help="go on behind the row with this cursor (ndjson)")
    export.add_argument("--calls", action="store_true", help="the file's calls whole, those without cards too (ndjson)")
    export.add_argument("--output", type=Path, metavar="FOLDER", help="a new folder, for the files of Parquet")
    export.add_argument("--reason", default="", help="what it is for; the audit keeps it")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from cds_service.access.audit import AuditError
    from cds_service.database import DatabaseError, open_site_database
    from cds_service.exports.call_details import DamagedBodyError
    from cds_service.exports.formats import CACHE_MB
    from cds_service.exports.parquet_files import MissingExtraError

    settings = load_settings()
    if wrong := _wrong_usage(options):
        print(wrong, file=sys.stderr)
        return 2
    if not settings.log_database_url and not settings.log_path.exists():
        print(f"{settings.log_path}: there is no alert log yet; CDS_LOG_PATH names the file", file=sys.stderr)
        return 1
    if not options.reason:
        print("no --reason was given; the audit says so", file=sys.stderr)
    try:
        with (
            closing(open_site_database(settings, limit_ms=None, writes_review=True, cache_mb=CACHE_MB)) as database,
            closing(open_site_database(settings, writes_review=True, cache_mb=CACHE_MB)) as audit,
        ):
            for chunk in _chunks(options, settings, database, _entering(options, audit)):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    except (AuditError, DamagedBodyError, MissingExtraError, ValueError) as error:
        print(f"the export ended: {error}", file=sys.stderr)
        return 1
    except DatabaseError as error:
        print(error if settings.log_database_url else f"{settings.log_path}: {error}", file=sys.stderr)
        return 1
    except sqlite3.DatabaseError as error:  # of `--calls`, which reads the file itself
        print(f"{settings.log_path}: cannot be read as an alert log ({error})", file=sys.stderr)
        return 1
    return _old_calls_left(settings)


def _wrong_usage(options: argparse.Namespace) -> str:
    """Return what is wrong with the options, "" for nothing."""
    if options.calls and options.format != "ndjson":
        return "--calls needs --format ndjson"
    if options.calls and (options.filter or options.after):
        return "--calls takes --since, and no --filter or --after"
    if (options.format in _PARQUET) != (options.output is not None):
        return "Parquet is files in a folder: --format parquet and --output FOLDER go together"
    if options.after and options.format not in ("ndjson", "evaluations-ndjson"):
        return "--after needs a format whose rows have a cursor: ndjson, evaluations-ndjson"
    return ""


def _entering(options: argparse.Namespace, audit: Database) -> Enter:
    """Return what enters in the audit, as the user of the operating system."""
    from cds_service.access.audit import append
    from cds_service.alert_log.instants import micros
    from cds_service.clock import utc_now

    reader = f"os:{getpass.getuser()}"
    since = f"&since={options.since.isoformat()}" if options.since is not None else ""
    chosen = f"log export --format {options.format}{' --calls' if options.calls else ''}?{options.filter}{since}"

    def enter(action: str, detail: Mapping[str, Any]) -> None:
        append(audit, micros(utc_now()), reader, action, chosen, options.reason, detail)

    return enter


def _chunks(options: argparse.Namespace, settings: Settings, database: Database, enter: Enter) -> Iterator[bytes]:
    """Yield the bytes for standard output. Raises AuditError, ValueError for a filter or cursor that is none."""
    from cds_service.clock import utc_now
    from cds_service.exports.audited import audited
    from cds_service.exports.card_rows import CardRows
    from cds_service.exports.columns import CARD_COLUMNS, EVALUATION_COLUMNS
    from cds_service.exports.evaluation_rows import EvaluationRows
    from cds_service.exports.formats import FORMATS as BY_NAME
    from cds_service.exports.parquet_files import ParquetFiles

    about = {"format": options.format} | ({"after": options.after} if options.after else {})
    if options.calls:
        yield from audited(_whole_calls(settings, options.since), enter, about | {"calls": "yes"})
        return
    selection = _selection(options, settings, database)
    if options.output is None:
        yield from audited(BY_NAME[options.format].open(database, selection, utc_now()), enter, about)
        return
    if options.format == "parquet":
        files = ParquetFiles(CARD_COLUMNS).into_folder(CardRows(database, selection), options.output)
    else:
        files = ParquetFiles(EVALUATION_COLUMNS).into_folder(EvaluationRows(database, selection), options.output)
    yield from audited(files, enter, about)


def _selection(options: argparse.Namespace, settings: Settings, database: Database) -> Selection:
    from cds_service.alert_log.instants import micros
    from cds_service.clock import utc_now
    from cds_service.exports.cursor import Cursor, Snapshot
    from cds_service.exports.selection import Selection
    from cds_service.rollups.days import SiteDays
    from cds_service.rollups.filter import Filter

    days = SiteDays(settings.time_zone)
    after = Cursor.parse(options.after) if options.after else None
    return Selection(
        Filter.from_query(parse_qsl(options.filter, keep_blank_values=True), days.day_of(micros(utc_now()))),
        days,
        after.snapshot if after is not None else Snapshot.now(database),
        since=None if options.since is None else micros(options.since),
        after=after,
    )


def _whole_calls(settings: Settings, since: datetime | None) -> Iterator[tuple[bytes, int]]:
    from cds_service.alert_log.export import call_lines

    return call_lines(settings.log_path, since)


def _old_calls_left(settings: Settings) -> int:
    from cds_service.alert_log.reading import old_calls

    if settings.log_path.exists() and not settings.log_database_url and (left := old_calls(settings.log_path)):
        print(f"{left} calls of version 0.1.0 are not among these rows: run `cds-service log compact` first", file=sys.stderr)
        return 1
    return 0
