"""The tables of the review database: what is counted of the log, and what people judged.

Ids are those of `log.name`, or `names.WITHDRAWN`. `day` is YYYYMMDD and `month` YYYYMM, in the site's time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from cds_service.database.statement import Dialect

COUNTS: dict[str, tuple[str, str]] = {  # name of the table: what its rows are apart by, what they count
    "card": ("tenant, client, hook, card, version, mode, state, indicator, response, repeated_24h, about_order", "n"),
    "reason": ("tenant, client, hook, card, version, reason", "comments, n"),
    "missing": ("tenant, client, hook, card, criterion, cause", "n"),
    "evaluation": ("tenant, client, hook, card, version, outcome, table_row, applies", "n"),
    "call": ("tenant, client, hook, status, outcome, ms_bucket", "repeats, n"),
    "refusal": ("tenant, client, hook, status, reason", "n"),
    "user": ("tenant, client, user_key, card", "shown, accepted, overridden, most_for_one_patient"),
    "denominator": ("tenant, client, hook", "encounters, orders, users, patients"),
    "hour": ("tenant, client, hour", "calls, failed, slow, evaluations, not_checked"),
    "release": ("tenant, client, service_version, dialect, card, version, content_hash", "n"),
}
_FIRST = ("card", "reason", "missing", "evaluation", "call", "refusal", "user", "denominator")
_FOR_SIGNALS = ("hour", "release")


def _counts(period: str, of_period: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the statements for the tables that count by day or by month."""
    statements = []
    for name in names:
        dimensions, counts = COUNTS[name]
        columns = [
            f"{column} {'BLOB' if column == 'user_key' else 'INTEGER'} NOT NULL"
            for column in (period, *dimensions.split(", "), *counts.split(", "))
        ]
        table = f"{of_period}_{name}"
        key = f"PRIMARY KEY ({period}, {dimensions})"
        statements.append(f"CREATE TABLE review.{table} ({', '.join(columns)}, {key}) STRICT, WITHOUT ROWID")
        if name in ("card", "evaluation"):  # a year of one card
            statements.append(f"CREATE INDEX review.{table}_by_card ON {table} (card, {period}, n)")
    return tuple(statements)


# Each entry brings a review database from the version of its index to the next one. Entries are never changed, only added. A
# statement that the databases do not share is written for each.
Statement: TypeAlias = str | Mapping[Dialect, str]
REVIEW_MIGRATIONS: tuple[tuple[Statement, ...], ...] = (
    (
        *_counts("day", "daily", _FIRST),
        *_counts("month", "monthly", _FIRST),
        # Days that are counted, and months that are whole and the sums of their days. Times: microseconds since 1970.
        "CREATE TABLE review.rolled_day (day INTEGER NOT NULL, computed_at INTEGER NOT NULL, PRIMARY KEY (day)) STRICT",
        "CREATE TABLE review.rolled_month (month INTEGER NOT NULL, computed_at INTEGER NOT NULL, PRIMARY KEY (month)) STRICT",
        # Days that must be counted anew, kept until that is done.
        "CREATE TABLE review.dirty_day (day INTEGER NOT NULL, PRIMARY KEY (day)) STRICT",
        # How far each source of records has been looked at; `id`: see `rollups/changes`. SQLite has one source, number 0.
        "CREATE TABLE review.rolled_source (source INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, "
        "PRIMARY KEY (source)) STRICT",
        # One row: the time zone of the days, when the log was last looked at, the first day that may still be counted anew
        # (records of earlier ones were deleted).
        "CREATE TABLE review.rollup_state (id INTEGER NOT NULL, time_zone TEXT NOT NULL, looked_at INTEGER NOT NULL, "
        "first_day INTEGER NOT NULL, PRIMARY KEY (id)) STRICT",
    ),
    # What people judged. Rows are only added: the newest verdict of a reviewer counts, and the newest row of a view's name. Cards
    # stand here by their own id, not by that of `log.name`, so that verdicts outlive a log that was restored or moved.
    (
        "CREATE TABLE review.verdict (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, call_id BLOB NOT NULL, "
        "received_at INTEGER NOT NULL, card TEXT NOT NULL, nth INTEGER NOT NULL, plan INTEGER, reviewer TEXT NOT NULL, "
        "verdict TEXT NOT NULL, response TEXT NOT NULL, cause TEXT NOT NULL, harm TEXT NOT NULL, five_rights TEXT NOT NULL, "
        "comment TEXT NOT NULL, role TEXT NOT NULL) STRICT",
        "CREATE INDEX review.verdict_of_case ON verdict (call_id, card, nth)",
        # `month`: YYYYMM; `made_at`: only what the log held then was drawn from.
        "CREATE TABLE review.plan (id INTEGER PRIMARY KEY, card TEXT NOT NULL, month INTEGER NOT NULL, seed INTEGER NOT NULL, "
        "made_at INTEGER NOT NULL, UNIQUE (card, month)) STRICT",
        "CREATE TABLE review.stratum (plan INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, drawn INTEGER NOT NULL, "
        "PRIMARY KEY (plan, name)) STRICT",
        "CREATE TABLE review.sample (plan INTEGER NOT NULL, position INTEGER NOT NULL, stratum TEXT NOT NULL, "
        "call_id BLOB NOT NULL, received_at INTEGER NOT NULL, card TEXT NOT NULL, nth INTEGER NOT NULL, "
        "PRIMARY KEY (plan, position)) STRICT",
        "CREATE TABLE review.saved_view (id INTEGER PRIMARY KEY, name TEXT NOT NULL, url TEXT NOT NULL, "
        "made_at INTEGER NOT NULL) STRICT",
    ),
    # Legal holds: records that retention leaves. `kind`: patient, call, client; `value`: a keyed hash, a call's id, a name.
    # Rows stay after the hold has ended, as proof of it. Times: microseconds since 1970.
    (
        "CREATE TABLE review.hold (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, reason TEXT NOT NULL, "
        "began_at INTEGER NOT NULL, ended_at INTEGER) STRICT",
    ),
    # Who saw or changed what (`access/audit`). `before`: the hash of the entry before. Entries are never changed or deleted.
    (
        "CREATE TABLE review.audit (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, reader TEXT NOT NULL, action TEXT NOT NULL, "
        "object TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, before BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
    ),
    # What went wrong without anybody asking. The two counts are made of the days whose records are still there.
    (
        *_counts("day", "daily", _FOR_SIGNALS),
        *_counts("month", "monthly", _FOR_SIGNALS),
        "DELETE FROM review.rolled_month WHERE month >= (SELECT min(first_day) FROM review.rollup_state) / 100",
        "INSERT INTO review.dirty_day (day) SELECT day FROM review.rolled_day "
        "WHERE day >= (SELECT min(first_day) FROM review.rollup_state) ON CONFLICT DO NOTHING",
        # Counted from the bodies of calls, once a day is over. `known`: 1 where the service understood the code.
        "CREATE TABLE review.body_day (day INTEGER NOT NULL, counted_of INTEGER NOT NULL, PRIMARY KEY (day)) STRICT",
        "CREATE TABLE review.body_code (day INTEGER NOT NULL, tenant TEXT NOT NULL, client TEXT NOT NULL, kind TEXT NOT NULL, "
        "system TEXT NOT NULL, code TEXT NOT NULL, known INTEGER NOT NULL, n INTEGER NOT NULL, "
        "PRIMARY KEY (day, tenant, client, kind, system, code, known)) STRICT, WITHOUT ROWID",
        "CREATE TABLE review.body_source (day INTEGER NOT NULL, tenant TEXT NOT NULL, client TEXT NOT NULL, name TEXT NOT NULL, "
        "sent INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (day, tenant, client, name, sent)) STRICT, WITHOUT ROWID",
        # A signal is what is wrong in one place; sightings are the days on which a detector saw it, made anew with the counts;
        # entries are what people did, and are only added. `score`: hundredths of a standard deviation. Times: µs since 1970.
        "CREATE TABLE review.signal (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, client TEXT NOT NULL, "
        "card TEXT NOT NULL, subject TEXT NOT NULL, opened_at INTEGER NOT NULL, "
        "UNIQUE (kind, tenant, client, card, subject)) STRICT",
        "CREATE TABLE review.signal_sighting (signal INTEGER NOT NULL, day INTEGER NOT NULL, score INTEGER NOT NULL, "
        "detail TEXT NOT NULL, PRIMARY KEY (signal, day)) STRICT, WITHOUT ROWID",
        "CREATE TABLE review.signal_entry (seq INTEGER PRIMARY KEY, signal INTEGER NOT NULL, at INTEGER NOT NULL, "
        "who TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL) STRICT",
        "CREATE INDEX review.signal_entry_of ON signal_entry (signal)",
        # What is watched, and what the detectors could say of it when they last ran: normal, alarm, learning, no_data.
        "CREATE TABLE review.signal_watch (kind TEXT NOT NULL, tenant TEXT NOT NULL, client TEXT NOT NULL, card TEXT NOT NULL, "
        "state TEXT NOT NULL, why TEXT NOT NULL, PRIMARY KEY (kind, tenant, client, card)) STRICT, WITHOUT ROWID",
        "CREATE TABLE review.signal_run (id INTEGER NOT NULL, ran_at INTEGER NOT NULL, PRIMARY KEY (id)) STRICT",
    ),
    # Changes of cards (`changes/change`): the candidate, its proof, the judged cases that are the reason, and each step. Rows are
    # only added.
    (
        "CREATE TABLE review.change (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, author TEXT NOT NULL, card TEXT NOT NULL, "
        "card_hash TEXT NOT NULL, candidate TEXT NOT NULL, base TEXT NOT NULL, backtest TEXT NOT NULL, signal INTEGER, "
        "why TEXT NOT NULL) STRICT",
        "CREATE TABLE review.change_case (change INTEGER NOT NULL, call_id BLOB NOT NULL, received_at INTEGER NOT NULL, "
        "card TEXT NOT NULL, nth INTEGER NOT NULL, PRIMARY KEY (change, call_id, card, nth)) STRICT",
        "CREATE TABLE review.change_step (seq INTEGER PRIMARY KEY, change INTEGER NOT NULL, at INTEGER NOT NULL, "
        "reader TEXT NOT NULL, owner INTEGER NOT NULL, action TEXT NOT NULL, note TEXT NOT NULL) STRICT",
        "CREATE INDEX review.change_step_of ON change_step (change)",
    ),
    # Entries of the audit can't be changed or deleted by a statement. Who may sign in, who is signed in, and failed tries.
    (
        {
            "sqlite": "CREATE TRIGGER review.audit_not_changed BEFORE UPDATE ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
            "postgres": "CREATE FUNCTION review.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
        },
        {
            "sqlite": "CREATE TRIGGER review.audit_not_deleted BEFORE DELETE ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
            "postgres": "CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON review.audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION review.audit_is_append_only()",
        },
        # `roles`, `clients`, `tenants`: JSON, NULL for all clients or tenants. `totp_step`: the last one that was used.
        "CREATE TABLE review.account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT NOT NULL, "
        "totp TEXT NOT NULL, totp_step INTEGER NOT NULL, roles TEXT NOT NULL, clients TEXT, tenants TEXT, "
        "disabled INTEGER NOT NULL, made_at INTEGER NOT NULL) STRICT",
        # `id`: hash of the cookie; `groups`: JSON, what the identity provider said; `source`: local or oidc.
        "CREATE TABLE review.session (id BLOB NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, groups TEXT NOT NULL, "
        "began_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, PRIMARY KEY (id)) STRICT",
        "CREATE TABLE review.sign_in_failure (name BLOB NOT NULL, failures INTEGER NOT NULL, last_at INTEGER NOT NULL, "
        "PRIMARY KEY (name)) STRICT",
        # A name belongs to one person, wherever that person signs in.
        "CREATE TABLE review.identity (name TEXT NOT NULL, source TEXT NOT NULL, subject TEXT NOT NULL, "
        "PRIMARY KEY (name)) STRICT",
    ),
    # Plans of the cases of a signal (0: of a whole month). SQLite can't widen a UNIQUE: the table is written anew.
    (
        {
            "sqlite": "ALTER TABLE review.plan RENAME TO plan_of_month",
            "postgres": "ALTER TABLE review.plan ADD COLUMN signal bigint NOT NULL DEFAULT 0",
        },
        {
            "sqlite": "CREATE TABLE review.plan (id INTEGER PRIMARY KEY, card TEXT NOT NULL, month INTEGER NOT NULL, "
            "seed INTEGER NOT NULL, made_at INTEGER NOT NULL, signal INTEGER NOT NULL DEFAULT 0, "
            "UNIQUE (card, month, signal)) STRICT",
            "postgres": "ALTER TABLE review.plan DROP CONSTRAINT plan_card_month_key",
        },
        {
            "sqlite": "INSERT INTO review.plan (id, card, month, seed, made_at) "
            "SELECT id, card, month, seed, made_at FROM review.plan_of_month",
            "postgres": "ALTER TABLE review.plan ADD UNIQUE (card, month, signal)",
        },
        {"sqlite": "DROP TABLE review.plan_of_month", "postgres": "ANALYZE review.plan"},
    ),
    (
        # A name belongs to one person, whatever its capitals (`folded`); each person has one, wherever that person signs in.
        "DROP TABLE review.identity",
        "CREATE TABLE review.person (folded TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, subject TEXT NOT NULL, "
        "PRIMARY KEY (folded), UNIQUE (source, subject)) STRICT",
    ),
)
