"""Look up earlier cards in rows of version 0.1.0, until `cds-service log compact` has rewritten them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from cds_service.alert_log.instants import instant, micros, uuid_bytes
from cds_service.alert_log.records import PriorRecord

# As in `prior`. Cards of this file that are alike are not made one: they become fewer with every day.
_SHOWN = """SELECT card.uuid, card.card, version, indicator, about, table_row AS row, order_key, hook, user_key, call.tenant,
        call.received_at AS shown_at, coalesce((SELECT min(outcome) FROM old_feedback AS feedback
            WHERE card_uuid = card.uuid AND outcome IN ('accepted', 'overridden')
            AND (feedback.client = '' OR (feedback.client, feedback.tenant) = (call.client, call.tenant))
            AND (outcome = 'accepted' OR feedback.received_at >= call.received_at)), '') AS answered
    FROM (SELECT seq, call_seq, uuid, card, version, indicator, about, table_row, order_key FROM old_card
        WHERE patient_key = ? AND card = ? AND mode = 'live' ORDER BY seq DESC LIMIT ?) AS card
    JOIN old_call AS call ON call.seq = call_seq WHERE client = ? AND call.received_at >= ? ORDER BY card.seq DESC"""
# Feedback that came since the file was brought up to date, or that was rewritten: it is, before the cards.
_ANSWERED = """SELECT min(said.text) FROM feedback JOIN name AS said ON said.id = outcome
    JOIN name AS sender ON sender.id = client JOIN name AS ward ON ward.id = tenant
    WHERE card_uuid = :card AND said.text IN ('accepted', 'overridden')
    AND (said.text = 'accepted' OR received_at >= :shown_at)
    AND (sender.text = '' OR (sender.text, ward.text) = (:client, :tenant))"""


def old_prior_cards(
    connection: sqlite3.Connection, patient_key: str, client: str, since: Mapping[str, datetime], newest: int
) -> list[PriorRecord]:
    """Return the live cards shown to `client` about a patient, as `AlertLog.prior_cards` does, from the old rows."""
    found = []
    for card, start in since.items():
        for row in connection.execute(_SHOWN, (patient_key, card, newest, client, instant(start))).fetchall():
            shown_at = datetime.fromisoformat(row["shown_at"])
            values = {name: row[name] for name in PriorRecord.__struct_fields__} | {"shown_at": shown_at}
            asked = {"card": uuid_bytes(row["uuid"]), "shown_at": micros(shown_at), "client": client, "tenant": row["tenant"]}
            answered = connection.execute(_ANSWERED, asked).fetchone()[0]
            found.append(PriorRecord(**values | {"answered": min(filter(None, (row["answered"], answered)), default="")}))
    return found
