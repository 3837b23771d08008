"""List the codes, units and statuses that were not understood, by client, from the log's facts."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec

from cds_service.alert_log.store import instant, open_for_reading

_UNREAD = """SELECT client, one.value ->> 'kind' AS kind, one.value ->> 'system' AS system, one.value ->> 'code' AS code,
        one.value ->> 'meaning' AS meaning, count(DISTINCT call.seq) AS calls, max(received_at) AS last
    FROM call, json_each(facts, '$.unread') AS one
    WHERE facts IS NOT NULL AND received_at >= :since AND (:client IS NULL OR client = :client)
    GROUP BY 1, 2, 3, 4, 5 ORDER BY calls DESC, client, kind, system, code"""


class UnreadCode(msgspec.Struct, frozen=True):
    """One code, unit or status that was not understood, of one client.

    `calls`: how many of its calls had it; `last`: when the last of them came.
    """

    client: str
    kind: str
    system: str
    code: str
    meaning: str  # of its name, see `facts.Unread`
    calls: int
    last: str  # ISO 8601, UTC


def unread_codes(path: Path, since: datetime | None, client: str | None) -> list[UnreadCode]:
    """Return the codes not understood since `since` (aware), the most frequent first, of one client or of all.

    Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError.
    """
    query = {"since": "" if since is None else instant(since), "client": client}
    with closing(open_for_reading(path)) as connection:
        return [UnreadCode(*row) for row in connection.execute(_UNREAD, query)]
