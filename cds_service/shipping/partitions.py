"""Make the monthly partitions of the log in PostgreSQL, ahead of their month and when a record needs one.

A record of a month that can't be true (a clock that jumped) goes to the default partition, which should stay empty: the shipper
counts it, and an alarm goes with that count.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from cds_service.shipping.schema import LOCK
from cds_service.shipping.tables import PARTITIONED

_FIRST_YEAR = 2020  # nothing was logged before
_AHEAD = 2  # months after this one that have partitions


class Month(NamedTuple):
    """A month in UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, at: datetime) -> Month:
        """Return the month of an aware time."""
        moment = at.astimezone(UTC)
        return cls(moment.year, moment.month)

    def after(self, months: int = 1) -> Month:
        """Return the month so many months later."""
        years, number = divmod(self.number - 1 + months, 12)
        return Month(self.year + years, number + 1)

    @property
    def begins(self) -> int:
        """Microseconds since 1970, UTC."""
        return int(datetime(self.year, self.number, 1, tzinfo=UTC).timestamp()) * 1_000_000

    @property
    def partition(self) -> str:
        """Return the end of the names of its partitions."""
        return f"{self.year}_{self.number:02}"


class Partitions:
    """The partitions of one database, as far as one connection knows them."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._made: set[Month] = set()

    def make_for(self, moments: Iterable[int], now: datetime) -> int:
        """Make what these moments (microseconds since 1970), this month and the next two need.

        Returns how many of the moments stay without a partition of their month. Raises psycopg.Error.
        """
        this_month = Month.of(now)
        ahead = [this_month.after(months) for months in range(_AHEAD + 1)]
        first, last = Month(_FIRST_YEAR, 1), ahead[-1]
        untrue = 0
        wanted = set(ahead)
        for at in moments:
            if first.begins <= at < last.after().begins:
                wanted.add(Month.of(datetime.fromtimestamp(at // 1_000_000, UTC)))
            else:
                untrue += 1
        for month in sorted(wanted - self._made):
            self._make(month)
            self._made.add(month)
        return untrue

    def _make(self, month: Month) -> None:
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            for table in PARTITIONED:
                name = f"{table}_{month.partition}"
                if self._connection.execute("SELECT to_regclass(%s)", (f"log.{name}",)).fetchone() == (None,):
                    self._attach(table, name, month)

    def _attach(self, table: str, name: str, month: Month) -> None:
        """Make a partition beside its table and attach it: readers of the table wait less than for one made in place.

        Rows of its month that went to the default partition move into it.
        """
        parts = {
            "table": sql.Identifier("log", table),
            "new": sql.Identifier("log", name),
            "default": sql.Identifier("log", f"{table}_elsewhen"),
            "begins": sql.Literal(month.begins),
            "ends": sql.Literal(month.after().begins),
        }
        for statement in (
            "CREATE TABLE {new} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)",
            """WITH moved AS (DELETE FROM {default} WHERE received_at >= {begins} AND received_at < {ends} RETURNING *)
                INSERT INTO {new} SELECT * FROM moved""",
            "ALTER TABLE {table} ATTACH PARTITION {new} FOR VALUES FROM ({begins}) TO ({ends})",
        ):
            self._connection.execute(sql.SQL(statement).format(**parts))
