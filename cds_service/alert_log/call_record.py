"""Make the alert log's record of a call: decisions, evidence and cards, with keyed hashes for ids.

Ids of the patient, the user, the encounter, orders and resources are hashed; a received order that an action would change is not
kept. Texts that are kept are names of drugs, problems and reactions, because they are the evidence.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from cds_service import __version__
from cds_service.alert_log.evaluation_rows import evaluation_rows
from cds_service.alert_log.kept_facts import kept_facts
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.records import CallRecord, CardRecord
from cds_service.criteria.facts import Facts, Quarantined, Source
from cds_service.decide.decision import Decision, Outcome
from cds_service.fhir.resources import bare_id
from cds_service.present.card_template import Shown
from cds_service.present.cards import NOT_CHECKED
from cds_service.wire.hook_request import HookRequest
from cds_service.wire.refusal import RefusalOutcome

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_raw_json = msgspec.json.Encoder()


class ReceivedCall(msgspec.Struct, frozen=True):
    """A received call and its circumstances: the part of its record that is known before the response."""

    call: HookRequest
    service: str  # id
    at: datetime  # aware
    bytes_in: int  # of the request's body
    hashed: Pseudonyms
    knowledge_hash: str
    jurisdiction: str


def call_record(
    received: ReceivedCall,
    facts: Facts,
    decisions: Sequence[Decision],
    shown: Sequence[Shown],
    shadows: Sequence[Shown],
    body: bytes,
) -> CallRecord:
    """Return the record of an answered call. `body`: the response; `shadows`: the cards that only the log gets."""
    return _record(
        received,
        200,
        _outcome(decisions, shown),
        sources=_sources(facts.sources, received.call.quirks, facts.quarantined),
        evaluations=_encoder.encode(evaluation_rows(decisions, received.hashed)),
        facts=_encoder.encode(kept_facts(facts, received.hashed)),
        cards=(
            *(_card_record(one, received, "live") for one in shown),
            *(_card_record(one, received, "shadow") for one in shadows),
        ),
        body=body,
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
    body: bytes = b"",
) -> CallRecord:
    call, context, hashed = received.call, received.call.context, received.hashed
    record = CallRecord(
        id=uuid.uuid4().hex,
        received_at=received.at,
        service=received.service,
        hook=call.hook,
        hook_instance=call.hookInstance,
        client=call.caller.client,
        tenant=call.caller.tenant,
        patient_key=hashed("patient", context.patientId or ""),
        user_key=hashed("user", context.userId or ""),
        encounter_key=hashed("encounter", context.encounterId or ""),
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
    )
    return msgspec.structs.replace(record, digest=_digest(record, body, hashed))


def _digest(r: CallRecord, body: bytes, hashed: Pseudonyms) -> str:
    """Return the digest by which a call that is sent again is recognised.

    Equal digests: the same caller, patient, hook instance, request size, evaluations, sources and response. It costs less than
    a hash of the whole request; data that no criterion looked at may differ.
    """
    who = (r.service, r.client, r.hook_instance, r.patient_key, r.user_key, r.encounter_key, r.knowledge_hash)
    return hashed.digest(_raw_json.encode((*who, r.status, r.bytes_in)), r.evaluations, r.sources, body)


def _card_record(one: Shown, received: ReceivedCall, mode: Literal["live", "shadow"]) -> CardRecord:
    decision, hashed = one.decision, received.hashed
    if decision is None:  # the notice
        return CardRecord(
            uuid=one.uuid,
            card=NOT_CHECKED,
            version=__version__,
            content_hash=received.knowledge_hash,
            indicator=one.indicator,
            mode=mode,
            order_key="",
            body=_without_ids(one, received, ""),
        )
    order = decision.order
    return CardRecord(
        uuid=one.uuid,
        card=decision.card.id,
        version=decision.card.file.version,
        content_hash=decision.card.hash,
        indicator=one.indicator,
        mode=mode,
        order_key=hashed("order", order.key) if order is not None else "",
        about=decision.about,
        row=decision.row,
        body=_without_ids(one, received, order.reference if order is not None else ""),
    )


def _without_ids(one: Shown, received: ReceivedCall, order: str) -> bytes:
    """Return the card's JSON with hashes for patient and order, and without the content of changed orders."""
    body = one.body
    for changed in one.changed_orders:
        body = body.replace(changed, b'{"resourceType":"MedicationRequest"}')
    patient = f"Patient/{bare_id(received.call.context.patientId)}"
    for kind, reference in (("patient", patient), ("order", order)):
        if reference:
            body = body.replace(_raw_json.encode(reference), _raw_json.encode(received.hashed(kind, reference)))
    return body
