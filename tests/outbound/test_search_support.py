"""A FHIR server's own quirks: asked once more as it wants to be, remembered, said where nothing helps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cds_service.criteria.facts import SourceState
from cds_service.outbound.search_support import KEPT_SECONDS, MAX_QUIRKS, Quirk, Quirks, adapted, issues_of, left_out, repairs
from tests.ehr_server import EhrServer, asked, call_of, patient
from tests.reading import Json, observation, prescription, statement

LABS = "Observation?patient=1&code=http://loinc.org%7C2823-3&_sort=-date&_count=200"
MEDICINES = "MedicationRequest?patient=1&status=active"
LOW = observation(value=2.2)
QUININE = prescription("Quinine sulfate 324 mg capsule")


def outcome(text: str, code: str = "invalid", **more: Any) -> bytes:
    issue = {"severity": "error", "code": code, "details": {"text": text}, **more}
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})


# In the words of servers, or words as likely
@pytest.mark.parametrize(
    ("query", "status", "body", "quirks"),
    [
        (LABS, 400, outcome("Unsupported search parameter: _sort"), ["Observation without _sort"]),
        (LABS, 400, outcome("Invalid _sort parameter value. Valid values are: [_id, date, code]"), ["Observation without _sort"]),
        (LABS, 501, outcome("_count is not implemented", "not-supported"), ["Observation without _count"]),
        (
            LABS,
            400,
            outcome('Unknown parameter "_sort". Valid search parameters for this search are: [_id, category, code, patient]'),
            ["Observation without _sort"],
        ),
        (LABS, 400, outcome("Must have either code or category", "required"), ["Observation with category"]),
        (LABS, 422, outcome("Required parameter missing", "required", expression=["category"]), ["Observation with category"]),
        (
            LABS,
            400,
            outcome("category must be provided; _sort is not supported"),
            [
                "Observation with category",
                "Observation without _sort",
            ],
        ),
        (LABS, 400, outcome("The parameter 'code' is not supported"), ["Observation without code"]),
        (LABS, 400, outcome("The parameter 'patient' is unknown; use subject"), ["Observation by subject"]),
        (LABS, 400, outcome("subject is required", "required"), ["Observation by subject"]),
        (LABS, 414, b"", ["Observation by POST _search"]),
        (LABS, 400, outcome("The request exceeds the maximum length", "too-long"), ["Observation by POST _search"]),
        (LABS, 400, b'{"message": "Bad Request: _sort"}', ["Observation without _sort"]),
        (LABS, 400, b"<html>", ["Observation without _sort", "Observation without _count"]),
        (
            LABS,
            400,
            outcome("Something went wrong, error code 5, status 400"),
            [
                "Observation without _sort",
                "Observation without _count",
            ],
        ),
        (MEDICINES, 400, outcome("At least one of intent or category is required"), ["MedicationRequest with intent"]),
        (MEDICINES, 400, outcome("The parameter 'status' is not known"), ["MedicationRequest without status"]),
        (MEDICINES, 400, outcome("HTTP status 400"), []),
        (MEDICINES, 400, b"", []),
        (MEDICINES, 404, outcome("", "not-supported"), ["has no MedicationRequest"]),
        (
            MEDICINES,
            404,
            outcome("Unknown resource type 'MedicationRequest' - Server knows how to handle: [Patient]"),
            ["has no MedicationRequest"],
        ),
        (MEDICINES, 400, outcome("Resource type MedicationRequest is not supported"), ["has no MedicationRequest"]),
        (
            MEDICINES,
            400,
            outcome("The parameter status is not supported for resource MedicationRequest"),
            ["MedicationRequest without status"],
        ),
        # Nothing that says whether the type is there: the next patient may have data
        (MEDICINES, 404, outcome("Patient 1 was not found", "not-found"), []),
        (MEDICINES, 404, b"", []),
        (MEDICINES, 404, b"<html>Not Found</html>", []),
        (MEDICINES, 403, outcome("MedicationRequest is not supported"), []),
        (MEDICINES, 500, outcome("category is required"), []),
        ("Patient/1", 400, outcome("_sort is not supported"), []),
        ("Patient/1", 404, outcome("Unknown resource type"), []),
        (LABS, 400, b"[" * 16_000, ["Observation without _sort", "Observation without _count"]),
        (
            LABS,
            400,
            b'{"resourceType":"OperationOutcome","issue":"?"}',
            ["Observation without _sort", "Observation without _count"],
        ),
    ],
)
def test_a_refusal_says_how_to_ask_again(query: str, status: int, body: bytes, quirks: list[str]) -> None:
    assert [str(quirk) for quirk in repairs(query, status, issues_of(body))] == quirks


@pytest.mark.parametrize(
    ("quirk", "query"),
    [
        (Quirk("without", "Observation", "_sort"), "Observation?patient=1&code=a"),
        (Quirk("with", "Observation", "category"), "Observation?patient=1&code=a&_sort=-date&category=laboratory"),
        (Quirk("by subject", "Observation"), "Observation?subject=Patient/1&code=a&_sort=-date"),
        (Quirk("by form", "Observation"), "Observation?patient=1&code=a&_sort=-date"),
    ],
)
def test_a_query_is_adapted_to_the_quirks_of_the_server(quirk: Quirk, query: str) -> None:
    assert adapted("Observation?patient=1&code=a&_sort=-date", [quirk]) == query
    assert adapted(query, [quirk]) == query, "once is enough"


def test_what_a_required_category_leaves_out_is_a_question_of_its_own() -> None:
    quirk = Quirk("with", "Observation", "category")
    other = left_out("Observation?patient=1", [quirk])
    assert other == "Observation?patient=1&category=social-history,procedure,exam,vital-signs"
    assert adapted(other, [quirk]) == other
    assert left_out("Condition?patient=1", [quirk]) is None
    assert left_out("Condition?patient=1", [Quirk("with", "Condition", "category")]) is None


def test_ways_are_those_of_a_type_for_an_hour_and_not_too_many() -> None:
    now = 0.0
    quirks = Quirks(lambda: now)
    quirk = Quirk("without", "Observation", "_sort")
    quirks.keep([quirk])
    assert (quirks.of(LABS), quirks.of(MEDICINES), quirks.of("Observation/1")) == ((quirk,), (), ())
    now = KEPT_SECONDS - 1
    assert quirks.of(LABS) == (quirk,)
    now = KEPT_SECONDS
    assert quirks.of(LABS) == ()
    quirks.keep([Quirk("without", "Observation", str(number)) for number in range(3 * MAX_QUIRKS)])
    assert len(quirks.of(LABS)) == MAX_QUIRKS


# Against a server, the whole way to the cards. The potassium of 2.2 must be found, whatever it takes.


@pytest.mark.parametrize(
    ("server", "first", "later"),
    [
        ({"refuses": {"_sort"}}, 2, 1),
        ({"refuses": {"_sort", "_count"}, "quiet": True}, 2, 1),
        ({"refuses": {"code"}}, 2, 1),
        ({"requires": {("Observation", "category")}}, 3, 2),  # one more for the categories that are no laboratory's
        ({"refuses": {"patient"}}, 2, 1),
        ({"longest": 300}, 2, 1),
    ],
)
async def test_a_search_that_is_refused_is_asked_once_more_and_the_way_is_remembered(
    server: Json, first: int, later: int
) -> None:
    ehr = EhrServer(patient(), LOW, **server)
    http_client = ehr.http_client()
    for number, learned in ((first, True), (later, False), (later, False)):
        done = await asked(http_client, call_of())
        assert done.topics == ["electrolyte-hypokalaemia"]
        assert done.state("labs") == "present"
        assert len(ehr.questions("Observation")) == number
        assert {told for quirk, told in done.quirks.items() if "Observation" in quirk} == {learned}
    await http_client.aclose()


async def test_a_server_that_still_refuses_is_asked_no_third_time_and_that_is_said() -> None:
    ehr = EhrServer(patient(), LOW, refuses={"_sort", "patient", "subject"})
    http_client = ehr.http_client()
    done = await asked(http_client, call_of())
    assert (len(ehr.questions("Observation")), done.topics, done.quirks) == (
        2,
        ["not-checked"],
        {"Observation without _sort": True},  # of which it complains no more
    )
    assert done.gathered["labs"].source.note == "the FHIR server answered with status 400"
    await http_client.aclose()


@pytest.mark.parametrize(
    "quirks", [{"refuses": {"_sort", "_count"}}, {"refuses": {"_sort"}, "requires": {("Observation", "category")}}]
)
async def test_a_server_that_names_one_fault_at_a_time_is_understood_in_the_second_call(quirks: Any) -> None:
    ehr = EhrServer(patient(), LOW, **quirks)
    http_client = ehr.http_client()
    first = await asked(http_client, call_of())
    assert (len(ehr.questions("Observation")), first.topics) == (2, ["not-checked"])
    second = await asked(http_client, call_of())
    assert second.topics == ["electrolyte-hypokalaemia"]
    await http_client.aclose()


async def test_a_required_intent_is_that_of_orders_and_plans() -> None:
    ehr = EhrServer(patient(), QUININE, requires={("MedicationRequest", "intent")})
    done = await asked(ehr.http_client(), call_of())
    assert done.topics == ["quinine-avoid"]
    assert any("intent=order,plan" in question for question in ehr.asked)


async def test_what_a_required_category_leaves_out_is_said_where_it_can_not_be_asked_for() -> None:
    ehr = EhrServer(patient(), LOW, requires={("Observation", "category")})
    answer = ehr.answer

    def only_laboratory(request: Any) -> Any:
        return ehr._error(403, "forbidden", "no") if "social-history" in str(request.url) else answer(request)

    ehr.transport.handler = only_laboratory
    done = await asked(ehr.http_client(), call_of())
    assert "electrolyte-hypokalaemia" in done.topics
    assert done.gathered["labs"].source.state is SourceState.PARTIAL
    assert "only laboratory results could be asked for" in done.gathered["labs"].source.note


async def test_a_long_search_goes_by_form_with_the_token_in_its_header_alone() -> None:
    ehr = EhrServer(patient(), LOW, longest=300)
    await asked(ehr.http_client(), call_of())
    (posted,) = [one for one in ehr.asked if one.startswith("POST")]
    assert posted.startswith("POST Observation/_search?patient=p1&code=")
    assert not any("T0KEN" in one for one in ehr.asked)


# A type that the server does not have


@pytest.mark.parametrize("lacking", ["MedicationStatement", "MedicationRequest"])
async def test_the_one_list_of_medications_is_enough_where_the_server_has_no_type_for_the_other(lacking: str) -> None:
    taken = QUININE if lacking == "MedicationStatement" else statement("Quinine sulfate 324 mg capsule")
    ehr = EhrServer(patient(), taken, lacks={lacking})
    http_client = ehr.http_client()
    for questions in (1, 0):  # remembered
        done = await asked(http_client, call_of())
        assert done.topics == ["quinine-avoid"]
        assert len(ehr.questions(f"{lacking}?")) == questions
        assert f"has no {lacking}" in done.quirks
    quiet = await asked(EhrServer(patient(), lacks={lacking}).http_client(), call_of())
    assert quiet.topics == [], "a chart without anything to say opens without a notice"


async def test_without_either_list_of_medications_that_is_said() -> None:
    ehr = EhrServer(patient(), LOW, lacks={"MedicationStatement", "MedicationRequest"})
    done = await asked(ehr.http_client(), call_of())
    assert (done.state("statements"), done.state("prescriptions")) == ("error", "error")
    assert "not-checked" in (await asked(ehr.http_client(), call_of("order-sign", prescription("Baclofen 10 mg")))).topics


async def test_a_type_is_not_taken_for_lacking_because_one_search_of_it_failed() -> None:
    ehr = EhrServer(patient(), lacks={"MedicationStatement"}, quiet=True)
    done = await asked(ehr.http_client(), call_of())
    assert (done.state("statements"), done.quirks) == ("error", {})


async def test_other_types_that_a_server_lacks_are_no_known_emptiness() -> None:
    done = await asked(EhrServer(patient(), lacks={"Observation"}).http_client(), call_of())
    assert (done.state("labs"), done.topics) == ("error", ["not-checked"])
    assert done.gathered["labs"].source.note == "the FHIR server has no data of this kind"


async def test_a_prefetched_list_can_be_what_the_server_does_not_have() -> None:
    unsupported = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]}
    ehr = EhrServer(patient(), lacks={"MedicationStatement"})
    done = await asked(ehr.http_client(), call_of(prefetch={"statements": unsupported, "prescriptions": None}))
    assert (done.state("statements"), done.topics) == ("empty", [])


# `_include`


async def test_medications_come_along_where_the_client_says_that_its_ehr_supports_it() -> None:
    ehr = EhrServer(patient())
    http_client = ehr.http_client()
    await asked(http_client, call_of(), include=True)
    assert any("_include=MedicationRequest:medication" in one for one in ehr.questions("MedicationRequest"))
    await asked(http_client, call_of())
    assert not ehr.questions("_include")
    ehr.refuses = {"_include"}
    done = await asked(http_client, call_of(), include=True)
    assert (done.state("prescriptions"), "MedicationRequest without _include" in done.quirks) == ("empty", True)
