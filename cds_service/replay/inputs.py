"""Read the reduced inputs of a record again, with other value sets."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from cds_service.alert_log.inputs import Inputs, InputsError, InputSource, unpack_inputs
from cds_service.alert_log.kept_facts import kept_facts
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.sealing import RevealError, SealingKey, reveal_bytes
from cds_service.criteria.facts import Facts, Order, Source, SourceState
from cds_service.database import Database
from cds_service.fhir.draft_entries import Draft
from cds_service.fhir.gathered import Gathered
from cds_service.gather.missing_targets import missing_targets
from cds_service.read.chart import Chart
from cds_service.read.draft_orders import OwnDraft
from cds_service.read.reader import read_chart
from cds_service.read.reference_targets import Targets
from cds_service.replay.answerable import Unanswerable
from cds_service.terminology.terminology import Searched, Terminology

_SEARCHED: tuple[Searched, ...] = ("patterns", "routes", "units")
_SERVER = "https://ehr.example"  # the references of inputs are relative

_change = msgspec.structs.replace


class KeptInputs:
    """The sealed inputs of a log's records."""

    def __init__(self, database: Database, key: SealingKey | None) -> None:
        self._database = database
        self._key = key

    def of(self, call_id: bytes) -> Inputs | Unanswerable | None:
        """Return the inputs of a call, or why they can't be read; None where none are kept. Raises DatabaseError."""
        if self._key is None:
            return None
        try:
            content = reveal_bytes(self._database, call_id, "inputs", self._key)
            return None if content is None else unpack_inputs(content)
        except RevealError:
            return "other_key"
        except InputsError:
            return "inputs_version"


class Reading:
    """Read with a candidate's terminology what records with another one hold."""

    def __init__(self, recorded: Terminology, candidate: Terminology) -> None:
        self._recorded, self._candidate = (one.of_marked_texts() for one in (recorded, candidate))
        self._other_words = frozenset(
            what for what in _SEARCHED if recorded.searched(what) != candidate.searched(what)
        )  # for which the texts that are not kept were not searched

    def facts(self, recorded: Facts, inputs: Inputs, *, same_program: bool = True) -> Facts | Unanswerable:
        """Return the facts that the candidate would have read, in the form of those of a record.

        `recorded`: the record's facts. `same_program`: this program also made the inputs, so that it searches as that did.
        """
        if not self._other_words.isdisjoint(inputs.searched) or (inputs.searched and not same_program):
            return "texts"
        chart = _chart(recorded, inputs)
        if inputs.may_ask and self._asks_for_others(chart, inputs):
            return "references"
        read = read_chart(
            chart, hook=recorded.hook, now=recorded.now, jurisdiction=recorded.jurisdiction, terminology=self._candidate
        )
        kept = kept_facts(read, _OWN_IDS)
        orders = [
            _change(order, key=old.key, reference=old.reference) for order, old in zip(kept.orders, recorded.orders, strict=True)
        ]
        return _change(kept, patient=recorded.patient, orders=tuple(orders), prior_cards=recorded.prior_cards)

    def _asks_for_others(self, chart: Chart, inputs: Inputs) -> bool:
        """Tell whether the candidate would ask the EHR for other referenced resources, at first or once it has some."""
        drafts = _gathered(inputs.referenced[-1]) if inputs.drafts else None
        all_at_hand = Gathered(Source(SourceState.PRESENT), [r for one in chart.targets.sources for r in one.resources])
        for at_hand in (drafts, all_at_hand):
            wanted = [
                missing_targets(chart.given, drafts=at_hand, base=_SERVER, terminology=one).ids
                for one in (self._recorded, self._candidate)
            ]
            if wanted[0] != wanted[1]:
                return True
        return False


class _OwnIds(Pseudonyms):
    """Give the numbers of inputs the form of keyed hashes, of a generation that no key has."""

    def __init__(self) -> None:
        dict.__init__(self)

    def __call__(self, kind: str, value: str) -> str:
        return f"k0:{blake2b(value.encode(), digest_size=16).hexdigest()}" if value else ""

    def order(self, order: Order) -> str:
        return order.key


_OWN_IDS = _OwnIds()


def _chart(recorded: Facts, inputs: Inputs) -> Chart:
    given = {name: _gathered(one, recorded.sources.get(name)) for name, one in inputs.given.items()}
    return Chart(
        patient=_change(recorded.patient, birth_date=inputs.birth_date),
        given=given,
        targets=Targets([*given.values(), *map(_gathered, inputs.referenced)]),
        drafts=_drafts(inputs),
        sources=recorded.sources,
        quarantined=recorded.quarantined,
    )


def _drafts(inputs: Inputs) -> list[OwnDraft]:
    return [OwnDraft(place, Draft(one.resource, b"", one.url), one.selected) for place, one in enumerate(inputs.drafts)]


def _gathered(one: InputSource, source: Source | None = None) -> Gathered:
    return Gathered(source or Source(SourceState.PRESENT), one.resources, by_url=one.by_url)
