"""What is counted from bodies of calls that were really fired, and comments that are sealed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from cds_service.alert_log.instants import micros
from cds_service.alert_log.sealing import SealingKey, sealing_key
from cds_service.database import Database, open_database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.signals.body_counts import count_bodies
from cds_service.signals.weekly import find_weekly
from tests.core import NOW as FIRED
from tests.review.fired_log import LOW_POTASSIUM, NO_LABS, fire
from tests.review.sample_log import NOW, write_sample_log

DAYS = SiteDays("UTC")
TODAY = 20261127


def opened(folder: Path) -> Database:
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", limit_ms=None, writes_review=True)


async def test_codes_units_and_prefetch_keys_of_a_day_that_is_over(tmp_path: Path) -> None:
    odd = ["LOINC#2823-3 Potassium 2.4 flasks/L"]
    await fire(tmp_path, [(LOW_POTASSIUM, ""), (LOW_POTASSIUM, ""), (odd, ""), (NO_LABS, "")])
    later = FIRED + timedelta(days=2)
    with closing(opened(tmp_path)) as database:
        roll_up(database, DAYS, lambda: later)
        assert count_bodies(database, DAYS, DAYS.day_of(micros(later))) >= 1
        assert count_bodies(database, DAYS, DAYS.day_of(micros(later))) == 0  # nothing changed since
        codes = {
            (row["kind"], row["system"], row["code"], row["known"]): row["n"]
            for row in database.rows("SELECT * FROM review.body_code")
        }
        sent = database.rows("SELECT name, sent, sum(n) AS n FROM review.body_source GROUP BY name, sent ORDER BY name, sent")
        assert codes["lab", "http://loinc.org", "2823-3", 1] == 2
        assert codes["unit", "potassium", "mmol/L", 1] == 2
        assert [key for key in codes if key[0] == "unit" and not key[3]] != []
        assert sum(row["n"] for row in sent if row["name"] == "labs") == 4
        database.execute("DELETE FROM review.body_code")
        roll_up(database, DAYS, lambda: later, everything=True)
        database.execute("UPDATE review.rolled_day SET computed_at = computed_at + 1")
        count_bodies(database, DAYS, DAYS.day_of(micros(later)))  # a day that was counted anew is looked into anew
        assert database.one("SELECT count(*) AS n FROM review.body_code") == {"n": len(codes)}


def test_where_records_cant_be_read_new_codes_are_unknown_and_not_none(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=14, calls_a_day=20)
    bounds = DAYS.bounds(20261118)
    with closing(sqlite3.connect(tmp_path / "alerts.sqlite3")) as log, log:
        client = "(SELECT id FROM name WHERE text = 'https://ehr-a.example')"
        log.execute(
            f"UPDATE body SET content = x'00' WHERE seq IN (SELECT seq FROM call WHERE client = {client} "  # noqa: S608 - our words
            "AND received_at >= ? AND received_at < ? AND repeat_of IS NULL)",
            bounds,
        )
    with closing(opened(tmp_path)) as database:
        roll_up(database, DAYS, lambda: NOW)
        count_bodies(database, DAYS, TODAY)
        watched = [one for one in find_weekly(database, DAYS, TODAY, None).watches if one.kind == "code_new"]
    states = {one.place.client: one.state for one in watched}
    assert states.pop("https://ehr-a.example") == "no_data"
    assert set(states.values()) == {"normal"}
    assert any("can't be read" in one.why for one in watched)


def write_comments(path: Path, key: SealingKey, texts: list[str]) -> str:
    """Seal comments on cards of one card and client of the last whole week; return the card."""
    with closing(sqlite3.connect(path)) as log, log:
        names = dict(log.execute("SELECT text, id FROM name").fetchall())
        log.execute("INSERT INTO name (id, text) VALUES (9001, 'comment')")
        start, end = DAYS.bounds(20261116).start, DAYS.bounds(20261122).end
        cards = log.execute(
            "SELECT uuid, tenant, client, card, received_at FROM card WHERE received_at >= ? AND received_at < ? AND client = ? "
            "AND card = ? LIMIT ?",
            (start, end, names["https://ehr-a.example"], names["cramp-first-line"], len(texts)),
        ).fetchall()
        assert len(cards) == len(texts)
        for number, ((uuid, tenant, client, _, at), text) in enumerate(zip(cards, texts, strict=True)):
            item = b"comment" + number.to_bytes(9)
            log.execute(
                "INSERT INTO feedback (seq, id, received_at, tenant, client, service, card_uuid, outcome, reason_system, "
                "reason_code, reason_display, accepted, comment_length, outcome_at, outcome_timestamp) "
                "VALUES (?, ?, ?, ?, ?, 0, ?, ?, 0, 0, 0, '[]', ?, ?, '')",
                (900_000 + number, item, at, tenant, client, uuid, names["overridden"], len(text), at),
            )
            sealed = key.seal(item, "comment", text)
            log.execute(
                "INSERT INTO sealed (seq, received_at, of, kind, key_id, content) VALUES (?, ?, ?, 9001, ?, ?)",
                (910_000 + number, at, item, sealed.key_id, sealed.content),
            )
    return "cramp-first-line"


def test_angry_comments_are_counted_only_with_the_key(tmp_path: Path) -> None:
    key, other = sealing_key("0" * 32, 1), sealing_key("1" * 32, 2)
    assert key is not None
    write_sample_log(tmp_path / "alerts.sqlite3", days=14, calls_a_day=60)
    card = write_comments(tmp_path / "alerts.sqlite3", key, ["WRONG!!", "this is useless", "makes no sense", "informed"])
    with closing(opened(tmp_path)) as database:
        roll_up(database, DAYS, lambda: NOW)
        (found,) = [one for one in find_weekly(database, DAYS, TODAY, key).findings if one.kind == "comments"]
        assert (found.place.card, found.day, found.detail["angry"], found.detail["of"]) == (card, 20261122, 3, 4)
        assert not [value for value in found.detail.values() if isinstance(value, str)]  # no word of a comment
        without = find_weekly(database, DAYS, TODAY, other)
        assert not [one for one in without.findings if one.kind == "comments"]
        assert {one.state for one in without.watches if one.kind == "comments"} == {"no_data"}
