"""Find the facts of a record that a candidate would have decided: those of the record, or its inputs read again."""

from __future__ import annotations

from typing import NamedTuple

from cds_service.alert_log.inputs import Inputs
from cds_service.alert_log.sealing import sealing_key
from cds_service.criteria.facts import Facts
from cds_service.database import Database
from cds_service.knowledge.knowledge import Knowledge
from cds_service.replay.answerable import Unanswerable, asked_differently, read_differently, without_decision
from cds_service.replay.inputs import KeptInputs, Reading
from cds_service.replay.knowledge import ArchivedCards
from cds_service.replay.records import Record
from cds_service.settings import Settings


class Known(NamedTuple):
    """What is known of a call for a candidate."""

    facts: Facts
    from_inputs: bool = False


class CandidateFacts:
    """The facts of a log's records for one candidate."""

    def __init__(self, database: Database, settings: Settings, candidate: Knowledge) -> None:
        self._candidate = candidate
        self._archive = ArchivedCards(database, settings)
        self._inputs = KeptInputs(database, sealing_key(settings.reveal_key, settings.reveal_key_id))
        self._asked: dict[tuple[str, str], Unanswerable | None] = {}  # by hash of the knowledge, and hook
        self._readings: dict[str, Reading] = {}  # by hash of the knowledge

    def of(self, record: Record) -> Known | Unanswerable:
        """Return the facts of a record, or why it can't say what the candidate would have done. Raises DatabaseError."""
        if (why := without_decision(record)) is not None or (facts := record.facts) is None:
            return why or "refused"
        archived = self._archive.of(record.knowledge)
        if isinstance(archived, str):
            return archived
        recorded = archived.knowledge
        if (why := self._asked_differently(record, recorded)) is not None:
            return why
        needs = read_differently(record, recorded, self._candidate)
        if needs is None:
            return Known(facts)
        inputs = self._inputs.of(record.id)
        if not isinstance(inputs, Inputs):
            return inputs or needs
        found = self._reading(record, recorded).facts(facts, inputs, same_program=needs != "program")
        return Known(found, from_inputs=True) if isinstance(found, Facts) else found

    def _asked_differently(self, record: Record, recorded: Knowledge) -> Unanswerable | None:
        key = record.knowledge, record.hook
        if key not in self._asked:
            self._asked[key] = asked_differently(recorded, self._candidate, record.hook)
        return self._asked[key]

    def _reading(self, record: Record, recorded: Knowledge) -> Reading:
        if record.knowledge not in self._readings:
            self._readings[record.knowledge] = Reading(recorded.terminology, self._candidate.terminology)
        return self._readings[record.knowledge]
