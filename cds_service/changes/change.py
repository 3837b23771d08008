"""Keep changes of cards and what people did with them. Rows are only added: a withdrawn signature is a further row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from cds_service.access.reader import Reader
from cds_service.database import Database

MOST_WHY = 4000  # characters

Action: TypeAlias = Literal["signed", "unsigned", "withdrawn", "approved"]
State: TypeAlias = Literal["open", "withdrawn", "approved"]


class ChangeError(ValueError):
    """Raised for what can't be done with a change. The text is for the reader."""


class Step(msgspec.Struct, frozen=True):
    """What somebody did. `at`: µs since 1970; `owner`: as a rule owner."""

    at: int
    reader: str
    owner: bool
    action: Action
    note: str = ""


class Case(msgspec.Struct, frozen=True):
    """A judged case that is a reason for the change: hex id of the call, its receipt (µs), card, which evaluation, from 1."""

    call_id: str
    received_at: int
    card: str
    nth: int


class Change(msgspec.Struct, frozen=True):
    """One change of a card.

    `card_hash`: content hash of the card as it should be. `candidate`, `base`: hashes of the whole knowledge as it should be, and
    as it was; `base` is "" where only a person knows. `backtest`: the id of the proof. `signal`: None without one.
    """

    id: int
    at: int  # µs since 1970
    author: str
    card: str
    card_hash: str
    candidate: str
    base: str
    backtest: str
    signal: int | None
    why: str
    cases: Sequence[Case] = ()
    steps: Sequence[Step] = ()

    @property
    def state(self) -> State:
        """Return where it stands: an approved one stays approved."""
        actions = {one.action for one in self.steps}
        return "approved" if "approved" in actions else "withdrawn" if "withdrawn" in actions else "open"

    @property
    def signatures(self) -> list[Step]:
        """Return the signatures that stand, one of each reader, the first first."""
        newest: dict[str, Step] = {}
        for one in self.steps:
            if one.action in ("signed", "unsigned"):
                newest.pop(_person(one.reader), None)
                newest[_person(one.reader)] = one
        return [one for one in newest.values() if one.action == "signed"]

    @property
    def approved_at(self) -> int | None:
        """Return when the approval was written, µs since 1970; None before."""
        return next((one.at for one in self.steps if one.action == "approved"), None)

    def signed_by(self, reader: str) -> bool:
        """Tell whether a reader's signature stands."""
        return any(_person(one.reader) == _person(reader) for one in self.signatures)


def _person(name: str) -> str:
    return " ".join(name.casefold().split())


def propose(
    database: Database,
    reader: Reader,
    *,
    card: str,
    card_hash: str,
    candidate: str,
    base: str,
    backtest: str,
    signal: int | None,
    why: str,
    cases: Iterable[Case],
    at: int,
) -> int:
    """Keep a new change; return its id. Raises ChangeError without a name of the reader or a reason."""
    why = why.replace("\r\n", "\n").strip()
    if not reader.name:
        raise ChangeError("Give your name first: a change says who proposes it")
    if not why or len(why) > MOST_WHY:
        raise ChangeError(f"Say why, in 1 to {MOST_WHY} characters")
    with database.transaction():
        row = database.one(
            """INSERT INTO review.change (at, author, card, card_hash, candidate, base, backtest, signal, why)
            VALUES (:at, :author, :card, :card_hash, :candidate, :base, :backtest, :signal, :why) RETURNING id""",
            at=at,
            author=reader.name,
            card=card,
            card_hash=card_hash,
            candidate=candidate,
            base=base,
            backtest=backtest,
            signal=signal,
            why=why,
        )
        assert row is not None  # noqa: S101 - RETURNING
        database.execute_many(
            """INSERT INTO review.change_case (change, call_id, received_at, card, nth)
            VALUES (:change, :call_id, :received_at, :card, :nth)""",
            [msgspec.structs.asdict(one) | {"change": row["id"], "call_id": bytes.fromhex(one.call_id)} for one in cases],
        )
    return int(row["id"])


def sign(database: Database, change: Change, reader: Reader, *, at: int) -> None:
    """Add the reader's signature. Raises ChangeError for one who has signed already, has no name, or comes too late."""
    _expect_open(change)
    if not reader.name:
        raise ChangeError("Give your name first: a signature without one is none")
    if change.signed_by(reader.name):
        raise ChangeError("You have signed this change already; it needs another person")
    add_step(database, change.id, Step(at, reader.name, reader.may("rule owner"), "signed"))


def take_back(database: Database, change: Change, reader: Reader, *, at: int) -> None:
    """Take the reader's signature back, by a further row. Raises ChangeError where there is none."""
    _expect_open(change)
    if not change.signed_by(reader.name):
        raise ChangeError("You have not signed this change")
    add_step(database, change.id, Step(at, reader.name, reader.may("rule owner"), "unsigned"))


def withdraw(database: Database, change: Change, reader: Reader, *, at: int) -> None:
    """Withdraw the change. Raises ChangeError where it is decided already."""
    _expect_open(change)
    add_step(database, change.id, Step(at, reader.name, reader.may("rule owner"), "withdrawn"))


def add_step(database: Database, change: int, step: Step) -> None:
    """Add what somebody did."""
    database.execute(
        """INSERT INTO review.change_step (change, at, reader, owner, action, note)
        VALUES (:change, :at, :reader, :owner, :action, :note)""",
        change=change,
        **(msgspec.structs.asdict(step) | {"owner": int(step.owner)}),
    )


def _expect_open(change: Change) -> None:
    if change.state != "open":
        raise ChangeError(f"This change is {change.state}, so nothing is added to it")


def find_change(database: Database, number: int) -> Change | None:
    """Return a change; None where there is none."""
    return next(iter(_read(database, "WHERE id = :number", number=number)), None)


def changes(database: Database, card: str = "", signal: int | None = None) -> list[Change]:
    """Return the changes of a card ("" for all) or for a signal, the newest first."""
    which = "WHERE (:card = '' OR card = :card) AND (:any = 1 OR signal = :signal)"
    return _read(database, which, card=card, any=int(signal is None), signal=signal or 0)


def _read(database: Database, which: str, **parameters: Any) -> list[Change]:
    rows = database.rows(f"SELECT * FROM review.change {which} ORDER BY id DESC", **parameters)  # noqa: S608 - our own words
    return [_change(database, row) for row in rows]


def _change(database: Database, row: dict[str, Any]) -> Change:
    cases = database.rows("SELECT * FROM review.change_case WHERE change = :id ORDER BY received_at, call_id, nth", id=row["id"])
    steps = database.rows("SELECT * FROM review.change_step WHERE change = :id ORDER BY seq", id=row["id"])
    return Change(
        **{
            name: row[name]
            for name in ("id", "at", "author", "card", "card_hash", "candidate", "base", "backtest", "signal", "why")
        },
        cases=[Case(bytes(one["call_id"]).hex(), one["received_at"], one["card"], one["nth"]) for one in cases],
        steps=[Step(one["at"], one["reader"], bool(one["owner"]), one["action"], one["note"]) for one in steps],
    )
