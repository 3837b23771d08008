from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.hooks.feedback import decode_feedback
from cds_service.wire.errors import BadRequest
from cds_service.wire.hook_request import decode_request
from cds_service.wire.strict_json import MAX_DEPTH, CountingDecoder, Name, check_whole, members_of
from tests.http_side import call_body, encoded
from tests.reading import NOW

DRAFTS = '"draftOrders":{"resourceType":"Bundle","entry":[]}'


def call(context: str = "", top: str = "", drafts: str = DRAFTS) -> bytes:
    """An order-sign call, with more members in its context and at its top."""
    context = f'"patientId":"123",{drafts}{context}'
    return f'{{"hook":"order-sign","hookInstance":"i","context":{{{context}}}{top}}}'.encode()


def refusal(body: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        decode_request(body, "order-sign")
    return str(caught.value)


def test_the_plain_call_is_accepted() -> None:
    assert decode_request(call(), "order-sign").context.patientId == "123"


TWICE = {
    "hook": call(top=',"hook":"order-sign"'),
    "the instance": call(top=',"hookInstance":"j"'),
    "the context": call(top=f',"context":{{"patientId":"123",{DRAFTS}}}'),
    "the server": call(top=',"fhirServer":"https://a.example","fhirServer":"https://b.example"'),
    "the authorization": call(top=',"fhirAuthorization":{"access_token":"a"},"fhirAuthorization":{"patient":"123"}'),
    "the token": call(top=',"fhirAuthorization":{"access_token":"a","access_token":"b"}'),
    "the prefetch": call(top=',"prefetch":{"labs":null},"prefetch":{"patient":null}'),
    "a prefetch key": call(top=',"prefetch":{"labs":null,"labs":null}'),
    "an escaped name": call(top=',"prefetch":{"labs":null,"\\u006cabs":null}'),
    "the patient": call(',"patientId":"456"'),
    "the orders": call(f",{DRAFTS}"),
    "a member of the orders": call(drafts='"draftOrders":{"entry":[],"entry":[]}'),
    "a member of an order": call(drafts='"draftOrders":{"entry":[{"resource":{"subject":{"reference":"a","reference":"b"}}}]}'),
}


@pytest.mark.parametrize("what", TWICE)
@pytest.mark.parametrize("odd", ["", ',"fhirServer":5'])
def test_a_member_that_stands_twice_is_refused(what: str, odd: str) -> None:
    """With and without another member that doesn't fit, because a call with one is decoded in another way."""
    body = TWICE[what] if what != "the server" or not odd else call(top=',"fhirServer":"https://a.example","fhirServer":5')
    assert "stands twice" in refusal(body[:-1] + odd.encode() + b"}")


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9)), st.sampled_from("abcdef"))
def test_names_are_counted_whatever_they_replace(members: dict[str, int], again: str) -> None:
    text = json.dumps(members)[:-1] + (", " if members else "") + f'"{again}": 1}}'
    value, count = CountingDecoder[dict[Name, int]](dict[Name, int]).decode(text.encode())
    assert (count > len(value)) == (again in members)
    assert value == {**members, again: 1}


def test_a_byte_order_mark_is_skipped() -> None:
    assert decode_request(b"\xef\xbb\xbf" + call(), "order-sign").context == decode_request(call(), "order-sign").context


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{\n  "hook": "SECRET",\n  "context": }', "line 3, column 14"),
        ('\ufeff{"hook": "SECRET" "a"}', "line 1, column 19"),
        ('{"hook": "äöü",\r\n "é": tru}', "line 2, column 8"),
        ('{"hook": "order-sign",\n', "line 2, column 1"),
        ('{"hook": "x"}\n\n{"hook": "SECRET"}', "line 3, column 2"),
    ],
)
def test_a_mistake_in_json_has_its_line_and_column_and_no_content(body: str, place: str) -> None:
    said = refusal(body.encode())
    assert said.startswith("The body is not JSON: ")
    assert said.endswith(f"({place})")
    assert "SECRET" not in said


def test_text_that_is_not_utf_8_has_its_line_and_column() -> None:
    assert refusal(b'{"hook":\n "caf\xe9"}') == "The body holds text that is not UTF-8 (line 2, column 6)"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The body is empty"),
        (b"\xef\xbb\xbf", "The body is empty"),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + call(), "The body is not JSON"),
        (b"\xff\xfe" + call().decode().encode("utf-16-le"), "The body holds text that is not UTF-8"),
        (call(top=',"extension":"\xff"').replace("ÿ".encode(), b"\xff"), "The body holds text that is not UTF-8"),
        (call(top=',"extension":"\xed"').replace("í".encode(), b"\xed\xa0\x80"), "The body holds text that is not UTF-8"),
        (call(top=',"extension":"\\u0000"'), "The body holds the character U+0000"),
        (call(top=',"extension":"\\\\\\u0000"'), "The body holds the character U+0000"),
        (call(top=',"extension":"' + "\\\\" * 500 + '\\u0000"'), "The body holds the character U+0000"),
        (call(top=',"extension":"' + "\\\\u0000" * 500 + '\\u0000"'), "The body holds the character U+0000"),
        (call(top=',"extension":"\\ud800"'), "The body holds half of a surrogate pair"),
        (call(top=',"extension":"\\udc00"'), "The body holds half of a surrogate pair"),
        (call(top=',"extension":"a\x00b"'), "The body is not JSON"),
        (call(top=',"extension":NaN'), "The body is not JSON"),
        (call(top=',"extension":-Infinity'), "The body is not JSON"),
        (call() + b"x", "The body is not JSON"),
        (call() + call(), "The body is not JSON"),
        (b"[" + call() + b"]", "The body must be a JSON object"),
        (call(top=',"extension":' + "[" * 100_000 + "]" * 100_000), "The body is nested too deeply"),
        (
            call(drafts='"draftOrders":{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"),
            "`context.draftOrders` is nested more than",
        ),
        (call(drafts='"draftOrders":{"a":' + "[" * 800 + "]" * 800 + "}"), "`context.draftOrders` is nested more than"),
        (call(drafts='"draftOrders":{"a":1e999}'), "A number in `context.draftOrders` is out of range"),
        (call(drafts=f'"draftOrders":{{"a":{"7" * 5000}}}'), "A number in `context.draftOrders` is out of range"),
        (call(',"userId":"' + "x" * 3000 + '"'), "`context.userId` may have at most"),
        (call().replace(b'"123"', b'"' + b"1" * 300 + b'"'), "`context.patientId` may have at most 255 characters"),
        (call().replace(b'"i"', b'"' + b"1" * 300 + b'"'), "`hookInstance` may have at most 255 characters"),
        (call(top=',"fhirServer":"' + "x" * 3000 + '"'), "`fhirServer` may have at most"),
        (call(',"selections":[' + ",".join(['"a"'] * 501) + "]"), "`context.selections` may have at most"),
    ],
)
def test_what_is_refused_is_told_by_its_kind(body: bytes, text: str) -> None:
    assert refusal(body).startswith(text)


@pytest.mark.parametrize(
    "top",
    [
        ',"extension":"\\\\u0000"',  # a backslash and a text, no U+0000
        ',"extension":"' + "\\\\u0000" * 1000 + '"',
        ',"extension":"\\ud83d\\ude00"',
        ',"extension":"\\n\\t\\u0001"',
        ',"extension":{"a":1,"a":2}',  # not read
        ',"extension":1e999',
        ',"extension":"ü"',
    ],
)
def test_what_only_looks_odd_or_is_not_read_is_accepted(top: str) -> None:
    assert decode_request(call(top=top), "order-sign").hookInstance == "i"


TEXTS = st.text(st.sampled_from('":\\u {}[]a0\n/é'), max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@given(VALUES, st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), (",\n", "\n:\t")]), st.booleans(), st.data())
def test_a_repeated_member_is_found_however_the_text_is_written(
    value: Any, separators: tuple[str, str], ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    check_whole(text.encode(), "x")
    opened = [at + 1 for at, char in enumerate(text) if char == "{" and is_outside(text, at) and text[at + 1] != "}"]
    if opened:
        at = data.draw(st.sampled_from(opened))
        end = next(end for end in range(at, len(text)) if text[end] == ":" and is_outside(text, end))
        name = data.draw(st.sampled_from([text[at:end], json.dumps(json.loads(text[at:end])), _escaped(text[at:end])]))
        with pytest.raises(BadRequest, match="stands twice"):
            check_whole(f"{text[:at]}{name}:null,{text[at:]}".encode(), "x")


def is_outside(text: str, at: int) -> bool:
    """Whether no string is open at a place in a JSON text."""
    return re.sub(r"\\.", "", text[:at]).count('"') % 2 == 0


def _escaped(name: str) -> str:
    return '"' + "".join(f"\\u{ord(char):04x}" for char in json.loads(name)) + '"'


def test_orders_may_be_nested_up_to_the_limit() -> None:
    levels = MAX_DEPTH - 1
    check_whole(b'{"a":' + b"[" * levels + b"1.25e2" + b"]" * levels + b"}", "x")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"feedback":[],"feedback":[]}', "A member of the body stands twice"),
        (b'{"feedback":[{"card":"a","card":"b","outcome":"accepted"}]}', "A member of an object in the body stands twice"),
        (b'{"feedback":[{"card":"a\\u0000","outcome":"accepted"}]}', "The body holds the character U+0000"),
        (b"", "The body is empty"),
    ],
)
def test_feedback_is_read_as_strictly(body: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_feedback(body, "cramps-order-sign", NOW)
    assert str(caught.value) == text


def test_a_long_name_costs_its_own_resource_only() -> None:
    def labs(text: str) -> Any:
        value = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Observation", "code": {"text": text}}}]}
        return decode_request(encoded(call_body(prefetch={"labs": value})), "patient-view").prefetch["labs"]

    assert not isinstance(labs("x" * 2000), msgspec.Raw)
    assert isinstance(labs("x" * 2001), msgspec.Raw), "left to be read entry by entry"


def test_members_are_those_of_the_object_itself() -> None:
    assert {name: bytes(raw) for name, raw in members_of(b'{"a": {"b": 1, "b": 2}}', "x").items()} == {"a": b'{"b": 1, "b": 2}'}
