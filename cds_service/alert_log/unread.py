"""List the codes, units and statuses that were not understood, by client, from the log's facts."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec

from cds_service.alert_log.instants import iso, micros
from cds_service.alert_log.reading import bodies_of, open_for_reading
from cds_service.criteria.facts import Unread

_CALLS = """SELECT seq, received_at, text AS client FROM call JOIN name ON name.id = client
    WHERE repeat_of IS NULL AND received_at >= :since AND (:client IS NULL OR text = :client) ORDER BY received_at"""


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


class _Facts(msgspec.Struct):
    """The member of facts that is looked at; the others are skipped."""

    unread: list[Unread] = []


_facts = msgspec.json.Decoder(_Facts | None)


def unread_codes(path: Path, since: datetime | None, client: str | None) -> list[UnreadCode]:
    """Return the codes not understood since `since` (aware), the most frequent first, of one client or of all.

    Raises FileNotFoundError, SchemaMismatchError, sqlite3.DatabaseError, and what `reading.bodies_of` says.
    """
    counts: dict[tuple[str, str, str, str, str], tuple[int, int]] = {}
    asked = {"since": -(2**63) if since is None else micros(since), "client": client}
    with closing(open_for_reading(path)) as connection:
        body_of = bodies_of(connection)
        for call in connection.execute(_CALLS, asked):
            body = body_of(call["seq"])
            facts = None if body is None else _facts.decode(body.facts)
            for one in {(code.kind, code.system, code.code, code.meaning) for code in facts.unread} if facts is not None else ():
                key = (call["client"], *one)
                counts[key] = (counts.get(key, (0, 0))[0] + 1, call["received_at"])
    ordered = sorted(counts.items(), key=lambda item: (-item[1][0], item[0][:4]))
    return [UnreadCode(*key, calls, iso(last)) for key, (calls, last) in ordered]
