"""Make the alert log's record of a call: decisions, evidence and cards, with keyed hashes for ids.

Ids of the patient, the user, the encounter, orders and resources are hashed; a received order that an action would change is not
kept. Texts that are kept are names of drugs, problems and reactions, because they are the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from cds_service import __version__
from cds_service.alert_log.evaluation_rows import applies, evaluations_json
from cds_service.alert_log.inputs import pack_inputs
from cds_service.alert_log.kept_facts import kept_facts
from cds_service.alert_log.kept_inputs import kept_inputs
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import CallRecord, CardRecord, KeyPair, MissingRow, OutcomeRow, SealedText, new_call_id
from cds_service.alert_log.sealing import SealedKind, SealingKey
from cds_service.criteria.facts import Facts, Order, Quarantined, Source
from cds_service.decide.decision import NOT_CHECKED, Decision, Outcome
from cds_service.fhir.draft_entries import ORDERS
from cds_service.fhir.resources import bare_id
from cds_service.present.card_template import Shown
from cds_service.read.chart import Chart
from cds_service.telemetry import metrics
from cds_service.telemetry.events import Event, place, tell
from cds_service.terminology.terminology import Terminology
from cds_service.wire.hook_request import Context, HookRequest
from cds_service.wire.refusal import RefusalOutcome

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_raw_json = msgspec.json.Encoder()
_STATES: dict[Outcome, Literal["shown", "repeated", "gave_way", "capped"]] = {
    Outcome.FIRED: "shown",
    Outcome.REPEATED: "repeated",
    Outcome.GAVE_WAY: "gave_way",
    Outcome.CAPPED: "capped",
}


class ReceivedCall(msgspec.Struct, frozen=True):
    """A received call and its circumstances: the part of its record that is known before the response."""

    call: HookRequest
    service: str  # id
    at: datetime  # aware
    bytes_in: int  # of the request's body
    hashed: Pseudonyms
    knowledge_hash: str
    jurisdiction: str
    sealing: SealingKey | None = None  # None: ids are not kept
    terminology: Terminology | None = None  # None: inputs are not kept; else that of the cards, for its text patterns


def call_record(
    received: ReceivedCall,
    facts: Facts,
    decisions: Sequence[Decision],
    shown: Sequence[Shown],
    shadows: Sequence[Shown],
    held_back: Sequence[Shown],
    body: bytes,
    degraded: Iterable[str] = (),
    chart: Chart | None = None,
) -> CallRecord:
    """Return the record of an answered call.

    `body`: the response; `shadows` and `held_back`: the cards that only the log gets; `degraded`: what did not work meanwhile;
    `chart`: from which the facts were read, kept where the site asks for it.
    """
    hashed = received.hashed
    return _record(
        received,
        200,
        _outcome(decisions, shown),
        sources=_sources(facts.sources, received.call.quirks, facts.quarantined),
        evaluations=evaluations_json(decisions, hashed, facts),
        facts=_encoder.encode(kept_facts(facts, hashed)),
        cards=tuple(_card_record(one, received) for cards in (shown, shadows, held_back) for one in cards),
        order_keys=tuple({hashed.order(order) for order in facts.orders if order.selected}),
        outcomes=tuple(_outcome_row(one) for one in decisions),
        missing=tuple((one.card.id, name, one.findings[name].cause) for one in decisions for name in one.unknown),
        body=body,
        degraded=" ".join(degraded),
        inputs=_packed_inputs(received, chart),
    )


def refused_record(
    received: ReceivedCall,
    sources: Mapping[str, Source],
    status: int,
    outcome: RefusalOutcome | Literal["abandoned"],
) -> CallRecord:
    """Return the record of a decoded call that got no cards.

    `sources`: state of each prefetch key, as far as known. `status` is that of the response; 499, which is not sent, where the
    client went away ("abandoned").
    """
    return _record(received, status, outcome, sources=_sources(sources, received.call.quirks))


def _outcome_row(one: Decision) -> OutcomeRow:
    return one.card.id, one.card.file.version, one.card.hash, one.outcome, one.row, int(applies(one))


def _outcome(decisions: Iterable[Decision], shown: Sequence[Shown]) -> str:
    """Return how the call ended as a whole; a notice alone counts as could not check."""
    if any(not one.is_notice for one in shown):
        return Outcome.FIRED
    if shown or any(one.outcome is Outcome.COULD_NOT_CHECK for one in decisions):
        return Outcome.COULD_NOT_CHECK
    return Outcome.NOT_FIRED


def _sources(sources: Mapping[str, Source], quirks: Sequence[str], quarantined: Sequence[Quarantined] = ()) -> bytes:
    """Encode the state of each source, the quarantined resources, and the FHIR server's search quirks that were used."""
    states = {name: {"state": one.state, "origin": one.origin, "note": one.note} for name, one in sources.items()}
    described: dict[str, Any] = {"states": states}
    if quarantined:
        described["quarantined"] = quarantined
    if quirks:
        described["ways"] = quirks  # the stored name
    return _encoder.encode(described)


def _record(
    received: ReceivedCall,
    status: int,
    outcome: str,
    *,
    sources: bytes,
    evaluations: bytes = b"[]",
    facts: bytes = b"",
    cards: tuple[CardRecord, ...] = (),
    order_keys: tuple[str, ...] = (),
    outcomes: tuple[OutcomeRow, ...] = (),
    missing: tuple[MissingRow, ...] = (),
    body: bytes = b"",
    degraded: str = "",
    inputs: bytes = b"",
) -> CallRecord:
    call, context, hashed = received.call, received.call.context, received.hashed
    patient, user, encounter = (
        hashed(kind, name or "")
        for kind, name in (("patient", context.patientId), ("user", context.userId), ("encounter", context.encounterId))
    )
    call_id = new_call_id(received.at)
    return CallRecord(
        id=call_id,
        received_at=received.at,
        service=received.service,
        hook=call.hook,
        hook_instance=call.hookInstance,
        client=call.caller.client,
        tenant=call.caller.tenant,
        patient_key=patient,
        user_key=user,
        encounter_key=encounter,
        status=status,
        outcome=outcome,
        evaluations=evaluations,
        sources=sources,
        timings=_raw_json.encode(call.timings.phases),
        facts=facts,
        service_version=__version__,
        knowledge_hash=received.knowledge_hash,
        jurisdiction=received.jurisdiction,
        bytes_in=received.bytes_in,
        bytes_out=len(body),
        cards=cards,
        digest=_digest(received, (patient, user, encounter), status, facts, sources, body),
        orders=sum(one.resource.resourceType in ORDERS for one in call.drafts.drafts) if call.drafts is not None else 0,
        order_keys=order_keys,
        outcomes=outcomes,
        missing=missing,
        dialect=call.caller.dialect,
        queries=_raw_json.encode(call.queries),
        clock_offset_ms=call.caller.clock_offset_ms,
        degraded=degraded,
        key_pairs=_key_pairs(hashed, context),
        sealed=_sealed(received, call_id, inputs),
        took_us=int(call.timings.elapsed_ms() * 1000),
    )


def _key_pairs(hashed: Pseudonyms, context: Context) -> tuple[KeyPair, ...]:
    """Return both hashes of patient and user, while the log has records of the key before."""
    if hashed.old is None:
        return ()
    ids: tuple[tuple[Literal["patient", "user"], str | None], ...] = (("patient", context.patientId), ("user", context.userId))
    return tuple(KeyPair(kind, hashed.old(kind, one), hashed(kind, one)) for kind, one in ids if one)


def _packed_inputs(received: ReceivedCall, chart: Chart | None) -> bytes:
    """Return the reduced inputs of the call; b"" where they are not kept, which is counted where the site asks for them."""
    if received.sealing is None or received.terminology is None:
        return b""
    may_ask = bool(received.call.fhirServer)
    try:
        inputs = kept_inputs(chart, received.at, received.terminology, may_ask=may_ask) if chart is not None else None
        packed = pack_inputs(inputs) if inputs is not None else b""
    except Exception as error:  # noqa: BLE001 - what a replay may want must not cost the call its record
        tell(Event.INPUTS_NOT_KEPT, error=type(error).__name__, place=place(error.__traceback__))
        packed = b""
    if not packed:
        metrics.INPUTS_NOT_KEPT.inc()
    return packed


def _sealed(received: ReceivedCall, call_id: bytes, inputs: bytes) -> tuple[SealedText, ...]:
    """Return the ids and inputs of the call, where the site keeps them."""
    if received.sealing is None:
        return ()
    context = received.call.context
    ids: tuple[tuple[SealedKind, str | None], ...] = (
        ("patient", context.patientId),
        ("user", context.userId),
        ("encounter", context.encounterId),
    )
    sealed = [received.sealing.seal(call_id, kind, one) for kind, one in ids if one]
    if inputs:
        sealed.append(received.sealing.seal_bytes(call_id, "inputs", inputs))
    return tuple(sealed)


def _digest(received: ReceivedCall, keys: tuple[str, ...], status: int, facts: bytes, sources: bytes, body: bytes) -> int:
    """Return the digest by which a call that is sent again is recognised.

    Equal digests: the same caller, patient, hook instance, request size, facts, sources and response. It costs less than a hash
    of the whole request; data that no card looks at may differ.
    """
    call = received.call
    who = (received.service, call.caller.client, call.hookInstance, *keys, received.knowledge_hash)
    # Without the first member, the time of the call, and the last, the cards shown before, which other calls may have added to.
    lasting = facts[facts.find(b",") : -1].partition(b',"prior_cards":')[0]
    return received.hashed.digest(_raw_json.encode((*who, status, received.bytes_in)), lasting, sources, body)


def _card_record(one: Shown, received: ReceivedCall) -> CardRecord:
    decision, hashed = one.decision, received.hashed
    if decision is None:  # the notice
        return CardRecord(
            uuid=one.uuid,
            card=NOT_CHECKED,
            version=__version__,
            content_hash=received.knowledge_hash,
            indicator=one.indicator,
            mode="live",
            order_key="",
            about=one.about,
            body=_without_ids(one, received, None),
        )
    order = decision.order
    return CardRecord(
        uuid=one.uuid,
        card=decision.card.id,
        version=decision.card.file.version,
        content_hash=decision.card.hash,
        indicator=one.indicator,
        mode="live" if decision.card.live else "shadow",
        order_key=hashed.order(order) if order is not None else "",
        about=decision.about,
        row=decision.row,
        body=_without_ids(one, received, order),
        state=_STATES[decision.outcome],
    )


def _without_ids(one: Shown, received: ReceivedCall, order: Order | None) -> bytes:
    """Return the card's JSON with hashes for patient and order, and without the content of changed orders."""
    body = one.body
    for changed in one.changed_orders:
        body = body.replace(changed, b'{"resourceType":"MedicationRequest"}')
    patient = f"Patient/{bare_id(received.call.context.patientId)}"
    body = body.replace(_raw_json.encode(patient), _raw_json.encode(received.hashed("patient", patient)))
    if order is not None and order.reference:
        body = body.replace(_raw_json.encode(order.reference), _raw_json.encode(received.hashed.order(order)))
    return body
