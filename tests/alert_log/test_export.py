"""The log as rows: everything is exported, each thing once."""

from __future__ import annotations

import asyncio
import csv
import importlib
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

from cds_service.alert_log import AlertLog, export
from cds_service.alert_log.store import Record, Store
from tests.alert_log_samples import SERVICE, START, a_call, a_card, a_feedback

# The package has a function of this name, which hides the module from an import statement.
module = importlib.import_module("cds_service.alert_log.export")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.sqlite3"


def store_all(path: Path, *records: Record) -> None:
    with closing(Store(path)) as store:
        store.append(records)


def ndjson(path: Path, since: datetime | None = None, *, calls: bool = False) -> list[dict[str, Any]]:
    out = io.BytesIO()
    count = export(path, "ndjson", since, out, calls=calls)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert count == len(found)
    return found


def table(path: Path) -> list[dict[str, str]]:
    out = io.BytesIO()
    count = export(path, "csv", None, out)
    found = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    assert count == len(found)
    return found


def test_a_row_of_a_card_says_what_when_why_and_what_became_of_it(path: Path) -> None:
    card = a_card("u1")
    call = a_call(card, hook_instance="instance-1")
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

    assert row == {
        "row": "card",
        "receivedAt": "2025-11-28T09:30:00.000000+00:00",
        "call": call.id,
        "service": SERVICE,
        "hook": "order-sign",
        "hookInstance": "instance-1",
        "client": "",
        "tenant": "",
        "patientKey": "k1:patient",
        "userKey": "k1:user",
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
        "orderKey": "k1:order",
        "about": "",
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
                "repeats": 1,
            }
        ],
    }


def test_csv_has_the_same_with_json_in_its_cells(path: Path) -> None:
    store_all(path, a_call(a_card("u1"), a_card("u2", mode="shadow")), a_feedback("u2"))

    expected = [{name: row[name] for name in module.COLUMNS} for row in ndjson(path)]

    assert [
        {**row, **{name: json.loads(row[name]) for name in ("evidence", "missing", "feedback")}} for row in table(path)
    ] == expected


def test_each_card_gets_the_evidence_of_its_own_order(path: Path) -> None:
    store_all(path, a_call(a_card("u1", order_key="k1:a"), a_card("u2", order_key="k1:b")))

    assert [row["evidence"][0]["value"] for row in ndjson(path)] == ["seen by u1", "seen by u2"]


def test_a_card_about_no_single_evaluation_has_null_not_empty_evidence(path: Path) -> None:
    nothing_found = a_card("u2", card="baclofen-safety")
    evaluations = b'[{"card":"baclofen-safety","order_key":"k1:order"}]'
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
    silent = a_call(facts=b'{"now":"2025"}', minute=0)
    fired = a_call(a_card("u1"), minute=1)
    store_all(path, silent, fired, a_feedback("u1"), a_feedback("unknown", "accepted"))

    first, second, orphan = ndjson(path, calls=True)

    assert first["call"] == silent.id
    assert first["cards"] == []
    assert first["facts"] == {"now": "2025"}
    assert (first["status"], first["outcome"], first["bytesIn"], first["bytesOut"]) == (200, "no cards", 10_000, 2_000)
    assert (first["sources"], first["timings"]) == ({"labs": "present"}, {"decide": 0.4})
    assert second["facts"] is None
    assert second["evaluations"] == json.loads(fired.evaluations)
    assert second["cards"][0]["body"] == json.loads(fired.cards[0].body)
    assert second["cards"][0]["feedback"][0]["outcome"] == "overridden"
    assert (orphan["row"], orphan["cardUuid"], orphan["outcome"]) == ("feedback", "unknown", "accepted")


def test_an_orphan_stops_being_one_when_its_card_arrives(path: Path) -> None:
    store_all(path, a_feedback("late"))
    assert [row["row"] for row in ndjson(path, calls=True)] == ["feedback"]

    store_all(path, a_call(a_card("late")))

    assert [row["row"] for row in ndjson(path, calls=True)] == ["call"]
    assert len(ndjson(path)[0]["feedback"]) == 1


def test_calls_are_not_a_table(path: Path) -> None:
    with pytest.raises(ValueError, match="ndjson only"):
        export(path, "csv", None, io.BytesIO(), calls=True)


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
    out = io.BytesIO()

    assert export(path, "csv", None, out) == 0
    assert out.getvalue() == (",".join(module.COLUMNS) + "\r\n").encode()
    assert ndjson(path, calls=True) == []


def test_stored_evaluations_that_are_no_json_are_an_error_and_not_an_empty_cell(path: Path) -> None:
    store_all(path, a_call(a_card(), evaluations=b"[{"))

    with pytest.raises(msgspec.DecodeError):
        ndjson(path)


def test_exporting_neither_stops_nor_sees_what_is_written_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    store_all(path, *(a_call(a_card(f"u{n}"), minute=n) for n in range(5)), a_feedback("u4"))

    class Busy(io.BytesIO):
        """Between two pages the service logs the last card once more."""

        pages = 0

        def write(self, data: Any) -> int:
            self.pages += 1
            assert self.pages <= 3, "the export runs after the service and never ends"
            store.append([a_call(a_card("u4"), minute=50)])
            return super().write(data)

    with closing(Store(path)) as store:
        out = Busy()
        assert export(path, "ndjson", None, out) == 5

    exported = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(row["cardUuid"], len(row["feedback"])) for row in exported] == [
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
    feedback: dict[str, dict[str, int]] = {}  # uuid: outcome in order of arrival: repeats
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
                    outcomes = feedback.setdefault(card_uuid, {})
                    outcomes[outcome] = outcomes.get(outcome, -1) + 1
                    waiting.append(log.append_feedback([a_feedback(card_uuid, outcome, minute)]))
            assert all(await asyncio.gather(*waiting))
        await log.close()

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAGE", page)
        path = Path(folder) / "alerts.sqlite3"
        asyncio.run(log_all(AlertLog(path)))
        found, whole = ndjson(path), ndjson(path, calls=True)

    newest = {one: n for n, (_, one) in enumerate(cards)}
    assert [(row["receivedAt"][11:16], row["cardUuid"]) for row in found] == [
        ((START + timedelta(minutes=at)).strftime("%H:%M"), one) for at, one in cards
    ]
    for n, row in enumerate(found):
        expected = feedback.get(row["cardUuid"], {}) if newest[row["cardUuid"]] == n else {}
        assert {item["outcome"]: item["repeats"] for item in row["feedback"]} == expected
        assert [item["outcome"] for item in row["feedback"]] == list(expected)
    assert len([row for row in whole if row["row"] == "call"]) == sum(kind == "call" for batch in batches for kind, _ in batch)
    orphans = {(row["cardUuid"], row["outcome"]): row["repeats"] for row in whole if row["row"] == "feedback"}
    assert orphans == {(one, o): r for one, outcomes in feedback.items() if one not in newest for o, r in outcomes.items()}
