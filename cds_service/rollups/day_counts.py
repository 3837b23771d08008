"""Count one day of the log: the statements, which depend on the log alone.

Everything that the figures of the pages mean is decided here; `tests/rollups/plain_count.py` counts the same in plain Python.
"""

from __future__ import annotations

from cds_service.database import WITHDRAWN, Database
from cds_service.database.review_tables import COUNTS
from cds_service.rollups.counting import words
from cds_service.rollups.days import DAY, HOUR, Bounds

# Latency is counted in buckets, each named by its upper bound in ms. The last one holds whatever took longer.
MS_BUCKETS = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80),
    *(100, 120, 150, 200, 250, 300, 400, 500, 600, 800),
    *(1_000, 1_200, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 20_000, 30_000, 60_000, 3_600_000),
)
HELD_BACK = 503  # the status that a caller got whose response was withdrawn

DAILY_TABLES = tuple(COUNTS)
SLOW_MS = 500  # a response should take no longer (CDS Hooks, "on the order of 500 ms")

# The cards of the day, each with the response to it. Made once for the three tables that count cards.
_DAY_CARD = """CREATE TEMPORARY TABLE day_card (received_at BIGINT, tenant BIGINT, client BIGINT, hook BIGINT, card BIGINT,
    version BIGINT, mode BIGINT, state BIGINT, indicator BIGINT, response BIGINT, repeated_24h BIGINT, about_order BIGINT,
    reason BIGINT, commented BIGINT, patient {bytes}, user_key {bytes})"""

# Shown live: what a clinician saw. The hours before the day are read too, for repeats; of its own call a card is no repeat.
_FILL_DAY_CARD = f"""INSERT INTO day_card
    WITH withdrawn AS MATERIALIZED (
        SELECT DISTINCT received_at, call_id FROM log.withdrawal WHERE received_at >= :before AND received_at < :end),
    found AS MATERIALIZED (
        SELECT c.received_at, c.call_id, c.uuid, c.tenant, c.client, c.hook, c.card, c.version, c.mode,
            CASE WHEN w.call_id IS NULL THEN c.state ELSE {WITHDRAWN} END AS state, c.indicator, c.patient, c.about,
            CASE WHEN c.order_key IS NULL THEN 0 ELSE 1 END AS about_order
        FROM log.card c LEFT JOIN withdrawn w ON w.received_at = c.received_at AND w.call_id = c.call_id
        WHERE c.received_at >= :before AND c.received_at < :end),
    counted AS (
        SELECT f.*, CASE WHEN patient IS NULL OR mode <> :live OR state <> :shown THEN 0
            WHEN max(received_at) OVER (PARTITION BY tenant, client, patient, card, about, mode, state ORDER BY received_at
                RANGE BETWEEN {DAY} PRECEDING AND 1 PRECEDING) IS NULL THEN 0 ELSE 1 END AS repeated_24h
        FROM found f),
    answer AS (
        SELECT card_uuid, tenant, client, outcome, reason_code, comment_length, row_number() OVER (
            PARTITION BY card_uuid, tenant, client
            ORDER BY coalesce(outcome_at, received_at) DESC, received_at DESC, id DESC) AS place
        FROM log.feedback WHERE card_uuid IN (SELECT uuid FROM found WHERE received_at >= :start))
    SELECT d.received_at, d.tenant, d.client, d.hook, d.card, d.version, d.mode, d.state, d.indicator,
        coalesce(a.outcome, 0), d.repeated_24h, d.about_order, coalesce(a.reason_code, 0),
        CASE WHEN a.comment_length > 0 THEN 1 ELSE 0 END, d.patient, k.user_key
    FROM counted d
    LEFT JOIN answer a ON a.card_uuid = d.uuid AND a.tenant = d.tenant AND a.client = d.client AND a.place = 1
    LEFT JOIN log.call k ON k.tenant = d.tenant AND k.received_at = d.received_at AND k.id = d.call_id
    WHERE d.received_at >= :start"""

_SHOWN_LIVE = "mode = :live AND state = :shown"

_CARD = """INSERT INTO review.daily_card
    SELECT :day, tenant, client, hook, card, version, mode, state, indicator, response, repeated_24h, about_order, count(*)
    FROM day_card GROUP BY tenant, client, hook, card, version, mode, state, indicator, response, repeated_24h, about_order"""

_REASON = f"""INSERT INTO review.daily_reason
    SELECT :day, tenant, client, hook, card, version, reason, sum(commented), count(*)
    FROM day_card WHERE {_SHOWN_LIVE} AND response = :overridden GROUP BY tenant, client, hook, card, version, reason"""

# A user has a row for each card that fired in a call, also where none was shown: so the table says on which days to look.
_USER = f"""INSERT INTO review.daily_user
    SELECT :day, tenant, client, user_key, card, sum(n), sum(accepted), sum(overridden),
        max(CASE WHEN patient IS NULL THEN 0 ELSE n END)
    FROM (SELECT tenant, client, user_key, card, patient, count(*) FILTER (WHERE {_SHOWN_LIVE}) AS n,
            count(*) FILTER (WHERE {_SHOWN_LIVE} AND response = :accepted) AS accepted,
            count(*) FILTER (WHERE {_SHOWN_LIVE} AND response = :overridden) AS overridden
        FROM day_card WHERE user_key IS NOT NULL GROUP BY tenant, client, user_key, card, patient) of_patient
    GROUP BY tenant, client, user_key, card"""

# A repeat has the evaluations of the call that it repeats, which are counted there. A withdrawn call was evaluated.
_EVALUATION = """INSERT INTO review.daily_evaluation
    SELECT :day, k.tenant, k.client, k.hook, o.card, o.version, o.outcome, o.table_row, o.applies, sum(k.n * o.n)
    FROM (SELECT tenant, client, hook, outcome_set, count(*) AS n FROM log.call
        WHERE received_at >= :start AND received_at < :end AND repeat_of IS NULL AND outcome_set IS NOT NULL
        GROUP BY tenant, client, hook, outcome_set) k
    JOIN log.outcome_of_set o ON o.set_id = k.outcome_set
    GROUP BY k.tenant, k.client, k.hook, o.card, o.version, o.outcome, o.table_row, o.applies"""

_MISSING = """INSERT INTO review.daily_missing
    SELECT :day, k.tenant, k.client, k.hook, m.card, m.criterion, m.cause, sum(k.n * m.n)
    FROM (SELECT tenant, client, hook, missing_set, count(*) AS n FROM log.call
        WHERE received_at >= :start AND received_at < :end AND repeat_of IS NULL AND missing_set IS NOT NULL
        GROUP BY tenant, client, hook, missing_set) k
    JOIN log.missing_of_set m ON m.set_id = k.missing_set
    GROUP BY k.tenant, k.client, k.hook, m.card, m.criterion, m.cause"""

# How long the caller waited, where that is known; else until the record was handed to the log.
_BUCKET = "CASE {} ELSE {} END".format(" ".join(f"WHEN us <= {ms * 1000} THEN {ms}" for ms in MS_BUCKETS[:-1]), MS_BUCKETS[-1])
_CALL_OF_DAY = f"""SELECT k.tenant, k.client, k.hook, k.received_at,
        CASE WHEN w.call_id IS NULL THEN k.status ELSE {HELD_BACK} END AS status,
        CASE WHEN w.call_id IS NULL THEN k.outcome ELSE {WITHDRAWN} END AS outcome,
        CASE WHEN k.repeat_of IS NULL THEN 0 ELSE 1 END AS repeats, coalesce(d.total_us, k.took_us, 0) AS us
    FROM log.call k
    LEFT JOIN (SELECT received_at, call_id, max(total_us) AS total_us FROM log.delivery
        WHERE received_at >= :start AND received_at < :end GROUP BY received_at, call_id) d
        ON d.received_at = k.received_at AND d.call_id = k.id
    LEFT JOIN (SELECT DISTINCT received_at, call_id FROM log.withdrawal
        WHERE received_at >= :start AND received_at < :end) w
        ON w.received_at = k.received_at AND w.call_id = k.id
    WHERE k.received_at >= :start AND k.received_at < :end"""
_CALL = f"""INSERT INTO review.daily_call
    SELECT :day, tenant, client, hook, status, outcome, ms_bucket, sum(repeats), count(*)
    FROM (SELECT tenant, client, hook, status, outcome, repeats, {_BUCKET} AS ms_bucket FROM ({_CALL_OF_DAY}) one) bucketed
    GROUP BY tenant, client, hook, status, outcome, ms_bucket"""

# By hours since midnight. Evaluations are those that applied; not checked: could not be checked, or failed.
_HOUR = f"""INSERT INTO review.daily_hour
    SELECT :day, tenant, client, hour, sum(calls), sum(failed), sum(slow), sum(evaluations), sum(not_checked)
    FROM (
        SELECT tenant, client, hour, count(*) AS calls, count(*) FILTER (WHERE status >= 500) AS failed,
            count(*) FILTER (WHERE us > {SLOW_MS * 1000}) AS slow, 0 AS evaluations, 0 AS not_checked
        FROM (SELECT tenant, client, status, us, (received_at - :start) / {HOUR} AS hour FROM ({_CALL_OF_DAY}) one) of_hour
        GROUP BY tenant, client, hour
        UNION ALL
        SELECT k.tenant, k.client, k.hour, 0, 0, 0, sum(k.n * o.n),
            coalesce(sum(k.n * o.n) FILTER (WHERE o.outcome = :could_not_check OR o.outcome = :failed), 0)
        FROM (SELECT tenant, client, hour, outcome_set, count(*) AS n
            FROM (SELECT tenant, client, outcome_set, (received_at - :start) / {HOUR} AS hour FROM log.call
                WHERE received_at >= :start AND received_at < :end AND repeat_of IS NULL AND outcome_set IS NOT NULL) c
            GROUP BY tenant, client, hour, outcome_set) k
        JOIN log.outcome_of_set o ON o.set_id = k.outcome_set
        WHERE o.applies = 1 AND o.outcome <> :not_applicable
        GROUP BY k.tenant, k.client, k.hour) counted
    GROUP BY tenant, client, hour"""

# Which program, dialect and content of a card decided: a change of any of them begins a new stretch of a card's rate.
_RELEASE = """INSERT INTO review.daily_release
    SELECT :day, k.tenant, k.client, k.service_version, k.dialect, o.card, o.version, o.content_hash, sum(k.n * o.n)
    FROM (SELECT tenant, client, service_version, dialect, outcome_set, count(*) AS n FROM log.call
        WHERE received_at >= :start AND received_at < :end AND repeat_of IS NULL AND outcome_set IS NOT NULL
        GROUP BY tenant, client, service_version, dialect, outcome_set) k
    JOIN log.outcome_of_set o ON o.set_id = k.outcome_set
    GROUP BY k.tenant, k.client, k.service_version, k.dialect, o.card, o.version, o.content_hash"""

_REFUSAL = """INSERT INTO review.daily_refusal
    SELECT :day, tenant, client, hook, status, reason, sum(n) FROM log.refusal
    WHERE received_at >= :start AND received_at < :end GROUP BY tenant, client, hook, status, reason"""

# An order and an encounter count on the day of their first call, a user and a patient once a day, each where it was first seen:
# so that days and hooks add up.
_DENOMINATOR = """INSERT INTO review.daily_denominator
    SELECT :day, tenant, client, hook, sum(encounters), sum(orders), sum(users), sum(patients)
    FROM (
        SELECT tenant, client, hook, 1 AS encounters, 0 AS orders, 0 AS users, 0 AS patients
        FROM (SELECT tenant, client, hook, encounter,
                row_number() OVER (PARTITION BY encounter ORDER BY received_at, id) AS place
            FROM log.call WHERE received_at >= :start AND received_at < :end AND encounter IS NOT NULL) e
        WHERE place = 1 AND NOT EXISTS (
            SELECT 1 FROM log.call b WHERE b.encounter = e.encounter AND b.received_at < :start)
        UNION ALL
        SELECT tenant, client, hook, 0, 1, 0, 0
        FROM (SELECT k.tenant, k.client, k.hook, o.order_key,
                row_number() OVER (PARTITION BY o.order_key ORDER BY o.received_at, o.call_id) AS place
            FROM log.ordered o JOIN log.call k ON k.received_at = o.received_at AND k.id = o.call_id
            WHERE o.received_at >= :start AND o.received_at < :end) f
        WHERE place = 1 AND NOT EXISTS (
            SELECT 1 FROM log.ordered b WHERE b.order_key = f.order_key AND b.received_at < :start)
        UNION ALL
        SELECT tenant, client, hook, 0, 0, 1, 0
        FROM (SELECT tenant, client, hook,
                row_number() OVER (PARTITION BY tenant, client, user_key ORDER BY received_at, id) AS place
            FROM log.call WHERE received_at >= :start AND received_at < :end AND user_key IS NOT NULL) u WHERE place = 1
        UNION ALL
        SELECT tenant, client, hook, 0, 0, 0, 1
        FROM (SELECT tenant, client, hook,
                row_number() OVER (PARTITION BY tenant, client, patient ORDER BY received_at, id) AS place
            FROM log.call WHERE received_at >= :start AND received_at < :end AND patient IS NOT NULL) p WHERE place = 1
    ) first_seen GROUP BY tenant, client, hook"""


def count_day(database: Database, day: int, bounds: Bounds) -> None:
    """Replace all counts of the day by those of the log; runs inside a transaction of the caller."""
    span = {"start": bounds.start, "end": bounds.end}
    live_shown, responses = words(database, "live", "shown"), words(database, "accepted", "overridden")
    for table in DAILY_TABLES:
        database.execute(f"DELETE FROM review.daily_{table} WHERE day = :day", day=day)
    database.execute("DROP TABLE IF EXISTS day_card")
    database.execute(_DAY_CARD.format(bytes="bytea" if database.dialect == "postgres" else "BLOB"))
    database.execute(_FILL_DAY_CARD, **span, before=bounds.start - DAY, **live_shown)
    database.execute(_CARD, day=day)
    database.execute(_REASON, day=day, **live_shown, overridden=responses["overridden"])
    database.execute(_USER, day=day, **live_shown, **responses)
    database.execute("DROP TABLE day_card")
    for statement in (_EVALUATION, _MISSING, _CALL, _REFUSAL, _DENOMINATOR, _RELEASE):
        database.execute(statement, day=day, **span)
    database.execute(_HOUR, day=day, **span, **words(database, "could_not_check", "failed", "not_applicable"))
