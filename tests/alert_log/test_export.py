"""The log as rows: everything is exported, each thing once."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.alert_log import AlertLog, call_lines
from cds_service.alert_log import export as module
from cds_service.alert_log.records import DeliveryRecord, Record, RefusalRecord, WithdrawnRecord
from cds_service.alert_log.store import Store
from cds_service.exports import card_rows as rows_of_cards
from cds_service.exports.call_details import DamagedBodyError
from cds_service.exports.columns import CARD_COLUMNS, FEEDBACK_COLUMNS
from tests.alert_log_samples import SERVICE, START, a_call, a_card, a_feedback, a_key, name_of
from tests.exported_log import call_rows, card_export, card_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


def store_all(path: Path, *records: Record) -> None:
    with closing(Store(path)) as store:
        store.append(records)


def ndjson(path: Path, since: datetime | None = None, *, calls: bool = False) -> list[dict[str, Any]]:
    return [in_names(row) for row in (call_rows(path, since) if calls else card_rows(path, since))]


def table(path: Path) -> list[dict[str, str]]:
    return [in_names(row) for row in csv.DictReader(io.StringIO(card_export(path, "csv").decode(), newline=""))]


def in_names(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the names that the samples were given in place of ids."""
    named = {name: name_of(value) for name, value in row.items() if isinstance(value, str)}
    return row | named | ({"cards": [in_names(card) for card in row["cards"]]} if "cards" in row else {})


def test_a_row_of_a_card_says_what_when_why_and_what_became_of_it(path: Path) -> None:
    card = a_card("u1")
    call = a_call(card, id="the call", hook_instance="instance-1", dialect="epic", degraded="fhir_down")
    said = a_feedback(
        "u1",
        "overridden",
        reason_system="urn:reasons",
        reason_code="benefit",
        reason_display="Benefit outweighs risk",
        comment_length=17,
    )
    store_all(path, call, said, said)

    (row,) = ndjson(path)

    ids = [item.pop("id") for item in row["feedback"]]
    assert row.pop("cursor").startswith("s0.3v0-")
    assert len({bytes.fromhex(one) for one in ids}) == 2
    assert row == {
        "row": "card",
        "schema": 1,
        "receivedAt": "2025-11-28T09:30:00.000000+00:00",
        "call": "the call",
        "service": SERVICE,
        "hook": "order-sign",
        "hookInstance": "instance-1",
        "client": "",
        "tenant": "",
        "patientKey": "patient",
        "userKey": "user",
        "encounterKey": "",
        "serviceVersion": "0.1.0",
        "knowledgeHash": "feed",
        "jurisdiction": "US",
        "cardUuid": "u1",
        "cardId": "quinine-avoid",
        "version": "1.2.0",
        "contentHash": "c0ffee",
        "indicator": "warning",
        "mode": "live",
        "orderKey": "order",
        "about": "",
        "state": "shown",
        "tableRow": -1,
        "dialect": "epic",
        "degraded": "fhir_down",
        "evidence": [{"name": "order", "value": "seen by u1"}],
        "missing": ["potassium"],
        "feedback": [
            {
                "receivedAt": "2025-11-28T10:30:00.000000+00:00",
                "service": SERVICE,
                "outcome": "overridden",
                "outcomeTimestamp": "2025-11-28T10:30:00Z",
                "accepted": [],
                "reason": {"system": "urn:reasons", "code": "benefit", "display": "Benefit outweighs risk"},
                "commentLength": 17,
            }
        ]
        * 2,
        "response": "overridden",
        "reason": "benefit",
        "tookMs": None,
        "nth": 1,
        "verdicts": [],
    }


def test_csv_has_the_same_with_json_in_its_cells(path: Path) -> None:
    store_all(path, a_call(a_card("u1"), a_card("u2", mode="shadow")), a_feedback("u1"))

    expected = [{one.name: row[one.name] for one in CARD_COLUMNS} for row in ndjson(path)]
    as_json = [one.name for one in CARD_COLUMNS if one.kind == "json"] + ["tableRow", "nth"]

    assert [
        {name: json.loads(row[name]) if name in as_json else row[name] or expected[place][name] for name in expected[place]}
        for place, row in enumerate(table(path))
    ] == expected


def test_each_card_gets_the_evidence_of_its_own_order(path: Path) -> None:
    store_all(path, a_call(a_card("u1", order_key="a"), a_card("u2", order_key="b")))

    assert [row["evidence"][0]["value"] for row in ndjson(path)] == ["seen by u1", "seen by u2"]


def test_a_card_about_no_single_evaluation_has_null_not_empty_evidence(path: Path) -> None:
    nothing_found = a_card("u2", card="baclofen-safety")
    evaluations = json.dumps([{"card": "baclofen-safety", "order_key": nothing_found.order_key}]).encode()
    store_all(path, a_call(a_card("u1", card="not-checked"), nothing_found, evaluations=evaluations))

    assert [(row["evidence"], row["missing"]) for row in ndjson(path)] == [(None, None), ([], [])]


def test_feedback_stands_at_the_newest_of_the_same_card(path: Path) -> None:
    store_all(path, a_call(a_card("u1"), minute=0), a_feedback("u1"), a_call(a_card("u1"), minute=1))

    assert [len(row["feedback"]) for row in ndjson(path)] == [0, 1]


def test_rows_come_in_the_order_of_the_calls_even_if_a_call_was_written_late(path: Path) -> None:
    store_all(path, a_call(a_card("second"), minute=2), a_call(a_card("third"), minute=3), a_call(a_card("first"), minute=1))

    assert [row["cardUuid"] for row in ndjson(path)] == ["first", "second", "third"]


def test_since_is_an_instant_in_any_time_zone(path: Path) -> None:
    store_all(path, *(a_call(a_card(f"u{n}"), minute=n) for n in range(3)))
    since = (START + timedelta(minutes=1)).astimezone(tz=None)

    assert [row["cardUuid"] for row in ndjson(path, since)] == ["u1", "u2"]
    with pytest.raises(ValueError, match="time zone"):
        ndjson(path, since.replace(tzinfo=None))


def test_the_whole_log_has_the_calls_that_fired_nothing_and_the_orphans(path: Path) -> None:
    silent = a_call(
        id="silent", facts=b'{"now":"2025"}', minute=0, took_us=1500, clock_offset_ms=-20, orders=2, queries=b'[{"key":"labs"}]'
    )
    fired = a_call(a_card("u1"), minute=1)
    store_all(path, silent, fired, a_feedback("u1"), a_feedback("unknown", "accepted"))
    store_all(path, DeliveryRecord(silent.id, silent.received_at, 3000, 7250, delivered=False))
    store_all(path, RefusalRecord(START, "ward", "north", "order-sign", 413, "body", 4))

    first, second, orphan, refusal = ndjson(path, calls=True)

    assert first["call"] == "silent"
    assert first["cards"] == []
    assert first["facts"] == {"now": "2025"}
    assert (first["status"], first["outcome"], first["bytesIn"], first["bytesOut"]) == (200, "no cards", 10_000, 2_000)
    assert (first["sources"], first["timings"]) == ({"labs": "present", "queries": [{"key": "labs"}]}, {"decide": 0.4})
    assert (first["tookMs"], first["logMs"], first["totalMs"], first["delivered"]) == (1.5, 3, 7.25, False)
    assert (first["clockOffsetMs"], first["orders"], first["bodyVersion"], first["factsVersion"]) == (-20, 2, 1, 2)
    assert (second["totalMs"], second["delivered"], second["orderKeys"]) == (None, None, [a_key("order")])
    assert second["facts"] is None
    assert second["evaluations"] == json.loads(fired.evaluations)
    assert second["cards"][0]["body"] == json.loads(fired.cards[0].body)
    assert second["cards"][0]["feedback"][0]["outcome"] == "overridden"
    assert (orphan["row"], orphan["cardUuid"], orphan["outcome"]) == ("feedback", "unknown", "accepted")
    assert refusal == {
        "row": "refusal",
        "minute": "2025-11-28T09:30:00.000000+00:00",
        "tenant": "ward",
        "client": "north",
        "hook": "order-sign",
        "status": 413,
        "reason": "body",
        "n": 4,
    }


def test_a_repeat_names_the_call_that_it_repeats_and_a_withdrawn_call_shows_nothing(path: Path) -> None:
    first, again, gone = (
        a_call(a_card(name), id=name, minute=minute, digest=digest)
        for name, minute, digest in (("first", 0, 1), ("again", 1, 1), ("gone", 2, 2))
    )
    store_all(path, first, again, gone, WithdrawnRecord(gone, START), a_feedback("gone"))

    calls = ndjson(path, calls=True)

    assert [row.get("repeatOf") and name_of(row["repeatOf"]) for row in calls] == [None, "first", None, None]
    assert [len(row["cards"]) for row in calls[:3]] == [1, 0, 1]
    assert [(row["withdrawn"], row["status"], row["bytesOut"]) for row in calls[1:3]] == [(False, 200, 2000), (True, 503, 0)]
    assert calls[3]["row"] == "feedback", "its card was not shown"
    assert [(row["cardUuid"], row["state"], row["feedback"]) for row in ndjson(path)] == [
        ("first", "shown", []),
        ("gone", "withdrawn", []),
    ]


@pytest.mark.parametrize("state", ["repeated", "gave_way", "capped"])
def test_a_card_that_was_held_back_is_a_row_that_gets_no_feedback(path: Path, state: str) -> None:
    store_all(path, a_call(a_card("u1")), a_feedback("u1"), a_call(a_card("u1", state=state), minute=5))

    assert [(row["state"], len(row["feedback"])) for row in ndjson(path)] == [("shown", 1), (state, 0)]


def test_an_orphan_stops_being_one_when_its_card_arrives(path: Path) -> None:
    store_all(path, a_feedback("late"))
    assert [row["row"] for row in ndjson(path, calls=True)] == ["feedback"]

    store_all(path, a_call(a_card("late")))

    assert [row["row"] for row in ndjson(path, calls=True)] == ["call"]
    assert len(ndjson(path)[0]["feedback"]) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_does_not_run_a_cell(path: Path, start: str) -> None:
    store_all(path, a_call(a_card(), hook_instance=f"{start}HYPERLINK(1)"))

    assert table(path)[0]["hookInstance"] == f"'{start}HYPERLINK(1)"


@pytest.mark.parametrize("text", ['a"b', "a,b", "a\nb", "a\r\nb", "é漢\u2028", "a=1"])
def test_csv_keeps_every_character(path: Path, text: str) -> None:
    store_all(path, a_call(a_card(), hook_instance=text))

    assert table(path)[0]["hookInstance"] == text
    assert ndjson(path)[0]["hookInstance"] == text


def test_an_empty_log_is_a_header_and_no_rows(path: Path) -> None:
    store_all(path)

    assert card_export(path, "csv") == (",".join(one.name for one in (*FEEDBACK_COLUMNS, *CARD_COLUMNS)) + "\r\n").encode()
    assert ndjson(path, calls=True) == []


def test_stored_evaluations_that_are_no_json_are_an_error_and_not_an_empty_cell(path: Path) -> None:
    store_all(path, a_call(a_card(), evaluations=b"[{"))

    with pytest.raises(DamagedBodyError, match="damaged"):
        ndjson(path)
    with pytest.raises(msgspec.DecodeError):
        ndjson(path, calls=True)


def test_exporting_neither_stops_nor_sees_what_is_written_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    store_all(path, *(a_call(a_card(f"u{n}"), minute=n) for n in range(5)), a_feedback("u4"))

    seen = []
    with closing(Store(path)) as store:
        for pages, (chunk, _) in enumerate(call_lines(path), 1):
            assert pages <= 3, "the export runs after the service and never ends"
            seen += [in_names(json.loads(line)) for line in chunk.splitlines()]
            store.append([a_call(a_card("u4"), minute=50)])  # between two pages the service logs the last card once more

    assert [(row["cards"][0]["cardUuid"], len(row["cards"][0]["feedback"])) for row in seen] == [
        ("u0", 0),
        ("u1", 0),
        ("u2", 0),
        ("u3", 0),
        ("u4", 1),
    ]


_UUIDS = st.sampled_from(["u0", "u1", "u2", "u3"])
_CALL = st.lists(_UUIDS, max_size=3).map(lambda cards: ("call", tuple(cards)))
_FEEDBACK = st.tuples(_UUIDS, st.sampled_from(["accepted", "overridden"])).map(lambda item: ("feedback", item))


@settings(max_examples=60)
@given(batches=st.lists(st.lists(_CALL | _FEEDBACK, min_size=1, max_size=5), max_size=5), page=st.integers(1, 4))
def test_any_interleaving_is_exported_each_thing_once(batches: list[list[tuple[str, Any]]], page: int) -> None:
    cards: list[tuple[int, str]] = []  # minute of the call, uuid
    feedback: dict[str, list[str]] = {}  # uuid: outcomes in order of arrival
    minute = 0

    async def log_all(log: AlertLog) -> None:
        nonlocal minute
        log.start()
        for batch in batches:
            waiting = []
            for kind, what in batch:
                minute += 1
                if kind == "call":
                    cards.extend((minute, one) for one in what)
                    waiting.append(log.append(a_call(*map(a_card, what), minute=minute)))
                else:
                    card_uuid, outcome = what
                    feedback.setdefault(card_uuid, []).append(outcome)
                    waiting.append(log.append_feedback([a_feedback(card_uuid, outcome, minute)]))
            assert all(await asyncio.gather(*waiting))
        await log.close()

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAGE", page)
        patch.setattr(rows_of_cards, "PAGE", page)
        path = Path(folder) / "alerts.sqlite3"
        asyncio.run(log_all(AlertLog(path)))
        found, whole = ndjson(path), ndjson(path, calls=True)

    newest = {one: n for n, (_, one) in enumerate(cards)}
    assert [(row["receivedAt"][11:16], row["cardUuid"]) for row in found] == [
        ((START + timedelta(minutes=at)).strftime("%H:%M"), one) for at, one in cards
    ]
    for n, row in enumerate(found):
        expected = feedback.get(row["cardUuid"], []) if newest[row["cardUuid"]] == n else []
        assert [item["outcome"] for item in row["feedback"]] == expected
    assert len([row for row in whole if row["row"] == "call"]) == sum(kind == "call" for batch in batches for kind, _ in batch)
    orphans = sorted((row["cardUuid"], row["outcome"]) for row in whole if row["row"] == "feedback")
    assert orphans == sorted((one, outcome) for one, outcomes in feedback.items() if one not in newest for outcome in outcomes)
