"""Decide whether a file may hold a made-up log, so that made-up records never stand among those of a real service."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from cds_service.alert_log.reading import has_old_rows, open_for_reading
from cds_service.demo.clients import CLIENTS
from cds_service.demo.mark import read_mark

_BESIDE = ("", "-wal", "-shm", "-lock")  # files of one SQLite database, and the log's lock
_ELSEWHERE = "demo-log writes into a new file only (--into FOLDER)"


class ForeignLogError(ValueError):
    """Raised for a log that holds records which this program did not make."""


def clear_for(log_path: Path, review_path: Path) -> None:
    """Make room for a made-up log at `log_path`.

    An earlier made-up log is removed, together with its cards and with what was counted of it and judged in it at `review_path`.
    A log without any call is used as it is. Raises ForeignLogError where the file holds other records or is no log of this
    program, OSError.
    """
    if log_path.exists():
        clients = _clients(log_path)
        if clients and read_mark(log_path) is None:
            raise ForeignLogError(f"{log_path} holds records of a service; {_ELSEWHERE}")
        if strange := clients - {one.name for one in CLIENTS}:
            raise ForeignLogError(
                f"{log_path} was made by demo-log, and a service has added calls of {', '.join(sorted(strange))} since: "
                f"remove it yourself; {_ELSEWHERE}"
            )
        if clients:
            _remove(log_path)
            _remove(review_path)
    if made_up_cards(log_path).exists():
        shutil.rmtree(made_up_cards(log_path))
    log_path.parent.mkdir(parents=True, exist_ok=True)


def made_up_cards(log_path: Path) -> Path:
    """Return where the cards stand with which a made-up log ends: those that a service of this log would run now."""
    return log_path.with_name(f"{log_path.name}.made-up-cards")


def review_line(log_path: Path) -> str:
    """Return the line for a shell that starts the review pages over a made-up log."""
    places = {"CDS_LOG_PATH": log_path, "CDS_CARDS_DIR": made_up_cards(log_path)}
    return " ".join([*(f"{name}={shlex.quote(str(path))}" for name, path in places.items()), "cds-service review"])


def _clients(log_path: Path) -> set[str]:
    """Return the names of the clients whose calls are in the log. Raises ForeignLogError where that can't be told."""
    try:
        with closing(open_for_reading(log_path)) as connection:
            if has_old_rows(connection):
                raise ForeignLogError(f"{log_path} holds records of version 0.1.0; {_ELSEWHERE}")
            return {
                text for (text,) in connection.execute("SELECT text FROM name WHERE id IN (SELECT DISTINCT client FROM call)")
            }
    except sqlite3.DatabaseError as error:
        raise ForeignLogError(f"{log_path} can't be read as an alert log ({error}); {_ELSEWHERE}") from None


def _remove(path: Path) -> None:
    for ending in _BESIDE:
        path.with_name(path.name + ending).unlink(missing_ok=True)
