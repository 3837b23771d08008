"""Keep the alert log: one durable record per call, written before the response leaves, and the EHR's feedback.

An embedded SQLite file is the whole log of one machine. `AlertLog` writes it, `call_lines` exports it, `keyed_hash` makes the
pseudonyms that stand for patients, users, encounters and orders in it.
"""

from cds_service.alert_log.body import CallBody
from cds_service.alert_log.call_bodies import archived_files, read_body
from cds_service.alert_log.export import call_lines
from cds_service.alert_log.instants import instant_of, micros
from cds_service.alert_log.keys import keyed_hash, load_or_create_secret, tenant_secret
from cds_service.alert_log.knowledge_archive import restore_knowledge
from cds_service.alert_log.log import AlertLog, LogHealth
from cds_service.alert_log.records import (
    RETRY,
    CallRecord,
    CardRecord,
    DeliveryRecord,
    FeedbackRecord,
    PriorRecord,
    QuarantineRecord,
)
from cds_service.alert_log.schema import SchemaMismatchError

__all__ = [
    "RETRY",
    "AlertLog",
    "CallBody",
    "CallRecord",
    "CardRecord",
    "DeliveryRecord",
    "FeedbackRecord",
    "LogHealth",
    "PriorRecord",
    "QuarantineRecord",
    "SchemaMismatchError",
    "archived_files",
    "call_lines",
    "instant_of",
    "keyed_hash",
    "load_or_create_secret",
    "micros",
    "read_body",
    "restore_knowledge",
    "tenant_secret",
]
