"""What the alert log keeps of a call: decisions, evidence and cards, with keyed hashes in place of every id.

Ids of the patient, the user, the encounter, orders and resources are hashed; a received order that an action would change is not
kept. Texts that are kept are names of drugs, problems and reactions, because they are the evidence.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service import __version__
from cds_service.alert_log import CallRecord, CardRecord, keyed_hash, tenant_secret
from cds_service.criteria.facts import Allergy, Drug, Facts, Lab, Order, Patient, Problem, Unread
from cds_service.criteria.findings import Evidence, Truth
from cds_service.decision import Decision, Outcome
from cds_service.decode import Gathered
from cds_service.fhir import bare_id
from cds_service.prefetch import ServiceDefinition
from cds_service.present import NOT_CHECKED, Shown
from cds_service.protocol import HookRequest
from cds_service.timings import Timings
from cds_service.trust import ANONYMOUS

if TYPE_CHECKING:
    from cds_service.evaluate import Answer
    from cds_service.runtime import Runtime

MAX_UNREAD = 50  # codes that were not understood, of one call
NOT_A_CODE = "not a code"
_CODE = re.compile(r"[A-Za-z0-9._:|/-]{0,64}")
_SYSTEM = re.compile(r"[A-Za-z0-9._:|/#~-]{0,200}")
_UNIT = re.compile(r"[A-Za-z0-9._:|/%*^\[\]{}()\u00b5\u03bc-]{0,32}")
_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_raw_json = msgspec.json.Encoder()


def call_record(
    call: HookRequest,
    service: ServiceDefinition,
    runtime: Runtime,
    received_at: datetime,
    answer: Answer,
    timings: Timings,
    bytes_in: int,
) -> CallRecord:
    """The record of an answered call."""
    hashed = Hasher(call, runtime)
    facts = answer.facts
    described: dict[int, dict[str, Any]] = {}  # evidence by identity: several criteria and cards look at the same result
    evaluations = _truths(answer.decisions, hashed)
    evaluations += [_evaluation(decision, hashed, described) for decision in answer.decisions]
    cards = [_card_record(one, call, runtime, hashed) for one in answer.shown]
    cards += [_card_record(one, call, runtime, hashed, shadow=True) for one in answer.shadows]
    outcomes = {decision.outcome for decision in answer.decisions}
    fired = any(one.decision is not None for one in answer.shown)  # the notice alone is no card that fired
    unchecked = answer.shown or Outcome.COULD_NOT_CHECK in outcomes
    outcome = Outcome.FIRED if fired else Outcome.COULD_NOT_CHECK if unchecked else Outcome.NOT_FIRED
    sources = {name: {"state": one.state, "origin": one.origin, "note": one.note} for name, one in facts.sources.items()}
    return _record(
        call,
        service,
        runtime,
        received_at,
        hashed,
        status=200,
        outcome=outcome,
        evaluations=_encoder.encode(evaluations),
        sources=_encoder.encode(
            {"states": sources}
            | ({"quarantined": facts.quarantined} if facts.quarantined else {})
            | ({"ways": call.ways} if call.ways else {})
        ),
        timings=timings,
        facts=_encoder.encode(_kept(facts, hashed)),
        bytes_in=bytes_in,
        bytes_out=len(answer.body),
        cards=cards,
        answer=answer.body,
    )


def refused_record(
    call: HookRequest,
    gathered: Mapping[str, Gathered],
    *,
    service: ServiceDefinition,
    runtime: Runtime,
    received_at: datetime,
    bytes_in: int,
    status: int,
    outcome: str,
) -> CallRecord:
    """The record of a call that got no cards: 412 for want of data; 400 for an order of another patient, or a FHIR server of
    another client; 499 where the client ended it before it was answered; 500 when all broke.
    """
    states = {
        name: {"state": one.source.state, "origin": one.source.origin, "note": one.source.note} for name, one in gathered.items()
    }
    return _record(
        call,
        service,
        runtime,
        received_at,
        Hasher(call, runtime),
        status=status,
        outcome=outcome,
        evaluations=b"[]",
        sources=_encoder.encode({"states": states} | ({"ways": call.ways} if call.ways else {})),
        timings=call.timings,
        facts=b"",
        bytes_in=bytes_in,
        bytes_out=0,
        cards=[],
    )


def withdraw(record: CallRecord) -> None:
    """Makes of the record of an answer that of an answer that was held back (503): nobody saw its cards.

    Without a digest, so that the call that is sent again is no repeat of it and gets a record with its cards.
    """
    record.status, record.outcome, record.bytes_out, record.cards, record.digest = 503, "log_unavailable", 0, [], ""


def _record(
    call: HookRequest,
    service: ServiceDefinition,
    runtime: Runtime,
    received_at: datetime,
    hashed: Hasher,
    *,
    status: int,
    outcome: str,
    evaluations: bytes,
    sources: bytes,
    timings: Timings,
    facts: bytes,
    bytes_in: int,
    bytes_out: int,
    cards: list[CardRecord],
    answer: bytes = b"",
) -> CallRecord:
    context = call.context
    record = CallRecord(
        id=uuid.uuid4().hex,
        received_at=received_at,
        service=service.id,
        hook=call.hook,
        hook_instance=call.hookInstance,
        client=call.caller.client,
        patient_key=hashed("patient", context.patientId or ""),
        user_key=hashed("user", context.userId or ""),
        encounter_key=hashed("encounter", context.encounterId or ""),
        status=status,
        outcome=outcome,
        evaluations=evaluations,
        sources=sources,
        timings=_raw_json.encode(timings.phases),
        facts=facts,
        service_version=__version__,
        knowledge_hash=runtime.knowledge.hash,
        jurisdiction=runtime.settings.jurisdiction,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        cards=cards,
        tenant=call.caller.tenant,
    )
    record.digest = _digest(record, answer, runtime.hash_secret)
    return record


def _digest(r: CallRecord, answer: bytes, secret: bytes) -> str:
    """What makes two calls the same: who asked, about whom, in which moment, with how much, what was decided and answered.

    Cheaper than a hash of the whole request, and it tells nothing of one. What may differ is what no criterion looked at.
    """
    who = (r.service, r.client, r.hook_instance, r.patient_key, r.user_key, r.encounter_key, r.knowledge_hash)
    digest = blake2b(_raw_json.encode((*who, r.status, r.bytes_in)), key=secret[:64], digest_size=16)
    for part in (r.evaluations, r.sources, answer):
        digest.update(b"|%d|" % len(part))
        digest.update(part)
    return digest.hexdigest()


class Hasher(dict[tuple[str, str], str]):
    """Hashes the ids of one call, each once. The FHIR server is part of an id, because ids are unique within a server only, and
    each client and tenant has hashes of its own: not every call names its server. Nobody's are those of the secret itself.
    """

    def __init__(self, call: HookRequest, runtime: Runtime) -> None:
        secret, caller = runtime.hash_secret, call.caller
        self._secret = secret if caller == ANONYMOUS else tenant_secret(secret, caller.client, caller.tenant)
        self._base = f"{call.fhirServer or ''}|"

    def __missing__(self, key: tuple[str, str]) -> str:
        kind, value = key
        self[key] = hashed = keyed_hash(self._secret, kind, self._base + value) if value else ""
        return hashed

    def __call__(self, kind: str, value: str) -> str:
        return self[kind, value]


def _card_record(one: Shown, call: HookRequest, runtime: Runtime, hashed: Hasher, *, shadow: bool = False) -> CardRecord:
    decision = one.decision
    order = decision.order if decision is not None else None
    return CardRecord(
        uuid=one.uuid,
        card=decision.card.id if decision is not None else NOT_CHECKED,
        version=decision.card.file.version if decision is not None else __version__,
        content_hash=decision.card.hash if decision is not None else runtime.knowledge.hash,
        indicator=one.indicator,
        mode="shadow" if shadow else "live",
        order_key=hashed("order", order.key) if order is not None else "",
        about=decision.about if decision is not None else "",
        row=decision.row if decision is not None else -1,
        body=_without_ids(
            one, f"Patient/{bare_id(call.context.patientId)}", order.reference if order is not None else "", hashed
        ),
    )


def _without_ids(one: Shown, patient: str, order: str, hashed: Hasher) -> bytes:
    """The card's JSON as returned, with hashes for the patient and the order, and without the content of a changed order."""
    body = one.body
    for changed in one.changed_orders:
        body = body.replace(changed, b'{"resourceType":"MedicationRequest"}')
    for kind, reference in (("patient", patient), ("order", order)):
        if reference:
            body = body.replace(_raw_json.encode(reference), _raw_json.encode(hashed(kind, reference)))
    return body


def _truths(decisions: Iterable[Decision], hashed: Hasher) -> list[dict[str, Any]]:
    """The truth of every criterion that was evaluated: one entry for the patient, and one for each order that was looked at.

    They belong to no card (`card` is "*"), because cards share criteria. A criterion of a card that stands in neither could not
    change the card's decision.
    """
    seen = {id(findings): findings for one in decisions for findings in (one.findings.for_patient, one.findings)}
    return [
        {
            "card": "*",
            "order_key": hashed("order", findings.order.key) if findings.order is not None else "",
            "criteria": {name: _WORDS[finding.truth] for name, finding in findings.own()},
        }
        for findings in seen.values()
    ]


def _evaluation(decision: Decision, hashed: Hasher, described: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """One decision for the log. Its evidence stands here unless the card did not fire; then it is in the call's facts."""
    card = decision.card
    findings = decision.findings
    row: dict[str, Any] = {
        "card": card.id,
        "version": card.file.version,
        "hash": card.hash[:16],
        "outcome": decision.outcome,
    }
    if decision.outcome not in (Outcome.NOT_FIRED, Outcome.NOT_APPLICABLE):
        row["evidence"] = _evidence(decision, hashed, described)
    if decision.unknown:
        row["missing"] = [{"name": name, "cause": findings[name].cause, "note": findings[name].note} for name in decision.unknown]
    if decision.order is not None:
        row["order_key"] = hashed("order", decision.order.key)
    if decision.row >= 0:
        row["row"] = decision.row
    for field in ("reason", "gave_way_to", "repeats", "error"):
        if value := getattr(decision, field):
            row[field] = value
    return row


_WORDS = {truth: truth.name.lower() for truth in Truth}


def _evidence(decision: Decision, hashed: Hasher, described: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each piece of evidence once, with the criteria that it met or did not meet."""
    used: dict[int, tuple[Evidence, list[str]]] = {}
    for name, finding in decision.findings.evaluated(decision.card.criteria):
        if name not in decision.card.groups:
            for item in finding.evidence:
                used.setdefault(id(item), (item, []))[1].append(name)
    return [
        {"criteria": names, **(described.get(key) or described.setdefault(key, _described(item, hashed)))}
        for key, (item, names) in used.items()
    ]


def _described(item: Evidence, hashed: Hasher) -> dict[str, Any]:
    match item:
        case Lab():
            return {
                "analyte": item.analyte,
                "value": str(item.value),
                "unit": item.canonical_unit,
                "reported": f"{item.comparator}{item.reported_value} {item.reported_unit}",
                "effective": item.effective.text,
                "code": item.code,
                "ref": hashed("resource", item.reference),
                "source": item.source,
            }
        case Drug():
            ref = hashed("resource", item.reference)
            return {"drug": item.text, "code": item.code, "by": item.recognised_by, "ref": ref, "source": item.source}
        case Order():
            row: dict[str, Any] = {"order_key": hashed("order", item.key), "action": item.action}
            if item.drug is not None:
                row |= {"drug": item.drug.text, "code": item.drug.code, "by": item.drug.recognised_by}
                if item.drug.daily_dose_mg is not None:
                    row["mg_per_day"] = str(item.drug.daily_dose_mg)
            return row
        case Problem() | Allergy():
            return {"text": item.text, "ref": hashed("resource", item.reference), "source": item.source}
        case Patient():
            return {"source": "patient"}


def _kept(facts: Facts, hashed: Hasher) -> Facts:
    """The facts as a replay needs them: hashed references, no orders' JSON, and no medication that no card knows."""
    change = msgspec.structs.replace
    return change(
        facts,
        patient=change(
            facts.patient,
            id=hashed("patient", facts.patient.id),
            reference="",
            # Not the day of birth: one that gives the same age.
            birth_date=None if facts.age_years is None else date(facts.now.year - facts.age_years, 1, 1),
        ),
        labs={
            name: change(
                series,
                results=tuple(change(lab, reference=hashed("resource", lab.reference)) for lab in _newest(series.results)),
                unusable=tuple(change(bad, reference="", words="") for bad in series.unusable),
            )
            for name, series in facts.labs.items()
        },
        drugs=tuple(_kept_drug(drug, hashed) for drug in facts.drugs if _can_matter(drug)),
        problems=tuple(change(problem, reference=hashed("resource", problem.reference)) for problem in facts.problems),
        allergies=tuple(
            change(allergy, reference=hashed("resource", allergy.reference))
            for allergy in facts.allergies
            if allergy.classes or allergy.unclear
        ),
        orders=tuple(
            change(
                order,
                reference=hashed("order", order.reference),
                key=hashed("order", order.key),
                replaces=hashed("resource", _replaced(order, facts.drugs)),
                drug=_kept_drug(order.drug, hashed) if order.drug is not None else None,
                raw=b"",
            )
            for order in facts.orders
        ),
        unread=kept_codes(facts.unread),
        prior_cards=tuple(change(prior, order=hashed("order", prior.order)) for prior in facts.prior_cards),
    )


def kept_codes(unread: Iterable[Unread]) -> tuple[Unread, ...]:
    """Each code once. What does not look like a code could be about a person, and is not kept."""
    kept: dict[Unread, None] = {}
    for one in unread:
        system = one.system if _SYSTEM.fullmatch(one.system) else NOT_A_CODE
        code = one.code if (_UNIT if one.kind == "unit" else _CODE).fullmatch(one.code) else NOT_A_CODE
        kept[msgspec.structs.replace(one, system=system, code=code)] = None
        if len(kept) == MAX_UNREAD:
            break
    return tuple(kept)


def _newest(results: tuple[Lab, ...]) -> tuple[Lab, ...]:
    """The three newest, and more where preliminary ones stand before the one that decides."""
    decides = next((position for position, lab in enumerate(results) if not lab.preliminary), len(results))
    return results[: max(3, decides + 1)]


def _can_matter(drug: Drug) -> bool:
    return bool(drug.classes or drug.reasons or drug.reason_sets) or not drug.identified


def _replaced(order: Order, drugs: Iterable[Drug]) -> str:
    """What the order replaces, written as the drug's own reference, so that hashes of both are equal."""
    wanted = bare_id(order.replaces)
    return next((drug.reference for drug in drugs if wanted and bare_id(drug.reference) == wanted), order.replaces)


def _kept_drug(drug: Drug, hashed: Hasher) -> Drug:
    return msgspec.structs.replace(drug, reference=hashed("resource", drug.reference))
