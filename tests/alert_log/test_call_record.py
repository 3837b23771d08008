"""What the log keeps of a call: enough to review and to replay it, and nobody's name or id."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log import CallRecord
from cds_service.alert_log.call_record import ReceivedCall, call_record
from cds_service.alert_log.evaluation_rows import DecisionRow, EvidenceRow, TruthsRow, UnknownRow
from cds_service.alert_log.keys import keyed_hash, tenant_secret
from cds_service.alert_log.pseudonyms import Pseudonyms
from cds_service.alert_log.reading import bodies_of, open_for_reading
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Facts, PriorCard
from cds_service.decide.decision import Decision, Outcome
from cds_service.evaluate import Evaluation
from cds_service.fhir.resources import bare_id
from cds_service.knowledge.knowledge import Knowledge
from cds_service.outbound.base_urls import FhirBase
from cds_service.runtime import Runtime
from cds_service.trust import Caller
from cds_service.wire.hook_request import HookRequest, decode_request
from tests.case_runs import some_requests
from tests.core import (
    NOW,
    PATIENTS,
    Json,
    a_card,
    a_runtime,
    answer_to,
    decide,
    facts,
    knowledge,
    small,
    unexpected,
)

CRITERIA = {
    "quinine": {"kind": "order", "classes": ["quinine"]},
    "low": {"kind": "lab", "analyte": "potassium", "below": 3.5, "unit": "mmol/L", "within_days": 30},
}


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return a_runtime(tmp_path / "log")


def logged(runtime: Runtime, request: Json, known: Knowledge | None = None) -> CallRecord:
    """The record of a request."""
    known = known or knowledge()
    body = msgspec.json.encode(request)
    call = decode_request(body, request["hook"])
    call.timings.mark("gather")
    return record_of(received(call, runtime.hash_secret, known, len(body)), answer_to(request, known=known))


def received(call: HookRequest, secret: bytes, known: Knowledge, bytes_in: int) -> ReceivedCall:
    """A call that arrived NOW in the USA."""
    service = next(one.id for one in known.services if one.hook == call.hook)
    return ReceivedCall(call, service, NOW, bytes_in, hashed_for(call, secret), known.hash, "US")


def hashed_for(call: HookRequest, secret: bytes) -> Pseudonyms:
    return Pseudonyms(secret, call.caller, call.fhirServer, call.context.patientId, call.context.encounterId)


def record_of(call: ReceivedCall, answer: Evaluation) -> CallRecord:
    return call_record(call, answer.facts, answer.decisions, answer.shown, answer.shadows, answer.held_back, answer.body)


def of(hook: str, *lines: str) -> Json:
    return request_from_case(lines, hook, NOW)


def evaluations(record: CallRecord) -> list[Json]:
    """The decisions in a record."""
    found: list[Json] = [one for one in msgspec.json.decode(record.evaluations) if one["card"] != "*"]
    return found


def truths(record: CallRecord) -> dict[str, dict[str, str]]:
    """The truth of each criterion, by order."""
    return {one["order_key"]: one["criteria"] for one in msgspec.json.decode(record.evaluations) if one["card"] == "*"}


# Nobody's id


def with_canaries() -> Json:
    """A call that fires several cards, with ids and texts about people wherever an EHR can put them."""
    request = of(
        "order-sign",
        "patient: female, 70 years, id canary-patient",
        "ICD10#R25.2 Cramp and spasm, id canary-problem",
        "LOINC#2823-3 Potassium 2.4 mmol/L, id canary-lab",
        "LOINC#2601-3 Magnesium 0.3 furlongs, id canary-unreadable",
        "LOINC#98979-8 eGFR 50 mL/min/{1.73_m2}, id canary-egfr",
        "takes: digoxin 0.125 mg, id canary-statement",
        "prescribed: baclofen 10 mg, id canary-prescription",
        "takes: canary-unknown-drug",
        "allergy: quinine, reaction rash, id canary-allergy",
        "allergy: canary-peanut",
        "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, id canary-order",
        "order: RXNORM#197391 baclofen 10 MG Oral Tablet, dose 20 mg TID, id canary-changed,"
        " replaces MedicationRequest/canary-prescription",
    )
    request |= {
        "hookInstance": "instance-1",
        "fhirServer": "https://canary-server.example/fhir",
        "fhirAuthorization": {"access_token": "canary-token", "subject": "canary-subject", "scope": "canary-scope"},
        "extension": {"x": "canary-extension"},
    }
    request["context"] |= {"userId": "Practitioner/canary-user", "encounterId": "canary-encounter"}
    request["prefetch"]["patient"] |= {
        "name": [{"family": "canary-family", "given": ["canary-given"]}],
        "identifier": [{"system": "https://canary-ids.example", "value": "canary-mrn"}],
        "telecom": [{"value": "canary-phone"}],
        "address": [{"line": ["canary-street"]}],
        "text": {"status": "generated", "div": "<div>canary-narrative</div>"},
    }
    bundles = [one for one in request["prefetch"].values() if one and one["resourceType"] == "Bundle"]
    for resource in [entry["resource"] for one in [*bundles, request["context"]["draftOrders"]] for entry in one["entry"]]:
        resource |= {
            "identifier": [{"value": "canary-identifier"}],
            "note": [{"text": "canary-note", "authorString": "canary-author"}],
            "text": {"status": "generated", "div": "<div>canary-narrative</div>"},
            "extension": [{"url": "https://canary.example", "valueString": "canary-extension"}],
            "performer": [{"reference": "Practitioner/canary-performer", "display": "canary-display"}],
            "requester": {"reference": "Practitioner/canary-requester", "display": "canary-display"},
            "encounter": {"reference": "Encounter/canary-encounter"},
        }
        resource.setdefault("subject", {})["display"] = "canary-display"
        for reason in resource.get("reasonCode", []):
            reason["text"] += " of canary-family"
        for dosage in resource.get("dosageInstruction", []):
            dosage["patientInstruction"] = "canary-instruction for cramps"
    return request


def test_no_id_name_note_identifier_or_token_gets_into_a_record(runtime: Runtime) -> None:
    request = with_canaries()
    assert {one.outcome for one in answer_to(request).decisions} >= {Outcome.FIRED, Outcome.NOT_FIRED}
    record = logged(runtime, request)
    assert {card.card for card in record.cards} == {"electrolyte-hypokalaemia", "quinine-avoid", "baclofen-safety", "not-checked"}
    assert b"canary" not in msgspec.json.encode(
        msgspec.structs.replace(record, evaluations=b"", facts=b"", sources=b"", cards=())
    )
    assert b"canary" not in b"".join((record.evaluations, record.facts, record.sources, *(card.body for card in record.cards)))


async def test_none_of_it_gets_into_the_file(runtime: Runtime, tmp_path: Path) -> None:
    request = with_canaries()
    body = msgspec.json.encode(request)
    call = decode_request(body, "order-sign")
    answered = await _answer(body)
    log = runtime.alert_log
    log.start()
    assert await log.append(record_of(received(call, runtime.hash_secret, runtime.knowledge, len(body)), answered))
    kept = b"".join(file.read_bytes() for file in (tmp_path / "log").iterdir())
    await log.close()
    kept += b"".join(file.read_bytes() for file in (tmp_path / "log").iterdir())
    (path,) = (tmp_path / "log").glob("*.sqlite3")
    with closing(open_for_reading(path)) as connection:
        stored = bodies_of(connection)(1)
    assert stored is not None
    assert stored.hook_instance == "instance-1"
    assert stored.cards
    assert b"canary" not in kept + msgspec.json.encode(stored)


async def _answer(body: bytes) -> Any:
    import asyncio

    return await asyncio.to_thread(answer_to, msgspec.json.decode(body))


@pytest.mark.parametrize(
    "patient", ["canary", "Patient/canary", "https://ehr.example/fhir/Patient/canary", "urn:uuid:canary", 'can"ary é']
)
def test_a_patient_is_hashed_however_the_id_is_written(runtime: Runtime, patient: str) -> None:
    request = of("patient-view", "LOINC#2823-3 Potassium 2.4 mmol/L")
    own = msgspec.json.encode(bare_id(patient))[1:-1]
    request = msgspec.json.decode(msgspec.json.encode(request).replace(b"patient-1", own))
    request["context"]["patientId"] = patient
    record = logged(runtime, request)
    (card,) = record.cards
    suggestions = msgspec.json.decode(card.body)["suggestions"]
    subjects = [action["resource"]["subject"]["reference"] for item in suggestions for action in item["actions"]]
    assert len(subjects) == 3
    assert all(subject.startswith("k1:") for subject in subjects)
    assert b"canary" not in record.facts + record.evaluations + card.body


def test_the_same_person_has_the_same_key_on_one_server_and_another_on_another(runtime: Runtime) -> None:
    request = of("patient-view")
    one, two = (logged(runtime, request | {"fhirServer": f"https://{name}.example/fhir"}) for name in ("one", "two"))
    again = logged(runtime, request | {"fhirServer": "https://one.example/fhir/"})
    assert one.patient_key == again.patient_key != two.patient_key
    assert one.user_key != one.patient_key
    assert one.encounter_key == ""


# Enough for a review


def test_a_record_says_what_was_decided_why_and_by_which_knowledge(runtime: Runtime) -> None:
    hook, lines = PATIENTS["quinine and baclofen"]
    request = request_from_case(lines, hook, NOW)
    record = logged(runtime, request)
    assert (record.service, record.hook, record.hook_instance) == ("cramp-care-order-sign", hook, request["hookInstance"])
    assert (record.status, record.outcome, record.jurisdiction, record.client) == (200, "fired", "US", "anonymous")
    assert record.knowledge_hash == knowledge().hash
    assert record.bytes_out == len(answer_to(request).body)
    assert msgspec.json.decode(record.timings).keys() == {"gather"}
    by_card = {one["card"]: one for one in evaluations(record)}
    assert by_card.keys() == {card.id for card in knowledge().cards_at(hook)}
    for card in knowledge().cards_at(hook):
        assert by_card[card.id]["version"] == card.file.version
        assert card.hash.startswith(by_card[card.id]["hash"])
    baclofen = by_card["baclofen-safety"]
    assert (baclofen["outcome"], baclofen["row"]) == ("fired", 0)
    (egfr,) = [one for one in baclofen["evidence"] if one.get("analyte") == "egfr"]
    assert (egfr["value"], egfr["unit"], egfr["effective"], egfr["source"]) == ("25", "mL/min/{1.73_m2}", "2025-11-28", "labs")
    assert "egfr_below_30" in egfr["criteria"]
    assert truths(record)[baclofen["order_key"]]["baclofen_order"] == "met"
    assert truths(record)[""]["egfr_below_30"] == "met"
    assert len(truths(record)) == 3


def test_a_record_says_what_was_missing_and_why(runtime: Runtime) -> None:
    record = logged(runtime, of("patient-view", "source labs: error"))
    by_card = {one["card"]: one for one in evaluations(record)}
    potassium = by_card["electrolyte-hypokalaemia"]
    assert potassium["outcome"] == "could_not_check"
    assert {(one["name"], one["cause"]) for one in potassium["missing"]} >= {("potassium_severe", "not_obtained")}
    assert truths(record)[""]["potassium_severe"] == "unknown"
    assert record.outcome == "could_not_check"
    assert msgspec.json.decode(record.sources)["states"]["labs"]["state"] == "error"
    assert [card.card for card in record.cards] == ["not-checked"]


@pytest.mark.parametrize("name", ["quinine and baclofen", "both low", "liver", "nothing arrived"])
def test_each_truth_that_was_found_is_in_the_record(runtime: Runtime, name: str) -> None:
    hook, lines = PATIENTS[name]
    request = request_from_case(lines, hook, NOW)
    _same_truths(logged(runtime, request), answer_to(request).decisions)


def test_a_record_has_the_truths_about_the_patient_also_where_all_decisions_are_about_orders(runtime: Runtime) -> None:
    known = small(CRITERIA, a_card(for_each="quinine", fire_when=["quinine", "low"]))
    request = of("order-sign", "order: quinine 300 mg", "LOINC#2823-3 Potassium 3.0 mmol/L")
    record = logged(runtime, request, known)
    _same_truths(record, answer_to(request, known=known).decisions)


def _same_truths(record: CallRecord, decisions: list[Decision]) -> None:
    kept = {name: truth for about in truths(record).values() for name, truth in about.items()}
    keys = iter(evaluations(record))
    for one, row in zip(decisions, keys, strict=True):
        about = truths(record).get(row.get("order_key", ""), {})
        for name, finding in one.findings.evaluated(one.card.criteria):
            assert about.get(name, kept.get(name)) == finding.truth.name.lower(), (one.card.id, name)


@pytest.mark.parametrize("row", [TruthsRow, EvidenceRow, UnknownRow, DecisionRow])
def test_members_of_rows_stand_in_alphabetical_order_as_a_replay_compares_bytes(row: type[msgspec.Struct]) -> None:
    names = [field.encode_name for field in msgspec.structs.fields(row)]
    assert names == sorted(names)


def test_a_call_without_cards_is_a_record_like_any_other(runtime: Runtime) -> None:
    record = logged(runtime, of("patient-view", "LOINC#2823-3 Potassium 4.2 mmol/L", "LOINC#2601-3 Magnesium 0.8 mmol/L"))
    assert (record.status, record.outcome, record.cards) == (200, "not_fired", ())
    assert {one["outcome"] for one in evaluations(record)} == {"not_fired"}
    assert record.facts


def test_the_card_is_kept_as_it_was_returned_but_for_ids(runtime: Runtime) -> None:
    request = of("patient-view", "LOINC#2823-3 Potassium 2.4 mmol/L")
    (card,) = logged(runtime, request).cards
    (shown,) = answer_to(request).shown
    returned, kept = msgspec.json.decode(shown.body), msgspec.json.decode(card.body)
    for one in (returned, kept):
        for action in (action for item in one["suggestions"] for action in item["actions"]):
            assert action["resource"]["subject"].pop("reference")
    assert returned == kept
    assert (card.uuid, card.mode, card.indicator, card.order_key) == (shown.uuid, "live", "critical", "")


def test_the_card_of_a_draft_is_kept_as_a_shadow(runtime: Runtime) -> None:
    known = small(CRITERIA, a_card("live"), a_card("draft", status="draft"))
    record = logged(runtime, of("patient-view"), known)
    assert {(card.card, card.mode) for card in record.cards} == {("live", "live"), ("draft", "shadow")}


def test_a_shadow_alone_leaves_the_call_without_a_card(runtime: Runtime) -> None:
    known = small(CRITERIA, a_card("draft", status="draft"))
    record = logged(runtime, of("patient-view"), known)
    assert (record.outcome, [card.mode for card in record.cards]) == ("not_fired", ["shadow"])


def test_each_order_has_its_own_evaluation_joined_to_its_card(runtime: Runtime) -> None:
    request = of("order-sign", "order: quinine 100 mg, id a", "order: quinine 300 mg, id b")
    record = logged(runtime, request)
    about = {one["order_key"] for one in evaluations(record) if one["card"] == "quinine-avoid"}
    assert about == {card.order_key for card in record.cards if card.card == "quinine-avoid"}
    assert len(about) == 2


# Replay


def told(decisions: list[Decision]) -> list[Any]:
    return [(one.card.id, one.outcome, one.row, one.unknown, one.reason, one.in_notice, one.gave_way_to) for one in decisions]


@pytest.mark.proof
def test_the_kept_facts_lead_to_the_same_decisions(runtime: Runtime) -> None:
    replayed = 0
    for name, request in [*some_requests(), ("canaries", with_canaries())]:
        decisions = answer_to(request).decisions
        kept = msgspec.json.decode(logged(runtime, request).facts, type=Facts)
        assert told(decide(kept, knowledge(), unexpected)) == told(decisions), name
        replayed += 1
    assert replayed > 10


def _replays(runtime: Runtime, request: Json, known: Knowledge) -> Iterator[list[Any]]:
    yield told(answer_to(request, known=known).decisions)
    kept = msgspec.json.decode(logged(runtime, request, known).facts, type=Facts)
    yield told(decide(kept, known, unexpected))


def test_a_result_behind_many_preliminary_ones_is_kept_for_the_replay(runtime: Runtime) -> None:
    preliminary = [f"LOINC#2823-3 Potassium 4.{day} mmol/L at 2025-11-2{day}, preliminary" for day in range(1, 8)]
    request = of("patient-view", "LOINC#2823-3 Potassium 3.0 mmol/L at 2025-11-20", *preliminary)
    first, replay = _replays(runtime, request, small(CRITERIA, a_card(fire_when=["low"])))
    assert first[0][1] == "fired"
    assert replay == first


def test_a_drug_that_matters_by_the_code_of_its_reason_only_is_kept_for_the_replay(runtime: Runtime) -> None:
    request = of("patient-view", "prescribed: paracetamol 500 mg, for ICD10#R25.2")
    reason = {"kind": "reason", "sets": ["muscle_cramp"], "of": "order or medication"}
    first, replay = _replays(runtime, request, small({"reason": reason}, a_card(fire_when=["reason"])))
    assert first[0][1] == "fired"
    assert replay == first


@pytest.mark.parametrize("reference", ["MedicationRequest/old", "https://ehr.example/fhir/MedicationRequest/old/_history/3"])
def test_a_switch_is_a_switch_in_the_replay_too(runtime: Runtime, reference: str) -> None:
    request = of("order-sign", "prescribed: baclofen 10 mg, id old", f"order: quinine 300 mg, replaces {reference}")
    switch = {"switch": {"kind": "order", "classes": ["baclofen"], "action": "switch"}}
    first, replay = _replays(runtime, request, small(switch, a_card(fire_when=["switch"])))
    assert first[0][1] == "fired"
    assert replay == first


def test_what_is_kept_is_what_was_read_but_for_ids(runtime: Runtime) -> None:
    line = "LOINC#2823-3 Potassium < 2.40 mmol/L at 2025-11-28T08:00:00Z, preliminary, range 3.5-5.1"
    kept = msgspec.json.decode(logged(runtime, of("patient-view", line)).facts, type=Facts)
    (lab,), (read,) = kept.labs["potassium"].results, facts(line).labs["potassium"].results
    assert msgspec.structs.replace(lab, reference="") == msgspec.structs.replace(read, reference="")
    assert copy.copy(lab.value).as_tuple() == read.value.as_tuple()


def test_the_repr_of_what_a_process_holds_does_not_show_its_secret(runtime: Runtime) -> None:
    assert "x00" in repr(runtime.hash_secret)
    assert "x00" not in repr(runtime)


# What each datum was, where it stood, and how old it was


def test_evidence_says_where_it_stood_and_how_old_it_was(runtime: Runtime) -> None:
    hook, lines = PATIENTS["quinine and baclofen"]
    record = logged(runtime, request_from_case(lines, hook, NOW))
    evidence = [item for row in evaluations(record) for item in row.get("evidence", ())]
    labs = [item for item in evidence if "analyte" in item]
    drugs = [item for item in evidence if "drug" in item]
    assert {item["path"] for item in labs} == {"prefetch.labs.entry.resource.ofType(Observation).value"}
    assert all(
        item["age_s"] == int((NOW - datetime.fromisoformat(f"{item['effective']}T00:00:00Z")).total_seconds()) for item in labs
    )
    assert {name for item in drugs for name in item["class"]} >= {"quinine", "baclofen"}
    assert all(item["path"].startswith(("context.draftOrders.entry", "prefetch.")) for item in drugs)


def test_what_was_too_old_is_said_with_the_age_that_was_allowed_and_the_one_that_was_found(runtime: Runtime) -> None:
    record = logged(runtime, of("patient-view", "LOINC#2823-3 Potassium 3.0 mmol/L at 2025-06-01"))
    missing = {one["name"]: one for row in evaluations(record) for one in row.get("missing", ())}
    old = missing["potassium_severe"]
    assert (old["cause"], old["allowed_days"]) == ("not_recorded", 30)
    assert old["found_age_s"] > 180 * 86_400
    assert "found_age_s" not in missing["magnesium_severe"]


def test_a_card_about_orders_did_not_apply_where_there_was_none_of_its_kind(runtime: Runtime) -> None:
    record = logged(runtime, of("order-sign", "order: baclofen 10 mg"))
    by_card = {one["card"]: one for one in evaluations(record)}
    assert (by_card["quinine-avoid"]["outcome"], by_card["quinine-avoid"]["applies"]) == ("not_fired", False)
    assert by_card["baclofen-safety"]["applies"] is True
    assert by_card["electrolyte-hypokalaemia"]["applies"] is True
    sets = {(one[0], one[3]): one[5] for one in record.outcomes}
    assert sets["quinine-avoid", "not_fired"] == 0
    assert len(record.outcomes) == len(evaluations(record))


def test_an_order_is_known_by_patient_and_id_and_without_one_by_what_it_says(runtime: Runtime) -> None:
    def keys(patient: str, *lines: str) -> tuple[str, ...]:
        return logged(runtime, of("order-sign", f"patient: female, 50 years, id {patient}", *lines)).order_keys

    def without_id(patient: str, dose: str) -> tuple[str, ...]:
        request = of("order-sign", f"patient: female, 50 years, id {patient}", f"order: quinine {dose}, dose {dose} QD, id x")
        request["context"]["encounterId"] = "e1"
        (entry,) = request["context"]["draftOrders"]["entry"]
        entry.pop("fullUrl", None)
        del entry["resource"]["id"]
        return logged(runtime, request).order_keys

    one, again = keys("p1", "order: quinine 300 mg, id q1"), keys("p1", "order: quinine 200 mg, id q1")
    assert one == again
    assert one != keys("p2", "order: quinine 300 mg, id q1")
    assert without_id("p1", "300 mg") == without_id("p1", "300 mg")
    assert len({*without_id("p1", "300 mg"), *without_id("p2", "300 mg"), *without_id("p1", "200 mg"), *one}) == 4
    assert len(keys("p1", "order: quinine 300 mg, id a", "order: baclofen 10 mg, id b")) == 2


def test_cards_that_were_held_back_are_kept_with_the_reason(runtime: Runtime) -> None:
    states = {card.state for _, request in some_requests() for card in logged(runtime, request).cards}
    assert states >= {"shown", "gave_way"}


def test_a_call_sent_again_is_recognised_though_cards_were_shown_in_between(runtime: Runtime) -> None:
    request = of("order-sign", "order: quinine sulfate 324 MG Oral Capsule")
    body = msgspec.json.encode(request)
    call = received(decode_request(body, "order-sign"), runtime.hash_secret, knowledge(), len(body))
    answer = answer_to(request)
    prior = PriorCard(card="quinine-avoid", shown_at=NOW, about="quinine", indicator="warning", version="1.0.0", uuid="u")
    later = msgspec.structs.replace(answer, facts=msgspec.structs.replace(answer.facts, prior_cards=(prior,)))
    other = msgspec.structs.replace(answer, facts=msgspec.structs.replace(answer.facts, jurisdiction="GB"))
    digests = [record_of(call, one).digest for one in (answer, later, other)]
    assert digests[0] == digests[1] != digests[2]


# Spellings of one FHIR server


OURS = Caller("ehr", fhir_bases=(FhirBase("https://EHR.example/fhir"),))
OF_DEV = Caller("anonymous", fhir_bases=None)


@pytest.mark.parametrize("caller", [OURS, OF_DEV, Caller("ehr")])
def test_a_patient_has_one_hash_however_the_server_is_spelled(caller: Caller) -> None:
    spelled = ["https://EHR.example/fhir", "https://ehr.example/fhir", "https://ehr.example:443/fhir", "HTTPS://ehr.example/fhir"]
    hashes = {Pseudonyms(bytes(32), caller, server)("patient", "1") for server in spelled}
    assert len(hashes) == 1
    others = ["https://ehr.example/FHIR", "https://ehr.example:8443/fhir", "http://ehr.example/fhir", "https://ehr.example", None]
    assert hashes.isdisjoint(Pseudonyms(bytes(32), caller, server)("patient", "1") for server in others)


def test_the_registered_base_decides_so_that_hashes_stay_what_they_were() -> None:
    registered = Pseudonyms(bytes(32), OURS, "https://ehr.example:443/fhir")("patient", "1")
    assert registered == keyed_hash(tenant_secret(bytes(32), "ehr", ""), "patient", "https://EHR.example/fhir|1")
