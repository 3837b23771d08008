"""List the tables that are shipped: their columns, and which of these hold ids that each database gives out itself."""

from __future__ import annotations

from typing import LiteralString

import msgspec


def insert_of(table: LiteralString, columns: tuple[LiteralString, ...]) -> LiteralString:
    """Return the statement that inserts a row into a table of PostgreSQL, unless it is there already."""
    places = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO log.{table} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608


class Table(msgspec.Struct, frozen=True):
    """One table of the log, as it is in the file and in PostgreSQL.

    `columns`: those that both have, in the order of rows. Where `sent`, each row is a record of its own with a `seq`; else its
    rows belong to a call. Where `marked`, its rows have no id, and get a mark of their content instead.
    """

    name: LiteralString
    columns: tuple[LiteralString, ...]
    names: frozenset[str] = frozenset()  # columns with an id of `log.name`
    sent: bool = True
    marked: bool = False

    @property
    def of_names(self) -> tuple[int, ...]:
        """Return the places of the columns with names in `columns`."""
        return tuple(place for place, column in enumerate(self.columns) if column in self.names)

    @property
    def insert(self) -> LiteralString:
        """Return the statement that inserts a row, unless it is there already."""
        before: tuple[LiteralString, ...] = ("source", "seq") if self.sent else ()
        after: tuple[LiteralString, ...] = ("mark",) if self.marked else ()
        return insert_of(self.name, (*before, *self.columns, *after))


def _columns(text: LiteralString) -> tuple[LiteralString, ...]:
    return tuple(text.split())


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALL = Table(
    "call",
    _columns(
        "id received_at tenant client service hook status outcome key patient user_key encounter orders instance repeat_of "
        "digest service_version knowledge jurisdiction dialect took_us bytes_in bytes_out clock_offset_ms degraded outcome_set "
        "missing_set"
    ),
    _names("tenant client service hook outcome service_version knowledge jurisdiction dialect degraded"),
)
BODY = Table("body", _columns("tenant received_at call_id content"), _names("tenant"), sent=False)
CARD = Table(
    "card",
    _columns(
        "received_at call_id position uuid tenant client hook card version content_hash table_row indicator mode state key "
        "patient order_key about"
    ),
    _names("tenant client hook card version content_hash indicator mode state"),
    sent=False,
)
ORDERED = Table("ordered", _columns("order_key received_at call_id"), sent=False)
DELIVERY = Table("delivery", _columns("received_at call_id log_us total_us delivered"))
WITHDRAWAL = Table("withdrawal", _columns("received_at call_id at"))
FEEDBACK = Table(
    "feedback",
    _columns(
        "id received_at tenant client service card_uuid outcome reason_system reason_code reason_display accepted comment_length "
        "outcome_at outcome_timestamp"
    ),
    _names("tenant client service outcome reason_system reason_code reason_display"),
)
REFUSAL = Table(
    "refusal", _columns("received_at tenant client hook status reason n"), _names("tenant client hook reason"), marked=True
)
QUARANTINE = Table(
    "quarantine",
    _columns("received_at kind record_id error service client tenant item"),
    _names("kind service client tenant"),
    marked=True,
)
SEALED = Table("sealed", _columns("received_at of kind key_id content"), _names("kind"))
KEY_PAIR = Table("key_pair", _columns("received_at kind old_key old new_key new"), _names("kind"))

RECORDS = (CALL, DELIVERY, WITHDRAWAL, FEEDBACK, REFUSAL, QUARANTINE, SEALED, KEY_PAIR)  # those with a seq
TABLES = (*RECORDS, BODY, CARD, ORDERED)
PARTITIONED: tuple[LiteralString, ...] = ("call", "body", "card", "ordered", "delivery", "feedback")  # by month of received_at


class NameSet(msgspec.Struct, frozen=True):
    """A table of sets that calls share, and the table of their members; both databases number sets by themselves."""

    name: LiteralString  # also the column of `call`
    members: LiteralString
    columns: tuple[LiteralString, ...]  # of a member, without its set
    names: frozenset[str]

    @property
    def of_names(self) -> tuple[int, ...]:
        return tuple(place for place, column in enumerate(self.columns) if column in self.names)


OUTCOMES = NameSet(
    "outcome_set",
    "outcome_of_set",
    _columns("card version content_hash outcome table_row applies n"),
    _names("card version content_hash outcome"),
)
MISSING = NameSet("missing_set", "missing_of_set", _columns("card criterion cause n"), _names("card criterion cause"))
SETS = (OUTCOMES, MISSING)
