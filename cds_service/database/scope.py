"""Narrow what is read to the records of some clients and tenants.

Each statement is narrowed here, whoever wrote it: a table that holds records of clients is replaced by its rows of the clients in
the scope, and a table that nothing is known about here is refused. So no page can forget it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from cds_service.database.database import Database, Row
from cds_service.database.errors import OutOfScopeError
from cds_service.database.review_tables import COUNTS

# Rows name their tenant and client.
_OF_CLIENT = {
    *("log.call", "log.card", "log.feedback", "log.refusal", "log.quarantine"),
    *("log.call_elsewhen", "log.card_elsewhen", "log.feedback_elsewhen"),  # of PostgreSQL, see `shipping/partitions`
    *(f"review.{period}_{name}" for period in ("daily", "monthly") for name in COUNTS),
}
# Rows name them too, by their texts.
_OF_NAMED_CLIENT = {"review.signal", "review.signal_watch", "review.body_code", "review.body_source"}
# Rows name a signal.
_OF_SIGNAL = {"review.signal_sighting", "review.signal_entry"}
# Rows name a call.
_OF_CALL = {"review.verdict", "review.sample"}
# Of no client, or found only through the id of a call, card or signal of one.
_OPEN = {
    *("log.name", "log.dictionary", "log.knowledge", "log.outcome_set", "log.outcome_of_set", "log.missing_set"),
    *("log.missing_of_set", "log.body", "log.ordered", "log.delivery", "log.withdrawal", "log.sealed", "log.key_pair"),
    *("log.source", "log.unshipped", "log.body_elsewhen", "log.ordered_elsewhen", "log.delivery_elsewhen"),
    *("review.plan", "review.body_day", "review.signal_run"),
    *("review.dirty_day", "review.rolled_day", "review.rolled_month", "review.rollup_state"),
}
# Counts or texts of all clients together: nobody with a scope sees a row.
_CLOSED = {
    *("review.stratum", "review.saved_view"),
    *("review.change", "review.change_case", "review.change_step"),
}

_TABLE = re.compile(
    r"\b(FROM|JOIN)\s+((?:log|review)\.\w+)"
    r"(?:\s+(?:AS\s+)?(?!(?:WHERE|ON|JOIN|LEFT|INNER|CROSS|GROUP|ORDER|LIMIT|UNION|USING|HAVING)\b)([A-Za-z_]\w*))?",
    re.IGNORECASE,
)
_ANY = re.compile(r"\b(?:log|review)\.\w+")
_Ids = tuple[int, ...] | None


class ScopedDatabase(Database):
    """A connection that shows the records of some clients and tenants. It is lent, so `close` leaves the connection open.

    Reading a table of which it is not known whose records it holds raises OutOfScopeError. What is written is not narrowed: a
    page changes only what it has read.
    """

    def __init__(self, database: Database, clients: Iterable[str] | None, tenants: Iterable[str] | None) -> None:
        """`clients`, `tenants`: names as the log has them; None for all."""
        self._database = database
        self.dialect = database.dialect  # type: ignore[misc]
        self.names = database.names
        self._clients = None if clients is None else tuple(sorted(database.names.ids(*clients)))
        self._tenants = None if tenants is None else tuple(sorted(database.names.ids(*tenants)))

    @property
    def usable(self) -> bool:
        return self._database.usable

    def close(self) -> None:
        pass

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Return the rows of the statement that are in the scope. Raises OutOfScopeError."""
        return self._database.rows(narrowed(sql, self._clients, self._tenants), **parameters)

    def exclusive(self, lock: int) -> AbstractContextManager[None]:
        return self._database.exclusive(lock)

    def _transaction(self) -> AbstractContextManager[None]:
        return self._database.transaction()

    def execute(self, sql: str, **parameters: Any) -> int:
        return self._database.execute(sql, **parameters)

    def execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._database.execute_many(sql, rows)

    def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        raise NotImplementedError("rows are read through `rows`, which narrows the statement")

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> int:
        raise NotImplementedError("statements run through `execute`")

    def _execute_many(self, sql: str, rows: Iterable[Mapping[str, Any]]) -> None:
        raise NotImplementedError("statements run through `execute_many`")


@lru_cache(maxsize=1024)
def narrowed(sql: str, clients: _Ids, tenants: _Ids) -> str:
    """Return the statement with each table narrowed to ids of `log.name`. Raises OutOfScopeError for an unknown table."""
    limits = [
        f"{column} IN ({', '.join(map(str, ids)) or 'NULL'})"
        for column, ids in (("client", clients), ("tenant", tenants))
        if ids is not None
    ]
    if not limits:
        return sql
    if len(_ANY.findall(sql)) != len(_TABLE.findall(sql)):
        raise OutOfScopeError("a statement names a table elsewhere than after FROM or JOIN")
    own = " AND ".join(limits)
    named = " AND ".join(
        f"{column} IN (SELECT text FROM log.name WHERE id IN ({', '.join(map(str, ids)) or 'NULL'}))"
        for column, ids in (("client", clients), ("tenant", tenants))
        if ids is not None
    )

    def table(match: re.Match[str]) -> str:
        word, name, alias = match[1], match[2].lower(), match[3]
        if name in _OPEN:
            return match[0]
        if name in _OF_CLIENT:
            where = own
        elif name in _OF_NAMED_CLIENT:
            where = named
        elif name in _OF_SIGNAL:
            where = f"signal IN (SELECT id FROM review.signal WHERE {named})"
        elif name in _OF_CALL:
            where = (
                f"EXISTS (SELECT 1 FROM log.call scoped WHERE scoped.received_at = {name}.received_at "
                f"AND scoped.id = {name}.call_id AND {' AND '.join(f'scoped.{limit}' for limit in limits)})"
            )
        elif name in _CLOSED:
            where = "1 = 0"
        else:
            raise OutOfScopeError(f"it is not known whose records {name} holds")
        return f"{word} (SELECT * FROM {name} WHERE {where}) {alias or name.partition('.')[2]}"

    return _TABLE.sub(table, sql)
