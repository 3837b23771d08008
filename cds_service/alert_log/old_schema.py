"""The tables of the alert log's file up to schema 5, as versions up to 0.1.0 wrote them.

Files of theirs are still opened: each statement brings one up to schema 5, and `schema` goes on from there.
"""

from __future__ import annotations

OLD_TABLES = ("call", "card", "feedback", "quarantine")

# Each entry brings a file from the version of its index to the next one. Nothing is added here any more.
# Times are ISO 8601 in UTC with microseconds: they sort as text, and SQLite's date functions read them.
OLD_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE call (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, received_at TEXT NOT NULL, service TEXT NOT NULL,
            hook TEXT NOT NULL, hook_instance TEXT NOT NULL, client TEXT NOT NULL, patient_key TEXT NOT NULL,
            user_key TEXT NOT NULL, encounter_key TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL,
            evaluations TEXT NOT NULL, sources TEXT NOT NULL, timings TEXT NOT NULL, facts TEXT,
            service_version TEXT NOT NULL, knowledge_hash TEXT NOT NULL, jurisdiction TEXT NOT NULL,
            bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL) STRICT""",
        "CREATE INDEX call_received_at ON call (received_at)",
        """CREATE TABLE card (
            seq INTEGER PRIMARY KEY, call_seq INTEGER NOT NULL REFERENCES call, position INTEGER NOT NULL, uuid TEXT NOT NULL,
            card TEXT NOT NULL, version TEXT NOT NULL, content_hash TEXT NOT NULL, indicator TEXT NOT NULL,
            mode TEXT NOT NULL, order_key TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (call_seq, position)) STRICT""",
        "CREATE INDEX card_uuid ON card (uuid)",
        """CREATE TABLE feedback (
            seq INTEGER PRIMARY KEY, received_at TEXT NOT NULL, service TEXT NOT NULL, card_uuid TEXT NOT NULL,
            outcome TEXT NOT NULL, accepted TEXT NOT NULL, reason_system TEXT NOT NULL, reason_code TEXT NOT NULL,
            reason_display TEXT NOT NULL, comment_length INTEGER NOT NULL, outcome_timestamp TEXT NOT NULL,
            repeats INTEGER NOT NULL DEFAULT 0,
            UNIQUE (card_uuid, service, outcome, outcome_timestamp, accepted, reason_system, reason_code, reason_display,
                    comment_length)) STRICT""",
        """CREATE TABLE quarantine (
            seq INTEGER PRIMARY KEY, noted_at TEXT NOT NULL, kind TEXT NOT NULL, record_id TEXT NOT NULL,
            error TEXT NOT NULL) STRICT""",
    ),
    # Which cards a patient's clinicians were shown before. Cards of before this migration stay without a patient: what they were
    # about was not kept, so they could hold nothing back. Rows are not rewritten: 600 MB of cards take half a second.
    (
        "ALTER TABLE card ADD COLUMN patient_key TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE card ADD COLUMN about TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE card ADD COLUMN table_row INTEGER NOT NULL DEFAULT -1",
        "CREATE INDEX card_of_patient ON card (patient_key, card) WHERE mode = 'live'",
    ),
    # The sender of feedback: it counts only for that caller's cards. Feedback from before this migration came from unverified
    # callers; it stays without a client and counts for every card, as it did. The table is written anew for its new key.
    (
        "ALTER TABLE call ADD COLUMN tenant TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE feedback_of_client (
            seq INTEGER PRIMARY KEY, received_at TEXT NOT NULL, service TEXT NOT NULL, card_uuid TEXT NOT NULL,
            outcome TEXT NOT NULL, accepted TEXT NOT NULL, reason_system TEXT NOT NULL, reason_code TEXT NOT NULL,
            reason_display TEXT NOT NULL, comment_length INTEGER NOT NULL, outcome_timestamp TEXT NOT NULL,
            client TEXT NOT NULL, tenant TEXT NOT NULL, repeats INTEGER NOT NULL DEFAULT 0,
            UNIQUE (card_uuid, client, tenant, service, outcome, outcome_timestamp, accepted, reason_system, reason_code,
                    reason_display, comment_length)) STRICT""",
        """INSERT INTO feedback_of_client SELECT seq, received_at, service, card_uuid, outcome, accepted, reason_system,
            reason_code, reason_display, comment_length, outcome_timestamp, '', '', repeats FROM feedback""",
        "DROP TABLE feedback",
        "ALTER TABLE feedback_of_client RENAME TO feedback",
    ),
    # A call that is sent again adds to `repeats` of its record. Older calls have no digest, so nothing is a repeat of them.
    (
        "ALTER TABLE call ADD COLUMN digest TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE call ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX call_digest ON call (digest) WHERE digest != ''",
    ),
    # Items of feedback that could not be read, and who sent them.
    tuple(
        f"ALTER TABLE quarantine ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
        for column in ("service", "client", "tenant", "item")
    ),
)
