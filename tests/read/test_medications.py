from __future__ import annotations

from typing import Any

import pytest

from cds_service.criteria.facts import Drug
from cds_service.criteria.findings import Finding, Truth
from cds_service.criteria.wording import phrase
from tests.reading import OURS, RXNORM, SNOMED, Json, active, bundle, concept, condition, facts, prescription, statement, without

GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
EXCLUDED = [{"url": "http://fhir.de/StructureDefinition/icd-10-gm-diagnosesicherheit", "valueCode": "A"}]


def drug(*resources: Json) -> Drug:
    (only,) = active(*resources)
    return only


def test_a_prescription_is_read_with_all_that_a_card_shows() -> None:
    found = drug(
        prescription(
            "Quinine sulfate 324 MG Oral Capsule",
            "997010",
            authoredOn="2025-11-01",
            reasonCode=[{"text": "Leg Cramps"}],
            dosageInstruction=[{"text": "1 capsule at night", "route": {"text": "Oral"}}],
        )
    )
    assert found.classes == {"quinine"}
    assert (found.recognised_by, found.code, found.route, found.identified) == ("rxnorm", f"{RXNORM}|997010", "oral", True)
    assert (found.text, found.reference, found.source) == (
        "Quinine sulfate 324 MG Oral Capsule",
        "MedicationRequest/rx1",
        "prescriptions",
    )
    assert found.started is not None
    assert found.started.day == "2025-11-01"
    assert found.reasons == {"cramp_reason"}
    assert found.daily_dose_mg is None  # read of orders only


def test_a_statement_is_read_by_its_text() -> None:
    found = drug(statement("Baclofen 10 mg TID"))
    assert found.classes == {"baclofen"}
    assert (found.recognised_by, found.source) == ("text", "statements")


@pytest.mark.parametrize(
    "status",
    [
        "completed", "entered-in-error", "intended", "stopped", "on-hold", "not-taken", "draft", "cancelled", "ended",
        "revoked", "superseded", "Not taking", "voided", "Stopped", "ENTERED_IN_ERROR", " on hold ", "discontinued", "inactive",
    ],
)  # fmt: skip
def test_a_status_that_denies_a_drug_excludes_it_in_silence(status: str) -> None:
    found = facts(statements=bundle(statement(status=status)), prescriptions=bundle(prescription(status=status)))
    assert (found.drugs, found.unread) == ((), ())


@pytest.mark.parametrize(("status", "unread"), [("unknown", []), (None, []), ("actve", ["actve"]), ("recorded", ["recorded"])])
def test_a_status_that_denies_nothing_leaves_a_drug_taken_and_unconfirmed(status: str | None, unread: list[str]) -> None:
    found = facts(statements=bundle(statement(status=status)), prescriptions=bundle(prescription(status=status)))
    assert [(set(one.classes), one.confirmed) for one in found.drugs] == [({"baclofen"}, False)] * 2
    assert [(one.kind, one.code) for one in found.unread if one.source == "statements"] == [("status", code) for code in unread]


@pytest.mark.parametrize(("status", "name"), [("active", "baclofen"), ("unknown", "baclofen (unconfirmed)")])
def test_a_card_calls_a_drug_unconfirmed_whose_status_does_not_say_that_it_is_taken(status: str, name: str) -> None:
    found = facts(statements=bundle(statement(status=status)))
    assert phrase(Finding(Truth.MET, found.drugs), "names", found, str) == name


@pytest.mark.parametrize("status", ["active", "Active", "ACTIVE "])
def test_an_active_drug_is_confirmed_however_that_is_spelt(status: str) -> None:
    assert drug(prescription(status=status)).confirmed


def test_what_is_completed_and_goes_on_is_taken_and_unconfirmed() -> None:
    assert drug(statement(status="completed", effectivePeriod={"end": "2026-02-01"})).confirmed is False
    assert active(statement(status="completed", effectivePeriod={"end": "2025-11-01"})) == ()
    assert active(prescription(status="completed")) == ()


@pytest.mark.parametrize("sign", [{"wasNotTaken": True}, {"taken": "n"}, {"effectivePeriod": {"end": "2025-11-30"}}])
def test_a_drug_that_is_not_taken_or_no_longer_taken_does_not_count(sign: Json) -> None:
    assert active(statement(**sign)) == ()


@pytest.mark.parametrize(
    "sign", [{"wasNotTaken": False}, {"taken": "y"}, {"taken": "unk"}, {"effectivePeriod": {"end": "2025-12-01"}}]
)
def test_a_drug_that_is_still_taken_counts(sign: Json) -> None:
    assert drug(statement(**sign)).classes == {"baclofen"}


@pytest.mark.parametrize("intent", ["proposal", "option", "Proposal"])
def test_an_idea_of_a_prescription_does_not_count(intent: str) -> None:
    assert active(prescription(intent=intent)) == ()


@pytest.mark.parametrize("intent", ["order", "original-order", "reflex-order", "filler-order", "instance-order", "plan", None])
def test_an_order_by_any_name_counts(intent: str | None) -> None:
    assert drug(prescription(intent=intent))


def until(*ends: str | None) -> list[Json]:
    return [{"timing": {"repeat": {"boundsPeriod": {"end": end}}}} for end in ends]


@pytest.mark.parametrize(
    "sign",
    [
        {"doNotPerform": True},
        {"dateEnded": "2025-11-30"},
        {"dosageInstruction": until("2025-11-30")},
        {"dosageInstruction": until("2025-11", "2025-10")},
    ],
)
def test_a_prescription_that_is_over_or_forbids_does_not_count(sign: Json) -> None:
    assert active(prescription(**sign)) == ()


@pytest.mark.parametrize(
    "sign",
    [
        {"doNotPerform": False},
        {"dosageInstruction": until("2025-11-30", "2026-01-01")},
        {"dosageInstruction": until("2025-11-30", None)},
    ],
)
def test_a_prescription_of_which_some_part_goes_on_counts(sign: Json) -> None:
    assert drug(prescription(**sign))


def dispense(**more: Any) -> Json:
    return without({**prescription(), "resourceType": "MedicationDispense", "status": "completed", **more}, "intent")


def administration(**more: Any) -> Json:
    return without({**prescription(), "resourceType": "MedicationAdministration", "status": "completed", **more}, "intent")


@pytest.mark.parametrize(
    "event",
    [
        dispense(whenHandedOver="2025-11-10", daysSupply={"value": 28, "unit": "d"}),
        dispense(whenHandedOver="2025-11-03", daysSupply={"value": 28}),  # used up today
        dispense(whenHandedOver="2025-09-15"),
        dispense(whenPrepared="2025-09-15T10:00:00Z", status="in-progress"),
        administration(effectiveDateTime="2025-11-29T08:00:00Z"),
        administration(effectivePeriod={"start": "2025-11-20", "end": "2025-11-30"}),
        administration(effectivePeriod={"start": "2025-12-01T08:00:00Z"}, status="in-progress"),
        administration(effectiveTimeDateTime="2025-11-30"),
    ],
)
def test_what_was_handed_out_or_given_not_long_ago_is_taken(event: Json) -> None:
    found = drug(event)
    assert (set(found.classes), found.confirmed) == ({"baclofen"}, True)
    assert found.started is not None


@pytest.mark.parametrize(
    "event",
    [
        dispense(whenHandedOver="2025-10-01", daysSupply={"value": 28, "unit": "d"}),
        dispense(whenHandedOver="2025-08-15"),
        dispense(whenHandedOver="2025-11-30", status="cancelled"),
        dispense(whenHandedOver="2025-11-30", status="declined"),
        dispense(status="preparation"),
        administration(effectiveDateTime="2025-11-20"),
        administration(effectiveDateTime="2025-11-30", status="not-done"),
        administration(effectiveDateTime="2025-11-30", notGiven=True),
        administration(effectiveDateTime="2025-11-30", wasNotGiven=True),
    ],
)
def test_what_is_used_up_or_was_never_given_is_not_taken(event: Json) -> None:
    assert active(event) == ()


def test_either_list_of_medications_holds_all_that_tells_of_a_therapy() -> None:
    found = facts(statements=bundle(dispense(whenHandedOver="2025-11-30"), prescription("Quinine 300 mg")))
    assert found.sources["statements"].complete
    assert [one.classes for one in found.drugs] == [{"baclofen"}, {"quinine"}]


MEDICATION: Json = {"resourceType": "Medication", "id": "m1", "code": {"text": "Quinine sulfate 200 mg tablets"}}


@pytest.mark.parametrize(
    "reference",
    ["Medication/m1", "https://ehr.example/fhir/Medication/m1", "Medication/m1/_history/3", "m1", "urn:uuid:m1"],
)
def test_a_medication_of_the_same_bundle_is_found_however_it_is_referred_to(reference: str) -> None:
    asked = without(prescription(medicationReference={"reference": reference}), "medicationCodeableConcept")
    assert drug(asked, MEDICATION).classes == {"quinine"}


def test_a_medication_is_found_by_the_full_url_of_its_entry() -> None:
    asked = without(statement(medicationReference={"reference": "urn:uuid:77"}), "medicationCodeableConcept")
    sent = {"resourceType": "Bundle", "entry": [{"resource": asked}, {"fullUrl": "urn:uuid:77", "resource": MEDICATION}]}
    (found,) = facts(statements=sent).drugs
    assert found.classes == {"quinine"}


@pytest.mark.parametrize("contained_id", ["med", "#med"])
def test_a_contained_medication_is_found(contained_id: str) -> None:
    asked = without(
        prescription(contained=[{**MEDICATION, "id": contained_id}], medicationReference={"reference": "#med"}),
        "medicationCodeableConcept",
    )
    assert drug(asked).classes == {"quinine"}


@pytest.mark.parametrize(
    "content",
    [
        {"ingredient": [{"itemCodeableConcept": {"text": "quinine"}}]},
        {"ingredient": {"itemCodeableConcept": concept("373497008", SNOMED)}},
        {"ingredient": [{"itemReference": {"display": "Quinine"}}]},
        {"product": {"ingredient": [{"item": {"display": "Quinine"}}]}},
    ],
)
def test_a_medication_without_a_code_is_known_by_its_ingredients(content: Json) -> None:
    medication = {"resourceType": "Medication", "id": "m1", **content}
    asked = without(prescription(medicationReference={"reference": "Medication/m1"}), "medicationCodeableConcept")
    assert drug(asked, medication).classes == {"quinine"}


def test_a_reference_that_leads_nowhere_is_known_by_its_display() -> None:
    asked = without(
        prescription(medicationReference={"reference": "Medication/9", "display": "Quinine 200 mg"}), "medicationCodeableConcept"
    )
    assert drug(asked).classes == {"quinine"}


CHININ = {"resourceType": "Medication", "id": "i1", "code": concept("P01BC01", "http://www.whocc.no/atc")}
ATC_QUININE = {"itemCodeableConcept": concept("P01BC01", "http://www.whocc.no/atc")}


@pytest.mark.parametrize(
    "medication",
    [
        {"code": concept("00000017", "http://fhir.de/CodeSystem/ifa/pzn"), "ingredient": [ATC_QUININE]},
        {"code": concept("4711", "urn:oid:1.2.3", "Tabletten 200 mg"), "ingredient": [ATC_QUININE]},
        {"code": concept("4711", "urn:oid:1.2.3"), "ingredient": [{"itemReference": {"reference": "Medication/i1"}}]},
        {"code": concept("4711"), "contained": [CHININ], "ingredient": [{"itemReference": {"reference": "#i1"}}]},
        {"code": concept("4711"), "product": {"ingredient": [{"item": {"reference": "Medication/i1"}}]}},
        {
            "code": concept("4711"),
            "ingredient": [{"itemCodeableConcept": {"text": "caffeine"}}, {"itemCodeableConcept": {"text": "quinine"}}],
        },
        {
            "contained": [{"resourceType": "Substance", "id": "s", "code": {"text": "Quinine sulfate"}}],
            "ingredient": [{"itemReference": {"reference": "#s"}}],
        },
    ],
)
def test_ingredients_are_read_where_the_product_is_not_recognised(medication: Json) -> None:
    asked = without(prescription(medicationReference={"reference": "Medication/m1"}), "medicationCodeableConcept")
    ways: Any = (
        {"prescriptions": bundle(asked, {"resourceType": "Medication", "id": "m1", **medication}, CHININ)},
        {"prescriptions": bundle(asked), "labs": bundle({"resourceType": "Medication", "id": "m1", **medication}, CHININ)},
    )
    for where in ways:
        (found,) = facts(**where).drugs
        assert (set(found.classes), found.identified) == ({"quinine"}, True)


def test_what_a_tablet_is_made_of_is_no_drug() -> None:
    medication = {
        "resourceType": "Medication",
        "id": "m1",
        "code": concept("4711", "urn:oid:1.2.3", "Tabletten"),
        "ingredient": [
            {"itemCodeableConcept": {"text": "bisoprolol"}},
            {"itemCodeableConcept": {"text": "potassium chloride"}, "isActive": False},
        ],
    }
    asked = without(prescription(medicationReference={"reference": "Medication/m1"}), "medicationCodeableConcept")
    assert drug(asked, medication).classes == {"beta_blocker"}


def test_a_medication_beside_the_drafts_is_found_from_the_lists_too() -> None:
    asked = without(statement(medicationReference={"reference": "urn:uuid:77"}), "medicationCodeableConcept")
    drafts = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:uuid:77", "resource": MEDICATION}]}
    (found,) = facts(drafts=drafts, statements=bundle(asked)).drugs
    assert found.classes == {"quinine"}


@pytest.mark.parametrize(
    "said",
    [
        concept("197604", RXNORM),
        concept("39024811000001105", "https://dmd.nhs.uk"),
        concept("00143-9801-01", "http://hl7.org/fhir/sid/ndc"),
        concept("997010"),  # of no system
        concept("997010", SNOMED),
        concept("4711", "urn:oid:1.2.3", "Tablet 100 mg"),
        {"text": "Unknown medication"},
        {"text": "NDC 00143-9801-01"},
        {"text": "   "},
        {},
    ],
)
def test_a_code_in_no_table_without_a_name_could_be_any_drug(said: Json) -> None:
    found = facts(prescriptions=bundle(prescription(medicationCodeableConcept=said)))
    (taken,) = found.drugs
    assert (taken.identified, taken.classes) == (False, frozenset())
    assert [(one.kind, one.code) for one in found.unread] == [("drug", one["code"]) for one in said.get("coding", [])]


@pytest.mark.parametrize(
    "said",
    [
        {"text": "cetirizine 10 mg tablet"},
        concept("4711", "urn:oid:1.2.3", "Cetirizin 10 mg Filmtabletten"),
        concept("R06AE07", "http://www.whocc.no/atc"),
        {"coding": [{"system": RXNORM, "code": "1014676", "display": "cetirizine hydrochloride 5 MG Oral Tablet"}]},
        concept("no-known-medications", "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"),
        {"text": "None"},
    ],
)
def test_a_legible_name_that_is_none_of_ours_is_another_drug(said: Json) -> None:
    found = facts(prescriptions=bundle(prescription(medicationCodeableConcept=said)))
    (taken,) = found.drugs
    assert (taken.identified, taken.classes, found.unread) == (True, frozenset(), ())


@pytest.mark.parametrize(
    ("said", "classes"),
    [
        (concept("RXNORM:9071", "urn:example"), {"quinine"}),
        (concept("rxcui|9071"), {"quinine"}),
        (concept("urn:oid:2.16.840.1.113883.6.88:9071", RXNORM), {"quinine"}),
        (concept("9071", "RxNorm"), {"quinine"}),
        (concept("P01BC01"), {"quinine"}),
        (concept("P01BC01", SNOMED), {"quinine"}),
        (concept("373497008"), {"quinine"}),
        (concept("373497008", RXNORM), {"quinine"}),
        (concept("ndc:9071", "urn:example"), set()),
        (concept("373497008", "http://fhir.de/CodeSystem/ifa/pzn"), set()),
    ],
)
def test_a_code_of_another_system_is_read_only_where_it_is_certain(said: Json, classes: set[str]) -> None:
    assert drug(prescription(medicationCodeableConcept=said)).classes == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("Chininsulfat 200 mg Filmtabletten", {"quinine"}),
        ("HYDROKININE TABLET 100MG", {"quinine"}),
        ("Sulfato de quinina 300 mg", {"quinine"}),
        ("Baclofène 10 mg comprimé", {"baclofen"}),
        ("Baclofeno 25 mg", {"baclofen"}),
        ("Digoxina 0,25 mg", {"digoxin"}),
        ("Furosemid 40 mg Tabletten", {"loop_diuretic"}),
        ("Kaliumchlorid retard 600 mg", {"potassium_supplement"}),
        ("Cloruro potásico 600 mg", {"potassium_supplement"}),
        ("Chinidinsulfat", set()),
    ],
)
def test_names_in_other_languages_are_recognised(text: str, classes: set[str]) -> None:
    assert drug(prescription(text)).classes == classes


@pytest.mark.parametrize(
    ("text", "dosage", "route"),
    [
        ("baclofen 2000 mcg/mL", {}, "intrathecal"),
        ("Baclofen", {"text": "IT pump, 400 mcg/day"}, "intrathecal"),
        ("Baclofen", {"text": "250 micrograms daily by pump"}, "intrathecal"),
        ("Lioresal Intrathecal", {}, "intrathecal"),
        ("Gablofen", {}, "intrathecal"),
        ("Baclofen 10 mg tablet", {"text": "one tablet three times a day"}, "oral"),
    ],
)
def test_intrathecal_baclofen_is_told_by_its_form_its_dose_and_the_words_of_the_dosage(
    text: str, dosage: Json, route: str
) -> None:
    assert drug(prescription(text, dosageInstruction=[dosage] if dosage else [])).route == route


def test_a_drug_without_code_and_text_is_not_identified() -> None:
    asked = without(prescription(medicationReference={"reference": "Medication/9"}), "medicationCodeableConcept")
    found = drug(asked)
    assert (found.identified, found.text, found.classes) == (False, "", frozenset())


def test_a_numeric_rxnorm_code_is_read() -> None:
    asked = prescription()
    asked["medicationCodeableConcept"] = {"coding": [{"system": RXNORM, "code": 997010}]}
    assert drug(asked).classes == {"quinine"}


def test_quinidine_is_not_quinine_and_losartan_potassium_no_supplement() -> None:
    assert all("quinine" not in one.classes for one in active(prescription("Quinidine sulfate 300 MG Oral Tablet", "852913")))
    assert all("potassium_supplement" not in one.classes for one in active(prescription("Losartan potassium 50 mg")))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"text": "PO"}, "oral"),
        ({"coding": [{"system": SNOMED, "code": "26643006"}]}, "oral"),
        ({"coding": [{"display": "Intrathecal route"}]}, "intrathecal"),
    ],
)
def test_the_route_of_the_dosage_counts(route: Json, expected: str) -> None:
    assert drug(prescription("Baclofen", dosageInstruction=[{"route": route}])).route == expected


@pytest.mark.parametrize(
    ("times", "day"),
    [
        (
            {
                "authoredOn": "2025-11-05",
                "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": "2025-11-10"}}}}],
            },
            "2025-11-10",
        ),
        ({"authoredOn": "2025-11-05"}, "2025-11-05"),
        ({"dateWritten": "2025-11-06"}, "2025-11-06"),
        ({"dateAsserted": "2025-11-07", "effectiveDateTime": "2025-10-01"}, "2025-10-01"),
        ({"dateAsserted": "2025-11-07", "effectivePeriod": {"start": "2025-09-01"}}, "2025-09-01"),
        ({"dateAsserted": "2025-11-07"}, "2025-11-07"),
    ],
)
def test_the_start_of_the_therapy_comes_before_the_date_of_the_record(times: Json, day: str) -> None:
    found = drug(prescription(**times))
    assert found.started is not None
    assert found.started.day == day


@pytest.mark.parametrize(
    "why",
    [
        {"reasonCode": [{"text": "Leg CRAMPS"}]},
        {"reasonCode": {"coding": [{"code": "x", "display": "Leg cramps"}]}},
        {"reasonCodeableConcept": {"text": "leg cramps"}},
        {"reasonForUseCodeableConcept": {"text": "leg cramps"}},
        {"reasonReference": [{"reference": "Condition/9", "display": "Leg cramps"}]},
        {"reasonForUseReference": {"display": "Leg cramps"}},
        {"note": [{"text": "for leg cramps"}]},
        {"note": "leg cramps"},
        {"dosageInstruction": [{"text": "one at night for leg cramps"}]},
        {"dosageInstruction": {"patientInstruction": "for leg cramps"}},
        {"dosageInstruction": [{"additionalInstruction": [{"text": "for leg cramps"}]}]},
        {"dosageInstruction": [{"asNeededCodeableConcept": {"text": "leg cramps"}}]},
    ],
)
def test_the_reason_is_found_wherever_it_is_written(why: Json) -> None:
    assert drug(prescription(**why)).reasons == {"cramp_reason"}


def test_coded_reasons_and_referenced_conditions_lead_to_problem_sets() -> None:
    coded = prescription(reasonCode=[concept("B50.9", "http://hl7.org/fhir/sid/icd-10-cm")])
    assert drug(coded).reason_sets == {"malaria"}
    referring = prescription(reasonReference=[{"reference": "https://ehr.example/fhir/Condition/c9"}])
    problem = condition("R25.2", text="Cramp and spasm", id="c9")
    (found,) = facts(prescriptions=bundle(referring), problems=bundle(problem)).drugs
    assert found.reason_sets == {"muscle_cramp"}
    assert found.reasons == {"cramp_reason"}


REFERRING = prescription(reasonReference=[{"reference": "Condition/c9"}])


@pytest.mark.parametrize(
    "denied",
    [
        {"verificationStatus": "refuted"},
        {"verificationStatus": concept("entered-in-error")},
        {"code": {"coding": [{"system": GM, "code": "R25.2", "extension": EXCLUDED}]}},
    ],
)
def test_a_condition_that_is_denied_is_no_reason(denied: Json) -> None:
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(condition(id="c9") | denied)).drugs
    assert (found.reason_sets, found.reasons, found.reason_unread) == (frozenset(), frozenset(), False)


def test_a_condition_that_is_over_is_still_the_reason_that_was_stated() -> None:
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(condition(id="c9", clinicalStatus="resolved"))).drugs
    assert found.reason_sets == {"muscle_cramp"}


def test_a_contained_condition_and_one_by_its_full_url_are_found() -> None:
    contained = prescription(reasonReference=[{"reference": "#c"}], contained=[condition("B54", id="c")])
    assert drug(contained).reason_sets == {"malaria"}
    url = "urn:uuid:6f1c2a56-0000-4000-8000-000000000001"
    by_url = prescription(reasonReference=[{"reference": url}])
    listed = bundle(condition("B54", id="c9"))
    listed["entry"][0]["fullUrl"] = url
    (found,) = facts(prescriptions=bundle(by_url), problems=listed).drugs
    assert (set(found.reason_sets), found.reason_unread) == ({"malaria"}, False)


def test_a_condition_that_is_not_at_hand_or_carries_a_modifier_is_unread() -> None:
    assert drug(REFERRING).reason_unread
    modified = condition(id="c9", modifierExtension=[{"url": "urn:negated"}])
    (found,) = facts(prescriptions=bundle(REFERRING), problems=bundle(modified)).drugs
    assert (found.reason_unread, found.reason_sets) == (True, frozenset())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("leg cramps; had malaria in 1998", False),
        ("history of malaria", False),
        ("prior falciparum malaria", False),
        ("malaria 20 years ago", False),
        ("malaria", True),
        ("take prior to meals; for malaria", True),
        ("uncomplicated falciparum malaria", True),
    ],
)
def test_past_malaria_is_no_reason(text: str, found: bool) -> None:
    assert ("malaria_reason" in drug(prescription(reasonCode=[{"text": text}])).reasons) is found
    assert ("malaria" in drug(prescription(reasonCode=[{"text": text}])).reason_sets) is found


@pytest.mark.parametrize(
    ("why", "stated"),
    [
        ({"reasonCode": [{"text": "jet lag"}]}, True),
        ({"reasonCode": [concept("Z00.0", "http://hl7.org/fhir/sid/icd-10-cm")]}, True),
        ({"reasonForUseCodeableConcept": {"text": "jet lag"}}, True),
        ({"reasonReference": [{"reference": "Condition/unknown"}]}, True),
        ({"reasonForUseReference": {"reference": "Condition/unknown"}}, True),
        ({"dosageInstruction": [{"asNeededCodeableConcept": {"text": "sleep"}}]}, True),
        ({"reasonCode": []}, False),
        ({"reasonCode": [{}]}, False),
        ({"note": [{"text": "for leg cramps"}]}, False),
        ({"dosageInstruction": [{"text": "one at night"}]}, False),
        ({}, False),
    ],
)
def test_a_reason_is_stated_only_where_a_reason_belongs(why: Json, stated: bool) -> None:
    assert drug(prescription(**why)).reason_stated is stated


def test_the_dose_of_a_drug_that_is_taken_is_read_only_where_its_class_says_so() -> None:
    assert drug(prescription(dosageInstruction=[{"text": "10 mg three times a day"}])).daily_dose_mg is None
    assert drug(statement("acetaminophen", dosage=[{"text": "1 g three times a day"}])).daily_dose_mg == 3000


def test_stu3_and_dstu2_spellings_are_read() -> None:
    order = {
        "resourceType": "MedicationOrder",
        "id": "o1",
        "status": "active",
        "patient": OURS,
        "dateWritten": "2025-11-01",
        "medicationCodeableConcept": {"text": "Quinine 200 mg"},
        "dosageInstruction": [{"text": "1 nocte", "doseQuantity": {"value": 1, "unit": "tablet"}}],
    }
    assert drug(order).reference == "MedicationOrder/o1"
    said = statement(
        "Quinine 200 mg", dosage=[{"text": "1 nocte", "quantityQuantity": {"value": 1, "unit": "tablet"}}], wasNotTaken=False
    )
    assert drug(said).classes == {"quinine"}


def test_an_unreadable_end_does_not_end_a_drug() -> None:
    assert drug(statement(effectivePeriod={"end": "soon"})).classes == {"baclofen"}


@pytest.mark.parametrize("code", ["9071", "RXNORM:9071", "http://www.nlm.nih.gov/research/umls/rxnorm/9071", "rxnorm|9071"])
def test_a_code_of_a_drug_is_known_with_what_stands_around_it(code: str) -> None:
    assert drug(prescription("", code)).classes == {"quinine"}


def test_so_many_words_that_they_hold_up_others_are_not_looked_up_and_that_is_known() -> None:
    flood = [prescription(f"{number} " + "oxycodone and digoxin " * 12, id=f"rx{number}") for number in range(400)]
    found = active(prescription("Oxycodone 5 mg", id="first"), *flood, prescription("", "9071", id="coded"))
    assert len(found) == 402
    assert (found[0].identified, found[1].identified) == (True, True)
    unread = [one for one in found if not one.identified]
    assert 150 < len(unread) < 400
    assert found[-1].classes == {"quinine"}  # a code costs nothing
    again = active(*([prescription("Oxycodone 5 mg oral tablet " * 8)] * 1000))
    assert all(one.identified for one in again)  # neither does what stands there again


def test_a_medication_of_very_many_ingredients_is_not_known_to_be_another() -> None:
    several = [{"itemCodeableConcept": {"text": f"herb {number}"}} for number in range(60)]
    made = {"resourceType": "Medication", "id": "m", "ingredient": several}
    by_reference = {**without(prescription(), "medicationCodeableConcept"), "medicationReference": {"reference": "#m"}}
    assert not drug({**by_reference, "contained": [made]}).identified
    assert drug({**by_reference, "contained": [{**made, "ingredient": several[:50]}]}).identified
