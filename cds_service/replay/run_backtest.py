"""Do the parts of a backtest, each of some patients with all their calls in the order of time."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from cds_service.criteria.facts import Facts
from cds_service.database import Database, open_site_database
from cds_service.present.cards import Presenter
from cds_service.replay.again import CHANGEABLE, Again, choose_again, judge_again
from cds_service.replay.answerable import Unanswerable
from cds_service.replay.backtest import Backtest, DonePart, Part, Result, Selection
from cds_service.replay.candidate_facts import CandidateFacts, Known
from cds_service.replay.compare import Discordant, compare
from cds_service.replay.history import History, Place, RealCard, real_cards, withdrawn_calls
from cds_service.replay.knowledge import Cards
from cds_service.replay.processes import in_processes
from cds_service.replay.records import Record, Records
from cds_service.settings import Settings

_PREFIX = 2  # bytes of a patient's hash that parts are cut by


def run_backtest(settings: Settings, backtest: Backtest, processes: int, progress: Callable[[int, int], None]) -> Result:
    """Do the parts that are missing, then return the result; `progress` is told how many parts of how many are done.

    Raises what `PartOfBacktest` does, and KnowledgeError or CandidateChangedError for a candidate that is read differently now.
    """
    found = backtest.result
    if found is not None:
        return found
    missing = backtest.missing()
    if processes > 1:
        backtest.candidate(settings)  # one that can't be read is said before processes start
    done = backtest.spec.parts - len(missing)
    for _, _ in in_processes(PartOfBacktest, (settings, backtest.folder), missing, min(processes, len(missing)) or 1):
        done += 1
        progress(done, backtest.spec.parts)
    return backtest.finish()


class PartOfBacktest:
    """Do parts of one backtest, in one process."""

    def __init__(
        self, settings: Settings, folder: Path, database: Database | None = None, candidate: Cards | None = None
    ) -> None:
        """`database`, `candidate`: where the caller has them. Raises DatabaseError where the log can't be read."""
        self._database = database or open_site_database(settings, limit_ms=None)
        self._records = Records(self._database)
        self._backtest = Backtest(folder)
        self._cards = candidate or candidate_cards(self._backtest, settings)
        self._facts = CandidateFacts(self._database, settings, self._cards.knowledge)

    def __call__(self, number: int) -> None:
        """Do a part and keep it. Raises DatabaseError, CompressionError, msgspec.DecodeError, NewerRecordError."""
        spec = self._backtest.spec
        low, high = _bounds(number, spec.parts)
        since, until = spec.history_since, spec.selection.until
        withdrawn = withdrawn_calls(self._database, since, until)
        run = _Run(self._cards, spec.selection, real_cards(self._database, low, high, since, until))
        for record in self._records.of_patients(low, high, since, until):
            if _drawn(record, spec.selection):
                run.add(record, "withdrawn" if record.id in withdrawn else self._facts.of(record))
        self._backtest.keep(number, run.done())

    def again(self, call_id: bytes, received_at: int, patient: bytes | None) -> Again | None:
        """Decide one record as the backtest did, after the same patient's earlier ones; None where it can't be decided.

        `received_at`: µs since 1970; `patient`: the keyed hash, None for a call without one. Raises what a part does.
        """
        since, until = self._backtest.spec.history_since, received_at + 1
        if patient is None:
            records, real = self._records.between(received_at, until), {}
        else:
            following = int.from_bytes(patient) + 1
            high = following.to_bytes(len(patient)) if following < 256 ** len(patient) else None
            records = self._records.of_patients(patient, high, since, until)
            real = real_cards(self._database, patient, high, since, self._backtest.spec.selection.until)
        withdrawn = withdrawn_calls(self._database, since, until)
        run = _Run(self._cards, self._backtest.spec.selection, real)
        for record in records:
            again = run.add(record, "withdrawn" if record.id in withdrawn else self._facts.of(record))
            if record.id == call_id:
                return again
        return None


def candidate_cards(backtest: Backtest, settings: Settings) -> Cards:
    """Load what a backtest decides with. Raises KnowledgeError, CandidateChangedError."""
    candidate = backtest.candidate(settings)
    return Cards(candidate, Presenter(candidate))


class _Run:
    """One part: its history and its counts."""

    def __init__(self, cards: Cards, selection: Selection, real: dict[Place, RealCard]) -> None:
        self._cards = cards
        self._selection = selection
        self._real = real
        self._history = History(real)
        self._counts = Part()
        self._discordant: list[Discordant] = []
        self._orders: set[str] = set()

    def add(self, record: Record, known: Known | Unanswerable) -> Again | None:
        """Count a record and return what was decided; `known`: its facts for the candidate, or why it can't be decided."""
        counted = _selected(record, self._selection)
        self._counts.records += counted
        if isinstance(known, str):
            self._count_unanswerable(known, counted)
            return None
        facts = known.facts
        again = self._decide(record, facts)
        self._history.add(record, facts, again.shown)
        if counted:
            self._counts.answered += 1
            self._counts.from_inputs += known.from_inputs
            self._orders.update(order.key for order in facts.orders if order.selected)
            self._discordant += compare(record, again, self._real, self._counts.cards)
        return again

    def done(self) -> DonePart:
        """Return the counts and the discordant cases."""
        self._counts.orders = len(self._orders)
        return DonePart(self._counts, self._discordant)

    def _count_unanswerable(self, why: Unanswerable, counted: bool) -> None:
        if counted:
            self._counts.unanswerable[why] = self._counts.unanswerable.get(why, 0) + 1
        else:
            self._counts.unanswerable_before += 1

    def _decide(self, record: Record, facts: Facts) -> Again:
        instance = record.body.hook_instance if record.body is not None else ""
        judged = judge_again(facts, self._cards, instance, record.dialect, CHANGEABLE)
        return choose_again(judged, self._history.before(record, facts), self._cards, instance, record.dialect)


def _selected(record: Record, selection: Selection) -> bool:
    return (
        record.received_at >= selection.since and selection.hook in ("", record.hook) and selection.client in ("", record.client)
    )


def _drawn(record: Record, selection: Selection) -> bool:
    """Tell whether the patient is in the share; a call without a patient stands for itself."""
    if selection.share >= 1:
        return True
    digest = blake2b(record.patient or record.id, key=b"%d" % selection.seed, digest_size=8).digest()
    return int.from_bytes(digest) < selection.share * 2**64


def _bounds(number: int, parts: int) -> tuple[bytes, bytes | None]:
    """Return the range of patients' hashes of a part; the first has the calls without a patient too."""
    width = 2 ** (8 * _PREFIX) // parts
    low = b"" if number == 0 else (number * width).to_bytes(_PREFIX)
    return low, None if number == parts - 1 else ((number + 1) * width).to_bytes(_PREFIX)
