"""Define the metrics of the service. Labels come from closed lists, never from request data.

`/metrics` shows these in Prometheus' text format, added up over the workers; `/health` shows those of failures, of this process
alone.

With several workers each value lives in a mapped file, where a change costs about a microsecond (two for a histogram); counts of
every call go through `call_counts`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Numbers
from collections.abc import Collection, Iterable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cds_service.files.set_aside import REASONS, REPLACED

REGISTRY = CollectorRegistry()

SecurityKind = Literal[
    "wrong_patient_token",  # the call's token is limited to another patient
    "wrong_patient_order",  # a draft order is for another patient
    "wrong_patient_data",  # a prefetch key or a FHIR server's response holds data of another patient
    "foreign_fhir_server",  # `fhirServer` is not registered for the caller
]
SECURITY_KINDS: tuple[SecurityKind, ...] = get_args(SecurityKind)

# Seconds. The goals are 0.5 s for 95 of 100 calls and a deadline of 2 s; phases without I/O take fractions of a millisecond.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=REGISTRY)


class Durations(Histogram):
    """A histogram that takes many values at once: each alone costs 2 us, 4 with several workers."""

    def observe_all(self, values: Collection[float]) -> None:
        """Do what `observe` does with each value."""
        self._sum.inc(sum(values))
        for bucket, number in Numbers(bisect_left(self._upper_bounds, value) for value in values).items():
            self._buckets[bucket].inc(number)


def _durations(name: str, meaning: str, *labels: str) -> Durations:
    return Durations(name, meaning, labels, registry=REGISTRY, buckets=_SECONDS)


def _gauge(name: str, meaning: str, over_workers: Literal["livesum", "livemax", "livemin", "liveall"], *labels: str) -> Gauge:
    return Gauge(name, meaning, labels, registry=REGISTRY, multiprocess_mode=over_workers)


CALLS = _counter(
    "cds_calls",
    "Calls of known services, by service and HTTP status; 499: the client disconnected",
    "service",
    "status",
)
CALL_SECONDS = _durations("cds_call_seconds", "From the first byte of a call to the last of its response, by service", "service")
PHASE_SECONDS = _durations("cds_phase_seconds", "Duration of the phases of a call", "phase")
DECISIONS = _counter("cds_decisions", "Decisions, live and in shadow, by card and outcome", "card", "outcome")
CARDS = _counter(
    "cds_cards", "Cards drawn, by card, indicator and mode (live: shown; shadow: only logged)", "card", "indicator", "mode"
)
NOT_CHECKED = _counter("cds_not_checked", "Responses with a notice on data that could not be checked, by service", "service")
NOTICES_REPEATED = _counter(
    "cds_notices_repeated", "Responses that do not say again that draft orders were not sent, by service", "service"
)
UNREAD_CODES = _counter("cds_unread_codes", "Codes, units and statuses that were not understood, by kind", "kind")
EVALUATION_FAILURES = _counter("cds_evaluation_failures", "Cards and criteria that failed, by id", "card")
ENGINE_FAILURES = _counter("cds_engine_failures", "Calls for which no card could be evaluated")
UNEXPECTED_ERRORS = _counter("cds_unexpected_errors", "Requests answered with 500 because of an unexpected exception")

AUTH_REFUSED = _counter("cds_auth_refused", "Calls whose caller was not accepted, by reason", "reason")
AUTH_DEGRADED = _counter("cds_auth_degraded", "Calls accepted while earlier use of their token could not be looked up")
TOKENS_SET_ASIDE = _counter("cds_tokens_set_aside", "Stores of used tokens that were unusable and were set aside")
KEY_FETCHES = _counter("cds_key_fetches", "Requests for EHRs' public keys, by outcome", "outcome")
SECURITY_EVENTS = _counter("cds_security_events", "Events that only a fault or an attack explains, by kind", "kind")
FHIR_FETCHES = _counter("cds_fhir_fetches", "Requests to EHRs' FHIR servers, by outcome", "outcome")
FHIR_QUIRKS = _counter(
    "cds_fhir_ways", "Search quirks of FHIR servers that were learned because a search was refused, by kind", "kind"
)
FHIR_REFERENCES = _counter(
    "cds_fhir_references",
    "References to resources that a call did not bring and a card could need, by type and outcome: read, not_read, elsewhere, "
    "too_many",
    *("type", "outcome"),
)
FHIR_BREAKERS = _counter(
    "cds_fhir_breakers", "FHIR servers not asked after failures: opened, probed, closed (opened less closed: now)", "event"
)
REFUSED = _counter("cds_refused", "Requests answered with an error, by status", "status")
SHED = _counter("cds_shed", "Requests refused because there were too many, by reason", "reason")

FEEDBACK = _counter("cds_feedback", "Items of feedback by outcome; refused: they could not be read", "outcome")
LOG_RECORDS = _counter("cds_log_records", "Records of the alert log: written, quarantined, lost", "outcome")
INPUTS_NOT_KEPT = _counter(
    "cds_inputs_not_kept", "Calls whose reduced inputs are not in the log, though CDS_KEEP_INPUTS asks for it"
)
LOG_UNREAD = _counter("cds_log_unread", "Times that the cards shown before could not be looked up")
LOG_WITHOUT_LOCK = _counter(
    "cds_log_without_lock", "Times that the lock beside the alert log could not be taken; commits went on without it"
)
LOG_SET_ASIDE = _counter("cds_log_set_aside", "Files that could not be the alert log and were set aside, by reason", "reason")
SET_ASIDE = _gauge("cds_set_aside_files", "Files that were set aside and are still beside the log", "livemax")
LOG_WAITING = _gauge("cds_log_waiting", "Records in memory that are not durable yet, all workers together", "livesum")
LOG_LAG = _gauge("cds_log_lag_seconds", "For how long records have been waiting, in the worker where that is longest", "livemax")
LOG_STATE = _gauge("cds_log_state", "Workers whose alert log is in this state", "livesum", "state")
WRONG_KEYS = _gauge("cds_log_wrong_keys", "Keys of the log's hashes that are not those that the log began with", "livemax")
LOG_UNREAD_ELSEWHERE = _counter(
    "cds_log_unread_elsewhere", "Times that PostgreSQL could not be asked for the cards that other machines had shown"
)
SHIPPING_RECORDS = _counter(
    "cds_shipping_records", "Records moved from the log's file to PostgreSQL (shipped), or refused by it", "outcome"
)
SHIPPING_UNTRUE = _counter("cds_shipping_untrue", "Rows in a default partition, because their month can't be true")
SHIPPING_WAITING = _gauge("cds_shipping_waiting", "Records in the log's file that are not in PostgreSQL yet", "livemax")
SHIPPING_LAG = _gauge("cds_shipping_lag_seconds", "For how long PostgreSQL has not had every record of the log's file", "livemax")
SHIPPING_STATE = _gauge("cds_shipping_state", "Workers whose shipping of the log is in this state", "livesum", "state")
CHECK_OK = _gauge("cds_check_ok", "1 while the known patient is decided as before, in all workers", "livemin", "check")
CHECK_RUN = _gauge(
    "cds_check_run_timestamp_seconds", "When the known patients were last decided, in the worker that is behind", "livemin"
)
WORKERS = _gauge(
    "cds_workers",
    "Processes that serve calls, by version, profile and a hash of settings, cards and clients",
    "livesum",
    *("version", "profile", "configuration"),
)
SIGNALS_OPEN = _gauge("cds_signals_open", "Open signals of the review pages, in their process", "livemax")
CARDS_LIVE = _gauge("cds_cards_live", "Cards that are shown, in the worker that shows the fewest", "livemin")


def counts(counter: Counter) -> dict[str, int]:
    """Return the counts of this process, by label values joined with a space, without those that are 0."""
    samples = [one for metric in counter.collect() for one in metric.samples if one.name.endswith("_total") and one.value]
    return {" ".join(one.labels.values()): int(one.value) for one in samples}


def count(counter: Counter) -> int:
    """Return the count of this process over all labels."""
    return sum(counts(counter).values())


def start_at_zero(services: Iterable[str], cards: Iterable[str]) -> None:
    """Start counters at 0, so that an alarm sees their first count as a change."""
    for service in services:
        NOT_CHECKED.labels(service)
        NOTICES_REPEATED.labels(service)
        CALL_SECONDS.labels(service)
        CALLS.labels(service, "200")
        CALLS.labels(service, "500")
    for card in cards:
        EVALUATION_FAILURES.labels(card)
        for outcome in ("fired", "not_fired", "could_not_check", "failed"):
            DECISIONS.labels(card, outcome)
    for kind in SECURITY_KINDS:
        SECURITY_EVENTS.labels(kind)
    for outcome in ("written", "quarantined", "lost"):
        LOG_RECORDS.labels(outcome)
    for reason in (*REASONS, REPLACED):
        LOG_SET_ASIDE.labels(reason)
    for outcome in ("shipped", "refused"):
        SHIPPING_RECORDS.labels(outcome)
    for phase in ("trust", "receive", "decode", "gather", "read", "judge", "draw", "shown_before", "choose", "log"):
        PHASE_SECONDS.labels(phase)
