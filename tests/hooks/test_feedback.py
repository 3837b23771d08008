from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.alert_log import FeedbackRecord
from cds_service.hooks.feedback import decode_feedback
from cds_service.telemetry.metrics import FEEDBACK, counts
from cds_service.trust import Caller
from cds_service.wire.errors import BadRequest
from tests.alert_log_samples import named, rows
from tests.http_side import Stub, encoded, new_test_app, running
from tests.unwritable_log import make_unwritable, make_writable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATH = "/cds-services/cramps-order-sign/feedback"
EPIC = "com.epic.cdshooks.feedback.overrideReason"


def records(*items: Any) -> list[FeedbackRecord]:
    batch = decode_feedback(encoded({"feedback": list(items)}), "cramps-order-sign", NOW)
    assert batch.refused == []
    return batch.records


def overridden(**members: Any) -> FeedbackRecord:
    [record] = records({"card": "c-1", "outcome": "overridden", **members})
    return record


def reason_of(record: FeedbackRecord) -> tuple[str, str, str]:
    return record.reason_system, record.reason_code, record.reason_display


def test_an_accepted_suggestion_is_recorded() -> None:
    [record] = records(
        {
            "card": "c-1",
            "outcome": "accepted",
            "acceptedSuggestions": [{"id": "s-1"}, {"id": "s-2"}],
            "outcomeTimestamp": "2026-02-28T10:00:00Z",
        }
    )
    assert record == FeedbackRecord(
        received_at=NOW,
        service="cramps-order-sign",
        card_uuid="c-1",
        outcome="accepted",
        accepted=["s-1", "s-2"],
        reason_system="",
        reason_code="",
        reason_display="",
        comment_length=0,
        outcome_timestamp="2026-02-28T10:00:00Z",
        client="anonymous",
        tenant="",
    )


def test_an_override_is_recorded_with_its_reason_and_the_length_of_its_comment_only() -> None:
    record = overridden(
        overrideReason={
            "reason": {"code": "seen", "system": "http://r.example", "display": "Seen"},
            "userComment": "Mr Öz said so",
        }
    )
    assert reason_of(record) == ("http://r.example", "seen", "Seen")
    assert record.comment_length == len("Mr Öz said so")
    assert "Öz" not in repr(record)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, ("", "", "")),
        ({"overrideReason": None}, ("", "", "")),
        ({"overrideReason": {"reason": {"code": "a", "system": "s"}}}, ("s", "a", "")),
        (
            {"overrideReason": {"reason": {"coding": [{"code": "a", "system": "s", "display": "d"}], "text": "t"}}},
            ("s", "a", "d"),
        ),
        ({"overrideReason": {"reason": {"text": "only words"}}}, ("", "", "only words")),
        ({"overrideReasons": {"reason": {"code": "a", "system": "s", "display": "d"}}}, ("s", "a", "d")),
        ({"overrideReasons": [{"reason": {"code": "a", "system": "s"}}, {"reason": {"code": "b"}}]}, ("s", "a", "")),
        (
            {
                "overrideReasons": {
                    "extension": {f"{EPIC}.reasonCategory": "45", f"{EPIC}.reasonDisplay": "No", f"{EPIC}.reasonTitle": "N"}
                }
            },
            (EPIC, "45", "No"),
        ),
        ({"overrideReasons": {"extension": {f"{EPIC}.reasonTitle": "Not now"}}}, ("", "", "Not now")),
        ({"overrideReason": {"reason": {"code": 5, "system": "s"}}}, ("s", "", "")),
        ({"overrideReason": "because"}, ("", "", "")),
        ({"overrideReason": {"reason": {"code": "x" * 5000}}}, ("", "x" * 200, "")),
        ({"overrideReason": {"code": "a", "system": "s", "display": "d"}}, ("s", "a", "d")),
        ({"overrideReason": {"coding": [{"code": "a", "system": "s"}], "text": "t"}}, ("s", "a", "")),
        ({"overrideReason": [{"code": "a", "system": "s"}]}, ("s", "a", "")),
        ({"overrideReasons": [{"code": "a", "system": "s"}, {"code": "b"}]}, ("s", "a", "")),
        ({"overrideReason": {"reason": "patient-preference"}}, ("", "patient-preference", "")),
        ({"overrideReason": {"reason": "Mr Öz said so"}}, ("", "", "")),
    ],
)
def test_reasons_are_found_where_ehrs_put_them(members: dict[str, Any], reason: tuple[str, str, str]) -> None:
    assert reason_of(overridden(**members)) == reason


@pytest.mark.parametrize("sent", [None, "s-1", 5, [], [{}], [{"id": 5}], ["s-1"], [{"id": ""}]])
def test_suggestions_that_do_not_fit_are_left_out_and_the_outcome_is_kept(sent: Any) -> None:
    [record] = records({"card": "c-1", "outcome": "accepted", "acceptedSuggestions": sent})
    assert (record.outcome, record.accepted) == ("accepted", [])


@pytest.mark.parametrize("sent", ["yesterday", 5, None, "", {"a": 1}])
def test_a_timestamp_that_is_none_is_left_out(sent: Any) -> None:
    assert overridden(outcomeTimestamp=sent).outcome_timestamp == ""


@pytest.mark.parametrize(
    ("members", "length"),
    [
        ({"overrideReason": {"code": "a", "userComment": ["seen by", "neurology"]}}, 16),
        ({"overrideReason": {"userComment": "seen"}}, 4),
        ({"userComment": "seen"}, 4),
        ({"overrideReason": {"userComment": [5, None]}}, 0),
        ({"overrideReason": {"userComment": {}}}, 0),
    ],
)
def test_of_comments_the_length_is_kept_wherever_they_stand(members: dict[str, Any], length: int) -> None:
    assert overridden(**members).comment_length == length


@pytest.mark.parametrize("outcome", ["accepted", "overridden", "ignored", "Accepted", " overridden"])
def test_outcomes_that_are_read(outcome: str) -> None:
    [record] = records({"card": "c", "outcome": outcome})
    assert record.outcome == outcome.strip().lower()


def test_uuids_have_no_case() -> None:
    upper = "1AF363F3-CFFD-5511-9F61-04A2F5D9F240"
    [record] = records({"card": upper, "outcome": "accepted", "acceptedSuggestions": [{"id": upper}, {"id": "S-1"}]})
    assert (record.card_uuid, record.accepted) == (upper.lower(), [upper.lower(), "S-1"])


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"outcome": "accepted"}, "`card` is required"),
        ({"card": 5, "outcome": "accepted"}, "`card` is required"),
        ({"card": "", "outcome": "accepted"}, "`card` is required"),
        ({"card": "SECRET " * 50, "outcome": "accepted"}, "`card` is required"),
        ({"card": "c-9", "overrideReason": {"userComment": "SECRET"}}, "`outcome` is required"),
        ({"card": "c", "outcome": "the SECRET"}, "`outcome` is required"),
        ({"card": "c", "outcome": ["accepted"], "note": "SECRET"}, "`outcome` is required"),
        ({"card": "c", "outcome": "no", "mrn": 12345, "the SECRET": {"display": "SECRET"}}, "`outcome` is required"),
        ("SECRET", "an item must be an object"),
        (["SECRET"], "an item must be an object"),
        (None, "an item must be an object"),
    ],
)
def test_a_wrong_item_is_refused_by_its_place_and_kept_without_words(item: Any, why: str) -> None:
    batch = decode_feedback(encoded({"feedback": [{"card": "c-0", "outcome": "accepted"}, item]}), "s", NOW, Caller("ehr"))
    assert [one.card_uuid for one in batch.records] == ["c-0"]
    [refused], [kept] = batch.refused, batch.kept
    assert refused.index == 1
    assert refused.why.startswith(why)
    assert (kept.kind, kept.error, kept.client, kept.service) == ("feedback", refused.why, "ehr", "s")
    assert "SECRET" not in repr(batch)
    assert "12345" not in repr(batch)


def test_a_refused_item_is_kept_with_its_shape_and_codes() -> None:
    item = {"card": "c-9", "outcome": "postponed", "overrideReason": {"code": "a", "system": "s", "userComment": "Mr Öz"}, "n": 5}
    [kept] = decode_feedback(encoded({"feedback": [item]}), "s", NOW).kept
    assert msgspec.json.decode(kept.item) == {
        "card": "c-9",
        "outcome": "postponed",
        "overrideReason": {"code": "a", "system": "s", "userComment": "(5 characters)"},
        "n": "(a number)",
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"feedback":{}}', b'{"feedback":null}', b'{"feedback":[NaN]}', b'{"feedback":[\xff]}']
)
def test_a_body_without_a_feedback_list_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_feedback(body, "s", NOW)


def test_a_batch_has_at_most_a_thousand_items() -> None:
    item = {"card": "c", "outcome": "accepted"}
    assert len(records(*[item] * 1000)) == 1000
    with pytest.raises(BadRequest, match="at most 1000"):
        records(*[item] * 1001)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["reason", "coding", "code", "extension", "id", "text"]), inner)
    ),
    max_leaves=10,
)


@given(
    members=st.dictionaries(
        st.sampled_from(["overrideReason", "overrideReasons", "acceptedSuggestions", "outcomeTimestamp"]), json_values
    )
)
def test_whatever_else_an_item_holds_its_outcome_is_recorded(members: dict[str, Any]) -> None:
    record = overridden(**members)
    assert (record.card_uuid, record.outcome) == ("c-1", "overridden")


# Over HTTP


def stored(folder: Path) -> list[tuple[str, str]]:
    for name in ("c-0", "c-1", "nobody's"):
        named(name)
    return rows(folder / "alerts.sqlite3", "SELECT card_uuid, outcome FROM feedback ORDER BY seq")


async def test_a_batch_is_stored_in_its_order_with_repeats_contradictions_and_unknown_cards(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    outcomes = [("c-1", "accepted"), ("nobody's", "overridden"), ("c-1", "overridden"), ("c-1", "accepted"), ("c-1", "accepted")]
    batch = {
        "feedback": [
            {"card": card, "outcome": outcome, "outcomeTimestamp": f"2026-02-28T10:00:0{second}Z"}
            for second, (card, outcome) in enumerate(outcomes)
        ]
    }
    async with running(app) as client:
        answer = await client.post(PATH, json=batch)
    assert (answer.status_code, answer.json()) == (200, {"received": 5})
    assert answer.headers["content-type"] == "application/json"
    assert stored(tmp_path) == outcomes


async def test_an_empty_list_is_fine(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.post(PATH, json={"feedback": []})
    assert (answer.status_code, answer.json()) == (200, {"received": 0})


async def test_of_a_batch_with_wrong_items_the_others_are_stored(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    before = counts(FEEDBACK)
    async with running(app) as client:
        items = [{"card": "c-0"}, {"card": "c-1", "outcome": "ignored"}, {"card": "c-1", "outcome": "accepted"}, "SECRET"]
        answer = await client.post(PATH, json={"feedback": items})
    assert answer.status_code == 200
    assert answer.json() == {
        "received": 2,
        "refused": [
            {"index": 0, "why": "`outcome` is required and must be `accepted`, `overridden` or `ignored`"},
            {"index": 3, "why": "an item must be an object"},
        ],
    }
    assert stored(tmp_path) == [("c-1", "ignored"), ("c-1", "accepted")]
    assert rows(tmp_path / "alerts.sqlite3", "SELECT kind, service, item FROM quarantine") == [
        ("feedback", "cramps-order-sign", '{"card":"c-0"}'),
        ("feedback", "cramps-order-sign", '"(6 characters)"'),
    ]
    after = counts(FEEDBACK)
    assert {name: after.get(name, 0) - before.get(name, 0) for name in after} == {
        "accepted": 1,
        "ignored": 1,
        "refused": 2,
        **{name: 0 for name in after if name == "overridden"},
    }


async def test_a_batch_of_which_nothing_can_be_read_is_a_bad_request_and_kept(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.post(PATH, json={"feedback": [{"card": "c-1", "outcome": "SECRET"}] * 5})
    assert answer.status_code == 400
    text = answer.json()["issue"][0]["details"]["text"]
    assert text.startswith("No item of `feedback` could be read. `feedback[0]`: `outcome` is required")
    assert "SECRET" not in answer.text
    assert stored(tmp_path) == []
    assert rows(tmp_path / "alerts.sqlite3", "SELECT count(*) FROM quarantine") == [5]


async def test_a_body_of_feedback_has_a_limit_of_its_own(tmp_path: Path) -> None:
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.post(PATH, content=b" " * (64 * 1024 + 1))
    assert answer.status_code == 413


async def test_feedback_that_waits_in_memory_for_a_broken_log_is_accepted_and_health_says_so(tmp_path: Path) -> None:
    make_unwritable(tmp_path / "alerts.sqlite3")
    app, _ = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        answer = await client.post(PATH, json={"feedback": [{"card": "c-1", "outcome": "accepted"}]})
        health = (await client.get("/health")).json()
        make_writable(tmp_path / "alerts.sqlite3")
    assert (answer.status_code, answer.json()) == (202, {"received": 1})
    assert (health["status"], health["log"]["state"]) == ("degraded", "degraded")
    assert stored(tmp_path) == [("c-1", "accepted")], "written as soon as that was possible"


async def test_feedback_is_refused_when_the_log_has_failed(tmp_path: Path) -> None:
    app, runtime = new_test_app(tmp_path, Stub())
    async with running(app) as client:
        await runtime.alert_log.close()
        answer = await client.post(PATH, json={"feedback": [{"card": "c-1", "outcome": "accepted"}]})
    assert answer.status_code == 503
    assert answer.json()["issue"][0]["code"] == "transient"
