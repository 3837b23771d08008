from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir.resources import Resource
from cds_service.wire.errors import BadRequest
from cds_service.wire.hook_request import HookRequest, decode_request
from tests.http_side import call_body, encoded

HOOKS = ("patient-view", "order-select", "order-sign")


def decoded(hook: str = "patient-view", /, **changes: Any) -> HookRequest:
    return decode_request(encoded(call_body(hook, **changes)), hook)


def with_context(hook: str, **changes: Any) -> bytes:
    context = {**call_body(hook)["context"], **changes}
    return encoded(call_body(hook, context={name: value for name, value in context.items() if value is not ...}))


def test_a_whole_call_is_decoded() -> None:
    body = b"""{"hook": "order-select", "hookInstance": "i-1", "fhirServer": "https://ehr.example/fhir/", "extension": {"a": [1]},
      "fhirAuthorization": {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "s",
                            "subject": "c", "patient": "123"},
      "context": {"userId": "Practitioner/7", "patientId": "123", "encounterId": "e1", "selections": ["MedicationRequest/1"],
                  "draftOrders": {"entry": [{"resource": {"resourceType":  "Task"}}]}, "unknown": null},
      "prefetch": {"patient": {"resourceType": "Patient", "id": "123"}, "labs": null}}"""
    call = decode_request(body, "order-select")
    assert (call.hook, call.hookInstance, call.fhirServer) == ("order-select", "i-1", "https://ehr.example/fhir")
    assert call.fhirAuthorization is not None
    assert (call.fhirAuthorization.access_token, call.fhirAuthorization.expires_in) == ("t", 300)
    assert (call.context.userId, call.context.patientId, call.context.encounterId) == ("Practitioner/7", "123", "e1")
    assert call.context.selections == ["MedicationRequest/1"]
    assert call.drafts is not None
    assert [draft.json for draft in call.drafts.drafts] == [b'{"resourceType":  "Task"}'], "draft orders are kept as sent"
    assert isinstance(call.prefetch["patient"], Resource)
    assert call.prefetch["patient"].id == "123"
    assert call.prefetch["labs"] is None
    assert "statements" not in call.prefetch, "absent is not null"


@pytest.mark.parametrize("hook", ["patient-view", "order-select"])
@pytest.mark.parametrize("prefetch", [[], [1], "text", "", 5, 0, True, False])
def test_a_prefetch_that_is_no_object_is_refused_and_named(prefetch: Any, hook: str) -> None:
    with pytest.raises(BadRequest, match="`prefetch` must be an object"):
        decode_request(encoded(call_body(hook) | {"prefetch": prefetch}), hook)


def test_a_prefetch_of_null_is_like_an_absent_one() -> None:
    assert decode_request(encoded(call_body() | {"prefetch": None}), "patient-view").prefetch == {}
    assert decode_request(encoded(call_body() | {"prefetch": None, "fhirServer": 5}), "patient-view").prefetch == {}


def test_a_prefetch_value_that_does_not_fit_is_handed_on_as_sent_and_the_others_are_read() -> None:
    call = decoded(
        prefetch={"patient": {"resourceType": "Patient", "id": "123"}, "labs": {"entry": "?"}, "user": "123", "problems": None}
    )
    assert isinstance(call.prefetch["patient"], Resource)
    assert call.prefetch["problems"] is None
    for key, sent in {"labs": b'{"entry":"?"}', "user": b'"123"'}.items():
        value = call.prefetch[key]
        assert isinstance(value, msgspec.Raw)
        assert bytes(value) == sent


def test_optional_fields_of_a_wrong_type_count_as_not_sent() -> None:
    body = with_context("patient-view", userId=5, encounterId=["e"], selections="x", draftOrders=[])
    body = body[:-1] + b',"fhirServer":{},"fhirAuthorization":{"access_token":7,"expires_in":"300","patient":"123"}}'
    call = decode_request(body, "patient-view")
    assert (call.context.userId, call.context.encounterId, call.context.selections, call.fhirServer) == (None, None, None, None)
    assert call.context.patientId == "123"
    assert call.fhirAuthorization is not None
    assert (call.fhirAuthorization.access_token, call.fhirAuthorization.expires_in) == (None, "300")


@pytest.mark.parametrize(("sent", "read"), [("123", "123"), ("Patient/123", "Patient/123"), (123, "123"), ("", ""), (None, None)])
def test_a_tokens_patient_may_be_a_number_or_nobody(sent: object, read: str | None) -> None:
    authorization = decoded(fhirAuthorization={"access_token": "t", "patient": sent}).fhirAuthorization
    assert authorization is not None
    assert authorization.patient == read


@pytest.mark.parametrize("sent", [["123"], {"reference": "Patient/123"}, True, 1.5, []])
def test_a_tokens_patient_that_can_not_be_read_is_refused(sent: object) -> None:
    with pytest.raises(BadRequest, match="must be a string"):
        decoded(fhirAuthorization={"access_token": "t", "patient": sent})


def test_the_repr_of_a_call_does_not_show_the_token() -> None:
    assert "s3cret" not in repr(decoded(fhirAuthorization={"access_token": "s3cret"}))


@pytest.mark.parametrize(
    "sent", ["123", "Patient/123", "https://ehr.example/fhir/Patient/123", "/Patient/123/_history/4", " 123 "]
)
def test_a_patient_id_is_made_bare(sent: str) -> None:
    assert decode_request(with_context("patient-view", patientId=sent), "patient-view").context.patientId == "123"


@pytest.mark.parametrize(
    "sent", ["", " ", ".", "..", "Group/123", "NotaPatient/123", "a/b", "Patient/", "Patient/1/2", 123, None, ..., []]
)
def test_what_is_no_patient_id_is_refused_by_the_name_of_the_field(sent: Any) -> None:
    with pytest.raises(BadRequest, match=r"^`context\.patientId` is required"):
        decode_request(with_context("patient-view", patientId=sent), "patient-view")


@pytest.mark.parametrize("sent", ["e1", "Encounter/e1", "https://ehr.example/Encounter/e1"])
def test_an_encounter_id_is_made_bare(sent: str) -> None:
    assert decode_request(with_context("patient-view", encounterId=sent), "patient-view").context.encounterId == "e1"


def test_an_encounter_reference_to_something_else_is_dropped() -> None:
    assert decode_request(with_context("patient-view", encounterId="Patient/1"), "patient-view").context.encounterId is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hook": None}, "`hook` is required"),
        ({"hook": 5}, "`hook` is required"),
        ({"hookInstance": None}, "`hookInstance` is required"),
        ({"hookInstance": ""}, "`hookInstance` is required"),
        ({"hookInstance": {}}, "`hookInstance` is required"),
        ({"context": None}, "`context.patientId` is required"),
        ({"context": []}, "`context.patientId` is required"),
    ],
)
def test_a_missing_field_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(**changes)
    assert str(caught.value).startswith(text)


def test_a_hook_of_another_service_is_refused_before_its_context_is_looked_at() -> None:
    with pytest.raises(BadRequest, match=r"^`hook` must be `order-select` for this service$"):
        decode_request(encoded(call_body("patient-view")), "order-select")


def test_a_hook_instance_that_is_no_uuid_is_accepted() -> None:
    assert decoded(hookInstance="not a uuid").hookInstance == "not a uuid"


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize("sent", [[], "Bundle", 1, True])
def test_draft_orders_that_are_no_bundle_are_refused(hook: str, sent: Any) -> None:
    with pytest.raises(BadRequest, match=r"^`context\.draftOrders` must be a Bundle"):
        decode_request(with_context(hook, draftOrders=sent), hook)


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@pytest.mark.parametrize("sent", [..., None])
def test_draft_orders_that_were_not_sent_are_not_refused_and_not_taken_for_none(hook: str, sent: Any) -> None:
    """The public sandbox sends neither draft orders nor selections when its current tab is clicked again."""
    assert decode_request(with_context(hook, draftOrders=sent, selections=...), hook).drafts is None
    empty = decode_request(with_context(hook, draftOrders={"resourceType": "Bundle"}), hook).drafts
    assert empty is not None
    assert empty.is_bundle


@pytest.mark.parametrize("sent", [..., None, [], "MedicationRequest/1", [1], {}])
def test_order_select_needs_selections(sent: Any) -> None:
    with pytest.raises(BadRequest, match=r"^`context\.selections` is required"):
        decode_request(with_context("order-select", selections=sent), "order-select")


def test_order_sign_needs_no_selections() -> None:
    assert decoded("order-sign").context.selections is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"hook": NaN}',
        b'{"prefetch": {"labs": {"total": NaN}}}',
        b'{"hook": "\xff"}',
        b'{"hook": "\\ud800"}',
        b'{"hook": 5, "context": {"userId": "\xff"}}',
        b'{"hook": 5, "prefetch": {"labs": {"id": "\xff"}}}',
        b'{"hook":' + b"[" * 100_000,
        b'{"hook":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"<html></html>",
        b'{"a":1}{"b":2}',
    ],
)
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^(The body |`hook` )"):
        decode_request(body, "patient-view")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000, "1e-99999999999999999999", "0.1"])
@pytest.mark.parametrize("place", ['"total": %s', '"entry": [{"resource": {"valueQuantity": {"value": %s}}}]'])
def test_absurd_numbers_cost_their_own_key_at_most(number: str, place: str) -> None:
    body = encoded(call_body())[:-1] + f',"prefetch":{{"labs":{{{place % number}}},"patient":{{"id":"123"}}}}}}'.encode()
    call = decode_request(body, "patient-view")
    assert isinstance(call.prefetch["patient"], Resource)
    assert isinstance(call.prefetch["labs"], Resource | msgspec.Raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(
    hook=st.sampled_from(HOOKS),
    changes=st.dictionaries(
        st.sampled_from(["hook", "hookInstance", "fhirServer", "fhirAuthorization", "prefetch", "context"]), json_values
    ),
    context=st.dictionaries(st.sampled_from(["userId", "patientId", "encounterId", "selections", "draftOrders"]), json_values),
)
def test_any_json_is_decoded_or_a_bad_request(hook: str, changes: dict[str, Any], context: dict[str, Any]) -> None:
    body = call_body(hook)
    body["context"] = body["context"] | context
    try:
        call = decode_request(encoded(body | changes), hook)
    except BadRequest:
        return
    assert call.hook == hook
    assert call.hookInstance
    assert call.context.patientId


@given(secret=st.text(alphabet=st.characters(categories=["Lu"]), min_size=6, max_size=12), data=st.data())
def test_an_error_repeats_no_value(secret: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["hook", "hookInstance", "context"]))
    value = data.draw(st.sampled_from([{"x": secret}, [secret], {"patientId": {"x": secret}}, {"patientId": f"{secret}/1"}]))
    with pytest.raises(BadRequest) as caught:
        decoded(**{field: value})
    assert secret not in str(caught.value)
