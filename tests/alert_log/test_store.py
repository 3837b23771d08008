"""The file of the alert log."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cds_service.alert_log import SchemaMismatchError
from cds_service.alert_log.records import CallRecord, FeedbackRecord, WithdrawnRecord, withdrawn
from cds_service.alert_log.schema import SCHEMA_VERSION
from cds_service.alert_log.store import Store, open_for_reading
from tests.alert_log_samples import START, a_call, a_card, a_feedback, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "alerts.sqlite3"


def store_all(path: Path, *records: CallRecord | WithdrawnRecord | FeedbackRecord) -> None:
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

    assert rows(path, "SELECT id FROM call ORDER BY seq") == [first.id, second.id]
    assert rows(path, "PRAGMA user_version") == [SCHEMA_VERSION]


def test_a_file_of_a_newer_program_is_refused_and_left_as_it_is(path: Path) -> None:
    store_all(path, a_call())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(SchemaMismatchError, match="written by a newer program"):
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


def test_json_functions_work_on_what_is_stored(path: Path) -> None:
    store_all(path, a_call(a_card("u1", body='{"summary":"Kalium 2,9 µmol"}'.encode()), facts=b'{"now":"x"}'), a_call())

    assert rows(path, "SELECT json_extract(body, '$.summary') FROM card") == ["Kalium 2,9 µmol"]
    assert rows(path, "SELECT json_extract(evaluations, '$[0].decision') FROM call") == ["fired", None]
    assert rows(path, "SELECT json_extract(facts, '$.now') FROM call") == ["x", None]


def test_times_are_stored_in_utc(path: Path) -> None:
    summer = timezone(timedelta(hours=2))

    store_all(path, a_call(received_at=datetime(2025, 7, 1, 1, 30, tzinfo=summer)))

    assert rows(path, "SELECT received_at FROM call") == ["2025-06-30T23:30:00.000000+00:00"]


def test_a_repeated_call_is_a_row_of_its_own(path: Path) -> None:
    store_all(path, *[a_call(a_card("same"), hook_instance="once") for _ in range(3)])

    assert rows(path, "SELECT count(*) FROM call WHERE hook_instance = 'once'") == [3]
    assert rows(path, "SELECT uuid FROM card") == ["same"] * 3


def test_a_call_of_the_same_digest_is_counted_for_a_minute_with_whatever_it_is_stored(path: Path) -> None:
    def call(second: float, digest: str = "d") -> CallRecord:
        return a_call(a_card("same"), received_at=START + timedelta(seconds=second), digest=digest)

    store_all(path, call(0), call(1), call(2, "other"), call(60))
    store_all(path, call(60.001), call(61), call(30, "other"))

    assert rows(path, "SELECT digest, repeats FROM call ORDER BY seq") == [("d", 2), ("other", 1), ("d", 1)]
    found = rows(path, "SELECT digest FROM card JOIN call ON call.seq = call_seq ORDER BY card.seq")
    assert found == ["d", "other", "d"], "cards of repeats are there already"


def test_contradicting_feedback_is_kept_in_order_and_repeats_are_counted(path: Path) -> None:
    accepted, overridden = a_feedback("u1", "accepted", accepted=["s1", "s2"]), a_feedback("u1", "overridden")

    store_all(path, accepted, overridden, accepted)
    store_all(path, accepted, a_feedback("u1", "overridden", comment_length=12))

    found = rows(path, "SELECT outcome, accepted, comment_length, repeats FROM feedback ORDER BY seq")
    assert found == [("accepted", '["s1","s2"]', 0, 2), ("overridden", "[]", 0, 0), ("overridden", "[]", 12, 0)]


@pytest.mark.parametrize(
    "bad",
    [
        a_call(hook_instance="\ud800"),
        a_call(status="ok"),
        a_call(client=None),
        a_call(bytes_in=2**70),
        a_call(evaluations=b"\xff"),
        a_call(received_at=datetime(2025, 11, 28)),  # noqa: DTZ001 (the fault)
        a_call(a_card(), a_card(indicator=object())),
    ],
    ids=["surrogate", "text for a number", "null", "huge number", "not UTF-8", "naive time", "second card"],
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


ENDS = "SELECT id, status, outcome, bytes_out, digest, repeats FROM call ORDER BY id"
CARDS = "SELECT id FROM card JOIN call ON call.seq = call_seq"
WITHDRAWN = (503, "log_unavailable", 0, "", 0)


@pytest.mark.parametrize("first", ["stored before", "stored with it", "never stored"])
def test_a_withdrawn_call_ends_without_cards_and_digest(path: Path, first: str) -> None:
    call, other = a_call(a_card("u1"), id="a", digest="d"), a_call(a_card("u2"), id="b", digest="other")
    before = {"stored before": [[call, other]], "stored with it": [], "never stored": [[other]]}[first]
    with closing(Store(path)) as store:
        for records in before:
            store.append(records)
        store.append([call, other, withdrawn(call)] if not before else [withdrawn(call)])
        store.append([withdrawn(call)])  # a commit that failed may have reached the disk

    assert rows(path, ENDS) == [("a", *WITHDRAWN), ("b", 200, "cards", 2000, "other", 0)]
    assert rows(path, CARDS) == ["b"]
    assert rows(path, "SELECT evaluations FROM call WHERE id = 'a'") == [call.evaluations.decode()]


@pytest.mark.parametrize("of_the_first", [True, False])
def test_a_withdrawn_call_leaves_the_cards_of_the_same_call_that_was_answered(path: Path, of_the_first: bool) -> None:
    first, again = (a_call(a_card("same"), id=name, digest="d", received_at=START) for name in ("first", "again"))
    gone = first if of_the_first else again

    store_all(path, first, again, withdrawn(gone))

    assert (gone.id, *WITHDRAWN) in rows(path, ENDS)
    assert rows(path, "SELECT count(*) FROM call") == [2]
    assert rows(path, "SELECT status, digest, repeats FROM call WHERE status = 200") == [(200, "d", 0)]
    assert rows(path, "SELECT status FROM card JOIN call ON call.seq = call_seq") == [200]


def test_where_a_call_and_its_repeat_are_withdrawn_no_card_is_left(path: Path) -> None:
    for order in (["a", "b"], ["b", "a"]):
        file = path.with_name("".join(order))
        calls = {name: a_call(a_card("same"), id=name, digest="d", received_at=START) for name in ("a", "b")}

        store_all(file, *calls.values(), *(withdrawn(calls[name]) for name in order))

        assert rows(file, ENDS) == [("a", *WITHDRAWN), ("b", *WITHDRAWN)]
        assert rows(file, CARDS) == []
