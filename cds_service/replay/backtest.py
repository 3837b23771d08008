"""Keep a backtest: what a candidate would have done with recorded calls, in a folder that can be stopped and gone on with.

The folder holds the spec, the candidate's files, a file for each finished part, and at the end the result. Its name is the
backtest's id, a hash of the spec: the same again is the same folder and the same bytes. It holds evidence of patients as the log
does (ids hashed, no names), so it is readable by its owner alone and belongs with the log when records are deleted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from cds_service import __version__
from cds_service.alert_log.knowledge_archive import pack_knowledge, unpack_knowledge
from cds_service.database import Database, open_site_database, review_path
from cds_service.files.paths import cards_dir
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.replay.compare import CardCounts, Discordant, Outline
from cds_service.replay.knowledge import load_files
from cds_service.replay.records import Records
from cds_service.settings import Settings

RECORDS_OF_A_PART = 500  # on average
MOST_PARTS = 4096
_DAY = 86_400_000_000  # µs

Line = TypeVar("Line", bound=Outline)

_json = msgspec.json.Encoder(order="deterministic").encode


class Selection(msgspec.Struct, frozen=True):
    """Which records are counted. Times in µs since 1970, `until` not included; "" is any hook or client.

    `share`: of the patients, drawn by `seed`; 1 is all.
    """

    since: int
    until: int
    hook: str = ""
    client: str = ""
    share: float = 1.0
    seed: int = 1


class Spec(msgspec.Struct, frozen=True):
    """All that a result depends on beside the log.

    `candidate`: hash of its knowledge; `program`: version of the service; `reveal_key_id`: of the key that opens inputs, 0 for
    none.
    """

    candidate: str
    selection: Selection
    parts: int
    history_since: int  # µs: cards that were shown from here on can make others repeats
    program: str = __version__
    reveal_key_id: int = 0

    @property
    def id(self) -> str:
        """Return the id of the backtest, 16 hex digits."""
        return hashlib.sha256(_json(self)).hexdigest()[:16]


class Part(msgspec.Struct):
    """The counts of a part, or of all."""

    records: int = 0  # that were selected
    answered: int = 0
    from_inputs: int = 0  # of those that were answered: read again from the decoded resources; the others from facts
    unanswerable: dict[str, int] = {}  # by reason
    unanswerable_before: int = 0  # records before the selection whose cards the history lacks
    orders: int = 0  # different orders that were selected or signed, of answered records
    cards: dict[str, CardCounts] = {}

    def add(self, other: Part) -> None:
        """Add another part, which is of other patients."""
        self.records += other.records
        self.answered += other.answered
        self.from_inputs += other.from_inputs
        self.unanswerable_before += other.unanswerable_before
        self.orders += other.orders
        for why, count in other.unanswerable.items():
            self.unanswerable[why] = self.unanswerable.get(why, 0) + count
        for card, counts in other.cards.items():
            self.cards.setdefault(card, CardCounts()).add(counts)


class DonePart(msgspec.Struct):
    """What a finished part left."""

    counts: Part
    discordant: list[Discordant]


class Result(msgspec.Struct):
    """What the candidate would have done. `history`: whose cards the repeat rule looked at."""

    id: str
    spec: Spec
    total: Part
    discordant: int
    history: str = (
        "As recorded: the cards really shown. Candidate: the cards that it would have shown in the replayed calls, answered as "
        "the real card of the same call and order was, else not answered."
    )
    independence: str = "Calls of one patient are not independent, so p-values are too small where patients have many calls."


class State(msgspec.Struct, frozen=True):
    """How far a backtest is."""

    id: str
    done: int  # parts
    parts: int
    finished: bool


class CandidateChangedError(ValueError):
    """Raised where the stored candidate is not read as the one that the backtest was begun with."""


class Backtest:
    """One backtest in its folder."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where there is none."""
        self.folder = folder
        self.spec = msgspec.json.decode((folder / "spec.json").read_bytes(), type=Spec)

    def candidate(self, settings: Settings) -> Knowledge:
        """Load the candidate's files as they were at the start. Raises KnowledgeError, CandidateChangedError."""
        files = unpack_knowledge((self.folder / "candidate").read_bytes())
        known = load_files(files, settings, before_approval=True)
        if known.hash != self.spec.candidate:
            raise CandidateChangedError("this program, or another RxNorm lookup, reads the candidate differently: begin anew")
        return known

    def part(self, number: int) -> Path:
        """Return the file of a part, which is there when the part is done."""
        return self.folder / f"part-{number:04}.json"

    def missing(self) -> list[int]:
        """Return the parts that are to be done."""
        return [number for number in range(self.spec.parts) if not self.part(number).exists()]

    def keep(self, number: int, done: DonePart) -> None:
        """Keep a finished part."""
        write_whole(self.part(number), _json(done))

    def finish(self) -> Result:
        """Put the parts together; the discordant cases are then in the order of time."""
        total, cases = Part(), []
        for number in range(self.spec.parts):
            done = msgspec.json.decode(self.part(number).read_bytes(), type=DonePart)
            total.add(done.counts)
            cases += done.discordant
        cases.sort(key=lambda one: (one.received_at, one.call_id, one.card, one.nth, str(one.new)))
        write_whole(self.folder / "discordant.ndjson", b"".join(_json(one) + b"\n" for one in cases))
        result = Result(self.spec.id, self.spec, total, len(cases))
        write_whole(self.folder / "result.json", _json(result))
        return result

    @property
    def state(self) -> State:
        """Return how far it is."""
        finished = (self.folder / "result.json").exists()
        return State(self.spec.id, self.spec.parts - len(self.missing()), self.spec.parts, finished)

    @property
    def result(self) -> Result | None:
        """Return the result; None where it is not finished."""
        path = self.folder / "result.json"
        return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None

    def discordant(self, card: str = "", change: str = "", skip: int = 0, limit: int = 50) -> list[Discordant]:
        """Return a page of the discordant cases, in the order of time, each with both decisions."""
        page = []
        for case in self.cases():
            if (not card or case.card == card) and (not change or case.change == change):
                if skip:
                    skip -= 1
                    continue
                page.append(case)
                if len(page) == limit:
                    break
        return page

    def case(self, number: int) -> Discordant | None:
        """Return a discordant case by its number in the order of time, from 1; None where there are fewer."""
        return next(islice(self.cases(), number - 1, None), None) if number > 0 else None

    def cases(self) -> Iterator[Discordant]:
        """Yield every discordant case in the order of time; none before it is finished."""
        return self._lines(Discordant)

    def outlines(self) -> Iterator[Outline]:
        """Yield every discordant case without its decisions, which is ten times as fast."""
        return self._lines(Outline)

    def _lines(self, kind: type[Line]) -> Iterator[Line]:
        path = self.folder / "discordant.ndjson"
        if path.exists():
            decode = msgspec.json.Decoder(kind).decode
            with path.open("rb") as lines:
                yield from map(decode, lines)


def backtests_folder(settings: Settings) -> Path:
    """Return the folder of all backtests, beside the review database."""
    return review_path(settings).parent / "backtests"


def open_backtest(settings: Settings, backtest_id: str) -> Backtest:
    """Return a backtest by its id. Raises FileNotFoundError where there is none."""
    return Backtest(backtests_folder(settings) / backtest_id)


def begin_backtest(settings: Settings, cards: Path | None, overlay: Path | None, selection: Selection) -> Backtest:
    """Prepare the backtest of other cards, another overlay, or both; what is None is the site's. The same again is found again.

    Where `selection.until` is 0 it ends with the newest record. Raises KnowledgeError for a candidate that does not load,
    DatabaseError.
    """
    place = settings.model_copy(update={"cards_dir": cards or settings.cards_dir, "overlay_dir": overlay or settings.overlay_dir})
    candidate = load_knowledge(place, before_approval=True)
    database = open_site_database(settings, limit_ms=None, writes_review=True)
    try:
        spec = _spec(database, candidate, selection, settings.reveal_key_id if settings.reveal_key else 0)
    finally:
        database.close()
    folder = backtests_folder(settings) / spec.id
    if not (folder / "spec.json").exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / "candidate", pack_knowledge(place.cards_dir or cards_dir(), place.overlay_dir))
        write_whole(folder / "spec.json", _json(spec))  # last: a folder with it is whole
    return Backtest(folder)


def _spec(database: Database, candidate: Knowledge, selection: Selection, reveal_key_id: int) -> Spec:
    if not selection.until:
        newest = database.one("SELECT max(received_at) AS at FROM log.call")
        until = 1 if newest is None or newest["at"] is None else int(newest["at"]) + 1
        selection = msgspec.structs.replace(selection, until=until)
    repeats = [card.file.repeat.after_days for card in candidate.cards if card.file.repeat is not None]
    history_since = max(0, selection.since - max(repeats, default=1) * _DAY)
    wanted = Records(database).count(history_since, selection.until) / RECORDS_OF_A_PART
    parts = 1
    while parts < wanted and parts < MOST_PARTS:
        parts *= 2
    return Spec(candidate.hash, selection, parts, history_since, reveal_key_id=reveal_key_id)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also where the process is killed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
