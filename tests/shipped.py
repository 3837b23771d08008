"""Compare a log's file with what arrived in PostgreSQL, word by word."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from cds_service.shipping.tables import SETS, TABLES

Rows = list[tuple[Any, ...]]


def ask(url: str, query: str) -> Rows:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def assert_same(path: Path, url: str) -> None:
    """Everything of the file is in PostgreSQL, once, with the same words, and nothing else is."""
    with closing(sqlite3.connect(path)) as file, psycopg.connect(url) as database:
        of_file = names_of(file.execute("SELECT id, text FROM name").fetchall())
        of_database = names_of(database.execute("SELECT id, text FROM log.name").fetchall())
        for table in TABLES:
            kept = [column for column in table.columns if column not in {"outcome_set", "missing_set"}]
            places = tuple(place for place, column in enumerate(kept) if column in table.names)
            columns = ", ".join(kept)
            if table.name == "body":
                here = file.execute("SELECT tenant, received_at, id, content FROM call JOIN body USING (seq)").fetchall()
            else:
                here = file.execute(f"SELECT {columns} FROM {table.name}").fetchall()  # noqa: S608 - written here
            there = database.execute(f"SELECT {columns} FROM log.{table.name}".encode()).fetchall()  # noqa: S608 - written here
            assert _in_words(there, of_database, places) == _in_words(here, of_file, places), table.name
        for kind in SETS:
            columns = ", ".join(["call.id", *(f"one.{column}" for column in kind.columns)])
            query = f"SELECT {columns} FROM {{0}}call JOIN {{0}}{kind.members} one ON one.set_id = call.{kind.name}"  # noqa: S608 - written here
            places = tuple(place + 1 for place in kind.of_names)
            here = file.execute(query.format("")).fetchall()
            there = database.execute(query.format("log.").encode()).fetchall()
            assert _in_words(there, of_database, places) == _in_words(here, of_file, places), kind.name


def names_of(rows: Rows) -> dict[int, str]:
    return {row[0]: row[1] for row in rows}


def _in_words(rows: Rows, names: dict[int, str], places: tuple[int, ...]) -> Rows:
    """Rows with the texts of their names, in an order of their own."""
    found = [
        tuple(names[value] if place in places and value is not None else value for place, value in enumerate(row)) for row in rows
    ]
    return sorted(found, key=repr)
