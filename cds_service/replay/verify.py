"""Verify the record: the knowledge of its time, over its facts, must give its evaluations and its cards again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import msgspec

from cds_service.database import open_site_database
from cds_service.replay.again import decide_again
from cds_service.replay.knowledge import ArchivedCards, Lacking
from cds_service.replay.processes import in_processes
from cds_service.replay.records import Record, Records
from cds_service.replay.same import address_in, comparable_cards, comparable_evaluations, stand_in_for
from cds_service.settings import Settings

BATCH = 500  # records of one piece of work
FOR_EVER = 2**62  # µs, beyond any record

# refused: no facts, as the call got no cards. no_body: deleted. engine_failed: a fault ended the evaluation, and no record can
# bring a fault back.
Unverifiable: TypeAlias = Literal["refused", "no_body", "engine_failed"] | Lacking

WHY: dict[Unverifiable, str] = {
    "refused": "the call was refused, so that nothing was decided",
    "no_body": "the facts were deleted",
    "engine_failed": "a fault outside of the cards ended the evaluation",
    "no_knowledge": "the cards of its time are not in the log's archive",
    "unreadable_knowledge": "this program reads the archived cards differently, or the site has another RxNorm lookup now",
}


class Difference(msgspec.Struct, frozen=True):
    """A record that is decided differently now. `cards`: ids of the cards with another evaluation or text; no patient data."""

    call_id: str  # hex digits
    received_at: int  # µs since 1970
    hook: str
    client: str
    service_version: str  # of the program that wrote it
    parts: tuple[Literal["evaluations", "cards"], ...]
    cards: tuple[str, ...]


class Verified(msgspec.Struct):
    """Counts of a verification, of one piece or of all."""

    same: int = 0
    different: list[Difference] = []
    unverifiable: dict[Unverifiable, int] = {}

    def add(self, other: Verified) -> None:
        """Add the counts of another piece."""
        self.same += other.same
        self.different = [*self.different, *other.different]
        for why, count in other.unverifiable.items():
            self.unverifiable[why] = self.unverifiable.get(why, 0) + count

    @property
    def records(self) -> int:
        """Return how many records were looked at."""
        return self.same + len(self.different) + sum(self.unverifiable.values())


def verify(settings: Settings, since: int, processes: int, progress: Callable[[int, int], None]) -> Verified:
    """Verify all records from `since` (µs since 1970) on; `progress` is told how many of how many are done.

    Raises DatabaseError where the log can't be read, CompressionError, msgspec.DecodeError or NewerRecordError for a record that
    this program can't read.
    """
    database = open_site_database(settings, limit_ms=None, writes_review=True)
    try:
        records = Records(database)
        count, batches = records.count(since, FOR_EVER), records.batches(since, FOR_EVER, BATCH)
    finally:
        database.close()
    total = Verified()
    for _, part in in_processes(Verifier, (settings,), batches, processes):
        total.add(part)
        progress(total.records, count)
    total.different = sorted(total.different, key=lambda one: (one.received_at, one.call_id))
    return total


class Verifier:
    """Verify records, in one process."""

    def __init__(self, settings: Settings) -> None:
        database = open_site_database(settings, limit_ms=None)
        self._records = Records(database)
        self._archive = ArchivedCards(database, settings)

    def __call__(self, batch: tuple[int, int]) -> Verified:
        """Verify the records from one moment to before another."""
        found = Verified()
        for record in self._records.between(*batch):
            match verify_record(record, self._archive):
                case None:
                    found.same += 1
                case Difference() as different:
                    found.different = [*found.different, different]
                case why:
                    found.unverifiable[why] = found.unverifiable.get(why, 0) + 1
        return found


def verify_record(record: Record, archive: ArchivedCards) -> Difference | Unverifiable | None:
    """Return None where the record is decided as it was, the difference, or why it can't be said."""
    body = record.body
    if body is None:
        return "no_body"
    facts = record.facts
    if facts is None:
        return "refused"
    if "engine_failed" in record.degraded.split():
        return "engine_failed"
    recorded = [bytes(one) for one in body.cards]
    cards = archive.of(record.knowledge, address_in(recorded))
    if isinstance(cards, str):
        return cards
    again = decide_again(facts, cards, body.hook_instance, record.dialect, stand_in_for(recorded))
    decided, evaluations = comparable_evaluations(bytes(body.evaluations)), comparable_evaluations(again.evaluations())
    drawn = again.cards()
    parts: list[Literal["evaluations", "cards"]] = []
    if evaluations != decided:
        parts.append("evaluations")
    if comparable_cards(drawn) != comparable_cards(recorded):
        parts.append("cards")
    if not parts:
        return None
    which = {*_of_evaluations(decided, evaluations), *_of_cards(recorded, drawn)}
    return Difference(
        call_id=record.id.hex(),
        received_at=record.received_at,
        hook=record.hook,
        client=record.client,
        service_version=record.service_version,
        parts=tuple(parts),
        cards=tuple(sorted(which)),
    )


def _of_evaluations(before: bytes, after: bytes) -> Iterator[str]:
    """Yield the cards whose rows differ; "*" for truths of criteria."""
    rows = [
        {(one["card"], one.get("order_key", "")): one for one in msgspec.json.decode(side, type=list[dict[str, object]])}
        for side in (before, after)
    ]
    yield from (str(key[0]) for key in rows[0].keys() | rows[1].keys() if rows[0].get(key) != rows[1].get(key))


def _of_cards(before: list[bytes], after: list[bytes]) -> Iterator[str]:
    """Yield the topics of cards on one side only."""
    sides = [{comparable_cards([one]): one for one in side} for side in (before, after)]
    for text in sides[0].keys() ^ sides[1].keys():
        one = sides[0].get(text) or sides[1][text]
        yield str(msgspec.json.decode(one)["source"]["topic"]["code"])
