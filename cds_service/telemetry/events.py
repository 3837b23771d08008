"""Define the events of this service's own log: a closed list, each with fields of a closed list.

One event is one line. No request data can get in: an event has no free text, a field that is not in `Fields` does not pass the
type checker and is dropped at run time, and a text with characters that this program's own texts don't have is withheld.
"""

from __future__ import annotations

import logging
import re
import traceback
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import TypedDict, Unpack

LOGGER = logging.getLogger("cds_service")
WITHHELD = "(withheld)"

_OWN_WORDS = re.compile(r"[A-Za-z0-9 _.,:;/()<>\[\]'`@+*|-]{0,1200}")
_FRAMES = 4


class Event(Enum):
    """Events by name in the log, severity and meaning."""

    STARTED = "started", logging.INFO, "the process can answer; `hash` is that of its settings, cards and clients"
    START_FAILED = "start_failed", logging.CRITICAL, "the process ends because something it needs could not be opened"
    WORKER_DIED = "worker_died", logging.WARNING, "a worker ended unasked or gave no sign of life; another takes its place"
    WORKERS_DIE = "workers_die", logging.CRITICAL, "the same, for the third time within a minute"
    RELOAD_FAILED = "reload_failed", logging.ERROR, "SIGHUP came, and what it loads can't be used; the workers stay as they are"
    DRAINING = "draining", logging.INFO, "SIGTERM came: not ready any more, still taking calls for so many milliseconds"
    STOPPED = "stopped", logging.INFO, "all calls under way are answered and the log is closed"
    CARDS_LIVE = "cards_live", logging.INFO, "which cards are shown"
    NO_CARD_LIVE = "no_card_live", logging.ERROR, "no card is shown in production: none is approved as it is now"
    CARD_IN_SHADOW = "card_in_shadow", logging.WARNING, "the card is evaluated and logged, never shown"
    ANSWERED = "answered", logging.DEBUG, "a call ended, with its status and duration; logged at debug level only"
    CALLER_REFUSED = "caller_refused", logging.WARNING, "a caller is not accepted, and why; `client` is an unverified claim"
    KEYS_NOT_FETCHED = "keys_not_fetched", logging.WARNING, "the key server of a client gave no usable response; known keys go on"
    KEY_UNUSABLE = "key_unusable", logging.WARNING, "a key in a client's key set is not used, and why"
    TOKENS_UNKNOWN = "tokens_unknown", logging.ERROR, "the store of used tokens does not respond; each process checks its own"
    TOKENS_SET_ASIDE = (
        "tokens_set_aside",
        logging.ERROR,
        "the store of used tokens was unusable, and why; it was renamed and a new one begun",
    )
    TOKENS_KNOWN = "tokens_known", logging.INFO, "the store of used tokens answers"
    FHIR_PAUSED = "fhir_paused", logging.WARNING, "a FHIR server failed too often and is not asked for a while"
    FHIR_QUIRK = (
        "fhir_way",
        logging.INFO,
        "a FHIR server refused a search and answered another form of it, which is used from now on",
    )
    REFUSALS = (
        "refusals",
        logging.WARNING,
        "all refusals of a kind in a minute, with the addresses that most came from; beyond ten they have no line of their own",
    )
    CONNECTION_REFUSED = "connection_refused", logging.WARNING, "a connection was closed: too many are open, or it is not HTTP"
    REFUSED = "refused", logging.INFO, "a request was answered with an error, joined to it by `trace`"
    FEEDBACK = "feedback", logging.INFO, "feedback was taken"
    SECURITY = "security", logging.WARNING, "an event that only a fault or an attack explains, by kind"
    UNEXPECTED_ERROR = "unexpected_error", logging.ERROR, "a request was answered with 500, joined to it by `trace`"
    EVALUATION_FAILED = "evaluation_failed", logging.ERROR, "a card or criterion failed; the others went on"
    ENGINE_FAILED = "engine_failed", logging.CRITICAL, "no card could be evaluated for a call"
    INPUTS_NOT_KEPT = "inputs_not_kept", logging.ERROR, "the reduced inputs of a call could not be made; the call went on"
    CHECK_FAILED = "check_failed", logging.ERROR, "a known patient is not decided as before"
    CHECK_UNPROVEN = "check_unproven", logging.WARNING, "no known patient makes a card of this site fire, so nothing is proved"
    CHECK_RECOVERED = "check_recovered", logging.WARNING, "the known patients are decided as before again"
    LOG_UNWRITABLE = "log_unwritable", logging.ERROR, "the alert log can't be written, records wait in memory"
    LOG_SET_ASIDE = (
        "log_set_aside",
        logging.ERROR,
        "the file can't be the alert log, and why; it was renamed and a new one begun",
    )
    LOG_WRITABLE = "log_writable", logging.WARNING, "the alert log can be written again"
    LOG_FULL = "log_full", logging.ERROR, "too many records wait for the alert log, the oldest are lost"
    LOG_LOST = "log_lost", logging.CRITICAL, "the process ends with records that could not be written"
    LOG_ENDED = "log_ended", logging.CRITICAL, "the writer of the alert log ended, nothing is logged any more"
    LOG_QUARANTINED = "log_quarantined", logging.ERROR, "a record can't be stored"
    LOG_WITHOUT_LOCK = (
        "log_without_lock",
        logging.WARNING,
        "the lock beside the alert log can't be taken; commits are slower",
    )
    KEY_CHANGED = (
        "key_changed",
        logging.CRITICAL,
        "the key of the log's hashes is not the one that the log began with; `count` is its generation",
    )
    KEY_UNCHECKED = "key_unchecked", logging.WARNING, "it can't be looked up with which key of the hashes the log began"
    LOG_UNREAD = "log_unread", logging.WARNING, "the cards shown before can't be looked up; cards may be shown again"
    SHIPPING_FAILS = "shipping_fails", logging.ERROR, "records can't be moved to PostgreSQL now; they wait in the log's file"
    SHIPPING_WORKS = "shipping_works", logging.WARNING, "records are moved to PostgreSQL again"
    SHIPPING_STOPPED = (
        "shipping_stopped",
        logging.CRITICAL,
        "the file and PostgreSQL do not fit each other: nothing is moved until an operator has changed that",
    )
    SHIPPING_REFUSED = "shipping_refused", logging.ERROR, "PostgreSQL refused a record, which stays in the log's file"
    SHIPPING_RESTORED = "shipping_restored", logging.WARNING, "the log's file is not the one shipped before; all is sent again"
    SHIPPING_UNTRUE = "shipping_untrue", logging.ERROR, "records have a month that can't be true; a clock is wrong"
    LOG_UNREAD_ELSEWHERE = (
        "log_unread_elsewhere",
        logging.WARNING,
        "PostgreSQL can't be asked for cards shown on other machines; cards may be shown again",
    )
    LOG_NOT_COUNTED = "log_not_counted", logging.WARNING, "the log can't be counted now; the review pages show older figures"
    LOG_COUNTED = "log_counted", logging.INFO, "the log can be counted again"
    SIGNALS_NOT_SOUGHT = (
        "signals_not_sought",
        logging.WARNING,
        "no detector can run now; the signals are older than they should be",
    )
    SIGNALS_SOUGHT = "signals_sought", logging.INFO, "the detectors run again"
    AUDIT_HEAD = (
        "audit_head",
        logging.INFO,
        "number and hash of the newest entry of the audit, for `cds-service audit verify --head`; keep these lines elsewhere",
    )
    AUDIT_UNREAD = "audit_unread", logging.WARNING, "the head of the audit can't be read now"
    UNHANDLED = "unhandled", logging.CRITICAL, "an exception that nothing caught"
    LIBRARY = "library", logging.INFO, "a line of a library; `text` only where it is known to be harmless"

    def __init__(self, label: str, level: int, meaning: str) -> None:
        self.label = label
        self.level = level
        self.meaning = meaning


class Fields(TypedDict, total=False):
    """All fields that an event can have."""

    # Counts and sizes
    status: int
    items: int
    live: int
    shadow: int
    count: int
    ms: float
    stored: bool
    refused: int  # items of feedback
    # Names and hashes of this program and its cards
    service: str
    card: str
    cards: str
    version: str
    hash: str
    why: str  # of a card in shadow, a key, a refusal: one of our own sentences
    client: str  # name in the registry
    peer: str  # IP address that a refused request came from; written only where the site asks for it
    peers: str  # addresses with counts
    kind: str
    check: str
    state: str
    # Failures
    code: str  # FHIR issue type, or SQLite's name of an error
    trace: str  # random, made here; joins an answer to its line
    record: str  # id of a record of the alert log, made here
    error: str  # class of an exception
    file: str  # path, from a setting
    kept: str  # its path after it was renamed
    place: str  # where it was raised, and the frames around it
    # Of libraries
    logger: str
    text: str


_NAMES = frozenset(Fields.__annotations__)


class Line:
    """One event with its fields, as the message of a log record of this program."""

    def __init__(self, event: Event, fields: Fields) -> None:
        self.event = event
        self.fields = {name: _clean(value) for name, value in fields.items() if name in _NAMES}

    def __str__(self) -> str:
        return " ".join([self.event.label, *(f"{name}={value}" for name, value in self.fields.items())])


def tell(event: Event, **fields: Unpack[Fields]) -> None:
    """Write one line into the service's log."""
    if LOGGER.isEnabledFor(event.level):
        LOGGER.log(event.level, Line(event, fields))


def place(trace: TracebackType | None) -> str:
    """Return where an exception was raised, innermost frame first; "?" without a traceback.

    For example "suggestions.py:105 draw < card_template.py:120 draw < cards.py:70 draw".
    """
    frames = traceback.extract_tb(trace)[: -_FRAMES - 1 : -1]
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames) or "?"


def _clean(value: object) -> object:
    if isinstance(value, (bool, int, float)):
        return value
    return value if isinstance(value, str) and _OWN_WORDS.fullmatch(value) else WITHHELD
