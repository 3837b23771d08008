"""The file of the alert log."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cds_service.alert_log import SchemaMismatchError
from cds_service.alert_log.condition import UnusableLogError
from cds_service.alert_log.reading import open_for_reading
from cds_service.alert_log.records import CallRecord, DeliveryRecord, Record, RefusalRecord, WithdrawnRecord
from cds_service.alert_log.schema import SCHEMA_VERSION
from cds_service.alert_log.store import Store
from tests.alert_log_samples import START, a_call, a_card, a_feedback, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "alerts.sqlite3"


def store_all(path: Path, *records: Record) -> None:
    with closing(Store(path)) as store:
        store.append(records)


def test_the_file_and_its_folder_are_private(path: Path) -> None:
    with closing(Store(path)) as store:
        store.append([a_call()])
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys((f"alerts.sqlite3{end}" for end in ("", "-wal", "-shm", "-lock")), 0o600)


def test_an_existing_folder_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o750)
    path.parent.chmod(0o750)

    store_all(path)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_commits_are_synchronous_and_readers_are_not_locked_out(path: Path) -> None:
    with closing(Store(path)) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_a_file_is_opened_again_with_what_it_held(path: Path) -> None:
    first, second = a_call(a_card()), a_call()

    store_all(path, first)
    store_all(path, second)

    assert rows(path, "SELECT id FROM call ORDER BY seq") == [first.id.hex(), second.id.hex()]
    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION]


def test_a_file_of_a_newer_program_is_refused_and_left_as_it_is(path: Path) -> None:
    store_all(path, a_call())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(UnusableLogError, match="a newer version of this program wrote it"):
        Store(path)
    with pytest.raises(SchemaMismatchError, match="this program reads"):
        open_for_reading(path)

    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION + 1]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database " * 100)

    with pytest.raises(sqlite3.DatabaseError):
        Store(path)


def test_cards_belong_to_their_calls_whatever_is_stored_together(path: Path) -> None:
    calls = [a_call(*[a_card(f"{n}-{k}") for k in range(count)], id=f"call-{n}") for n, count in enumerate([2, 0, 3, 0, 1])]

    store_all(path, calls[0])
    store_all(path, *calls[1:])

    found = rows(path, "SELECT call.id, position, uuid FROM card JOIN call ON call.seq = call_seq ORDER BY card.seq")
    assert found == [(f"call-{n}", k, f"{n}-{k}") for n, count in enumerate([2, 0, 3, 0, 1]) for k in range(count)]


def test_times_are_stored_in_utc(path: Path) -> None:
    summer = timezone(timedelta(hours=2))

    store_all(path, a_call(received_at=datetime(2025, 7, 1, 1, 30, tzinfo=summer)))

    assert rows(path, "SELECT received_at FROM call") == ["2025-06-30T23:30:00.000000+00:00"]


def test_a_repeated_call_is_a_row_of_its_own(path: Path) -> None:
    store_all(path, *[a_call(a_card("same"), hook_instance="once") for _ in range(3)])

    assert rows(path, "SELECT count(*) FROM call WHERE hook_instance = 'once'") == [3]
    assert rows(path, "SELECT uuid FROM card") == ["same"] * 3


def test_a_call_of_the_same_digest_within_a_minute_is_a_repeat_of_the_first_without_cards(path: Path) -> None:
    def call(second: float, name: str, digest: int = 1) -> CallRecord:
        return a_call(a_card("same"), id=name, received_at=START + timedelta(seconds=second), digest=digest)

    store_all(path, call(0, "a"), call(1, "a1"), call(2, "b", -2), call(60, "a2"))
    store_all(path, call(60.001, "c"), call(61, "c1"), call(30, "b1", -2))

    repeats = {"a1": "a", "a2": "a", "c1": "c", "b1": "b"}
    names = ["a", "a1", "b", "a2", "c", "c1", "b1"]
    assert rows(path, "SELECT id, repeat_of FROM call ORDER BY seq") == [(name, repeats.get(name)) for name in names]
    assert rows(path, "SELECT id FROM card JOIN call ON call.seq = call_seq ORDER BY card.seq") == ["a", "b", "c"]
    assert rows(path, "SELECT id FROM call WHERE evaluations IS NOT NULL") == ["a", "b", "c"]
    assert rows(path, "SELECT count(*) FROM main.call WHERE outcome_set IS NOT NULL") == [3], "decided once"


def test_a_repeat_is_looked_for_among_the_latest_calls_of_a_patient_that_is_asked_about_all_the_time(path: Path) -> None:
    def call(name: str, digest: int) -> CallRecord:
        return a_call(id=name, received_at=START + timedelta(milliseconds=digest), digest=digest)

    store_all(path, *[call(f"call-{n}", n) for n in range(150)])
    for again in (149, 60, 3):
        store_all(path, call(f"again-{again}", again))

    found = rows(path, "SELECT id, repeat_of FROM call ORDER BY seq DESC LIMIT 3")
    assert found == [("again-3", None), ("again-60", "call-60"), ("again-149", "call-149")]


def test_equal_calls_have_one_first_however_often_they_come(path: Path) -> None:
    store = Store(path)
    for number in range(120):
        received_at = START + timedelta(milliseconds=100 * number)
        store.append([a_call(a_card("same"), id=f"call-{number}", received_at=received_at, digest=1)])
    store.close()
    store_all(path, a_call(a_card("same"), id="of another process", received_at=START + timedelta(seconds=13), digest=1))

    assert rows(path, "SELECT id FROM call WHERE repeat_of IS NULL") == ["call-0"]
    assert rows(path, "SELECT count(*) FROM main.body") == [1]


def test_a_call_that_was_rolled_back_is_nothing_to_repeat(path: Path) -> None:
    first, twin = (a_call(id=name, received_at=START, digest=1) for name in ("first", "twin"))
    store = Store(path)
    with pytest.raises(sqlite3.IntegrityError):
        store.append([first, a_call(id="other"), a_call(id="other")])
    store.append([twin])
    store.close()

    assert rows(path, "SELECT id, repeat_of FROM call") == [("twin", None)]


def test_each_item_of_feedback_is_a_row_in_the_order_in_which_they_came(path: Path) -> None:
    accepted, overridden = a_feedback("u1", "accepted", accepted=["s1", "s2"]), a_feedback("u1", "overridden")

    store_all(path, accepted, overridden, accepted)
    store_all(path, a_feedback("u1", "overridden", comment_length=12))

    found = rows(path, "SELECT outcome, accepted, comment_length FROM feedback ORDER BY seq")
    accepted_row = ("accepted", '["s1","s2"]', 0)
    assert found == [accepted_row, ("overridden", "[]", 0), accepted_row, ("overridden", "[]", 12)]
    assert rows(path, "SELECT count(DISTINCT id) FROM main.feedback") == [4]


@pytest.mark.parametrize(
    ("sent", "instant"), [("2025-11-28T10:30:00Z", "2025-11-28T10:30:00.000000+00:00"), ("2025-11-28T10:30:00", None), ("", None)]
)
def test_the_senders_time_of_feedback_is_kept_where_it_is_an_instant(path: Path, sent: str, instant: str | None) -> None:
    store_all(path, a_feedback("u1", outcome_timestamp=sent))

    assert rows(path, "SELECT iif(outcome_at IS NULL, NULL, iso(outcome_at)) FROM main.feedback") == [instant]


def test_one_sequence_counts_all_kinds_of_rows(path: Path) -> None:
    call = a_call(a_card(), id="a")
    store_all(path, call, a_feedback("u1"), DeliveryRecord(call.id, START, log_us=5, total_us=9, delivered=True))
    store_all(path, RefusalRecord(START, "", "north", "", 401, "signature", 3), WithdrawnRecord(call, START))

    kinds = """SELECT seq, 'call' FROM call UNION SELECT seq, 'feedback' FROM feedback UNION SELECT seq, 'delivery' FROM delivery
        UNION SELECT seq, 'refusal' FROM refusal UNION SELECT seq, 'withdrawal' FROM withdrawal"""
    assert rows(path, kinds) == [(1, "call"), (2, "feedback"), (3, "delivery"), (4, "refusal"), (5, "withdrawal")]
    assert rows(path, "SELECT last_seq, length(id) FROM source") == [(5, 16)]
    assert rows(path, "SELECT client, status, reason, n FROM refusal") == [("north", 401, "signature", 3)]
    assert rows(path, "SELECT call_id, log_us, total_us, delivered FROM delivery") == [("a", 5, 9, 1)]


def test_a_combination_of_decisions_is_written_once_and_each_call_says_which_it_had(path: Path) -> None:
    fired, silent = ("q", "1.0.0", "aa", "fired", 0, 1), ("b", "1.0.0", "bb", "not_fired", -1, 0)
    lacks = ("q", "potassium_low", "not_recorded")

    store_all(path, a_call(outcomes=(fired, silent)), a_call(outcomes=(silent, fired)), a_call(outcomes=(silent,)))
    store_all(path, a_call(outcomes=(fired, silent, silent), missing=(lacks, lacks)), a_call())

    assert rows(path, "SELECT outcome_set, missing_set FROM main.call ORDER BY seq") == [
        (1, None),
        (1, None),
        (2, None),
        (3, 1),
        (None, None),
    ]
    decided = """SELECT word(card), word(version), word(content_hash), word(outcome), table_row, applies, n
        FROM outcome_of_set WHERE set_id = 3 ORDER BY 1 DESC"""
    assert rows(path, decided) == [(*fired, 1), (*silent, 2)]
    assert rows(path, "SELECT word(card), word(criterion), word(cause), n FROM missing_of_set") == [(*lacks, 2)]


def test_a_name_that_was_rolled_back_is_written_again(path: Path) -> None:
    with closing(Store(path)) as store:
        with pytest.raises(sqlite3.Error):
            store.append([a_call(client="north", outcomes=(("q", "1", "a", "fired", 0, 1),)), a_call(status="ok")])
        store.append([a_call(client="north", outcomes=(("q", "1", "a", "fired", 0, 1),))])

    assert rows(path, "SELECT client FROM call") == ["north"]
    assert rows(path, "SELECT word(card) FROM outcome_of_set JOIN main.call ON set_id = outcome_set") == ["q"]


@pytest.mark.parametrize(
    "bad",
    [
        a_call(hook_instance="\ud800"),
        a_call(status="ok"),
        a_call(client=None),
        a_call(bytes_in=2**70),
        a_call(received_at=datetime(2025, 11, 28), id="naive"),  # noqa: DTZ001 (the fault)
        a_call(a_card(), a_card(indicator=object())),
    ],
    ids=["surrogate", "text for a number", "null", "huge number", "naive time", "second card"],
)
def test_a_batch_with_a_bad_record_leaves_nothing_behind(path: Path, bad: CallRecord) -> None:
    good = a_call(a_card("good"))
    with closing(Store(path)) as store:
        with pytest.raises((sqlite3.Error, TypeError, ValueError, OverflowError)):
            store.append([good, bad])
        assert rows(path, "SELECT count(*) FROM call") == [0]

        store.append([good])

    assert rows(path, "SELECT uuid FROM card") == ["good"]


def test_a_reader_cannot_write(path: Path) -> None:
    store_all(path, a_call())
    with closing(open_for_reading(path)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM call")


def test_reading_a_log_that_is_not_there_says_so_and_makes_no_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no alert log"):
        open_for_reading(path)

    assert not path.exists()


ENDS = "SELECT id, status, outcome, bytes_out FROM call ORDER BY id"
CARDS = "SELECT id FROM card JOIN call ON call.seq = call_seq"
WITHDRAWN = (503, "log_unavailable", 0)


def withdrawn(call: CallRecord) -> WithdrawnRecord:
    return WithdrawnRecord(call, call.received_at + timedelta(seconds=1))


@pytest.mark.parametrize("first", ["stored before", "stored with it", "never stored"])
def test_a_withdrawn_call_keeps_its_record_and_its_cards_do_not_count(path: Path, first: str) -> None:
    call, other = a_call(a_card("u1"), id="a", digest=1), a_call(a_card("u2"), id="b", digest=2)
    before: list[list[Record]] = {"stored before": [[call, other]], "stored with it": [], "never stored": [[other]]}[first]  # type: ignore[assignment]
    with closing(Store(path)) as store:
        for records in before:
            store.append(records)
        store.append([call, other, withdrawn(call)] if not before else [withdrawn(call)])
        store.append([withdrawn(call)])  # a commit that failed may have reached the disk

    assert rows(path, ENDS) == [("a", *WITHDRAWN), ("b", 200, "cards", 2000)]
    assert rows(path, CARDS) == ["b"]
    (kept,) = rows(path, "SELECT evaluations FROM call WHERE id = 'a'")
    assert json.loads(kept) == json.loads(call.evaluations)
    assert rows(path, "SELECT count(*) FROM withdrawal") == [1]


def test_a_call_like_a_withdrawn_one_is_no_repeat_of_it(path: Path) -> None:
    first, again = (a_call(a_card("same"), id=name, digest=1, received_at=START) for name in ("first", "again"))

    store_all(path, first, withdrawn(first), again)

    assert rows(path, CARDS) == ["again"]
    assert rows(path, "SELECT repeat_of FROM call") == [None, None]


@pytest.mark.parametrize("of_the_first", [True, False])
def test_a_withdrawn_call_leaves_the_cards_of_the_same_call_that_was_answered(path: Path, of_the_first: bool) -> None:
    first, again = (a_call(a_card("same"), id=name, digest=1, received_at=START) for name in ("first", "again"))

    store_all(path, first, again, withdrawn(first if of_the_first else again))

    assert rows(path, ENDS) == [("again", *WITHDRAWN), ("first", 200, "cards", 2000)]
    assert rows(path, CARDS) == ["first"]


def test_where_a_call_and_its_repeat_are_withdrawn_no_card_is_left(path: Path) -> None:
    for order in (["a", "b"], ["b", "a"]):
        file = path.with_name("".join(order))
        calls = {name: a_call(a_card("same"), id=name, digest=1, received_at=START) for name in ("a", "b")}

        withdrawals = [WithdrawnRecord(calls[name], START + timedelta(seconds=n)) for n, name in enumerate(order)]
        store_all(file, *calls.values(), *withdrawals)

        assert rows(file, ENDS) == [("a", *WITHDRAWN), ("b", *WITHDRAWN)]
        assert rows(file, CARDS) == []
