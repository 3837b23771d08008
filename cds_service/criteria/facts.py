"""Define the facts about one patient at one moment, the only input of a decision.

Everything here is a value. `read` makes it from FHIR; `criteria` and `judge` look things up in it. It does no I/O and reads no
clock: the time is `Facts.now`. All instants are timezone-aware UTC; all quantities are `Decimal` in the
canonical unit of their analyte (potassium and magnesium mmol/L, creatinine umol/L, eGFR mL/min/1.73 m2, QTc ms).
"""

from __future__ import annotations

from collections.abc import Container
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec


class SourceState(StrEnum):
    """The five states of one source of data (one prefetch key) after gathering (decision 0004)."""

    PRESENT = "present"  # complete, with at least one resource
    EMPTY = "empty"  # null, or a complete search without matches
    PARTIAL = "partial"  # incomplete: a next page or an entry is missing
    ERROR = "error"  # an OperationOutcome, a failed fetch, or something that is not FHIR
    ABSENT = "absent"  # neither sent nor fetched


_COMPLETE = (SourceState.PRESENT, SourceState.EMPTY)
# Note of a source that is not used because something in it is of another patient. Stored facts have no other mark of that.
FOREIGN_NOTE = "it holds data of another patient"


class Source(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One source of data: its state and origin."""

    state: SourceState
    origin: Literal["prefetch", "fhir", "context", "none"] = "none"
    note: str = ""  # why it is not complete, in words for a clinician; never a value from the request
    more: bool = False  # PARTIAL because further pages exist that were not read

    @property
    def complete(self) -> bool:
        """Tell whether an empty result means that there is nothing."""
        return self.state in _COMPLETE

    @property
    def foreign(self) -> bool:
        """Tell whether the source is not used because it holds data of another patient."""
        return self.note == FOREIGN_NOTE


class When(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A FHIR date or dateTime with the precision that was sent.

    `start` is the first instant it can mean (UTC), `text` is what was sent (its date part is shown on cards).
    """

    start: datetime
    text: str
    has_time: bool = False

    @property
    def day(self) -> str:
        """Return the ISO date as the sender wrote it, in its own time zone."""
        return self.text[:10]


class Patient(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The patient of the call."""

    id: str
    birth_date: date | None = None  # first day of a partial date
    sex: Literal["female", "male"] | None = None  # administrative gender; other and unknown are None
    reference: str = ""
    deceased: bool = False


class Lab(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One usable laboratory or ECG result."""

    analyte: str  # id in cards/value_sets/labs.yaml
    value: Decimal  # canonical unit
    reported_value: Decimal
    reported_unit: str  # normalised spelling, for example "mg/dL"
    canonical_unit: str
    effective: When
    comparator: Literal["", "<", "<=", ">", ">="] = ""
    issued: datetime | None = None
    preliminary: bool = False  # not confirmed: it may raise an alarm and never ends one
    haemolysed: bool = False
    sampling: Literal["routine", "pre-dialysis"] = "routine"
    range_low: Decimal | None = None  # the laboratory's own lower limit, canonical unit
    low_priority: bool = False  # used only where there is no other (race-based eGFR)
    computed_from: str = ""  # in words, where the value was computed (eGFR from creatinine)
    code: str = ""  # "system|code" that identified it
    reference: str = ""  # "Observation/123"
    source: str = ""  # name of the source (prefetch key)
    range_high: Decimal | None = None  # the laboratory's own upper limit, canonical unit
    unconfirmed: bool = False  # preliminary because the status is unknown; False where the laboratory says "preliminary"

    @property
    def standing(self) -> Literal["confirmed", "preliminary", "unconfirmed"]:
        """Return the standing of the result in one word."""
        return "unconfirmed" if self.unconfirmed else "preliminary" if self.preliminary else "confirmed"


class Unusable(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A result of a known analyte that must not be used, with the reason."""

    analyte: str
    reason: Literal["unit", "implausible", "value", "date", "future", "unmapped", "disagrees"]
    effective: When | None = None
    reference: str = ""
    explanation: str = ""  # for a clinician: "magnesium of 2025-11-28 has no unit"; never a value that was sent
    words: str = ""  # the laboratory's unreadable value; not kept in the log
    could_be: tuple[Decimal, ...] = ()  # the values that it may mean, canonical unit
    flagged: Literal["", "low", "high", "either"] = ""  # the side on which the laboratory calls it critical


class LabSeries(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All results of one analyte. `results` holds usable and preliminary ones, newest first."""

    results: tuple[Lab, ...] = ()
    unusable: tuple[Unusable, ...] = ()


Route: TypeAlias = Literal[
    "", "oral", "intrathecal", "inhaled", "nebulised", "topical", "injection", "intravenous", "rectal", "ophthalmic"
]
WIDER: dict[str, Route] = {"nebulised": "inhaled", "intravenous": "injection"}  # route -> the wider route that includes it


class Drug(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One active medication, or the medication of one draft order."""

    text: str  # as sent, for people; "" where nothing readable was sent
    classes: frozenset[str] = frozenset()  # ids of drug value sets, for example {"quinine"}; empty where not recognised
    ingredients: tuple[str, ...] = ()
    recognised_by: str = ""  # "rxnorm", "atc", "snomed" or "text"; "" where not recognised
    code: str = ""  # "system|code" that identified it
    code_disagrees: str = ""  # the other drug's name, where code and text name different drugs
    identified: bool = True  # False: neither name nor code is understood, so it could be any drug
    confirmed: bool = True  # False: its status is missing or not understood
    route: Route = ""
    started: When | None = None
    reasons: frozenset[str] = frozenset()  # ids of the text patterns that its reasons, notes or dosages match
    reason_sets: frozenset[str] = frozenset()  # problem value sets matched by reason codes
    reason_stated: bool = False  # any reason was sent; notes and texts of dosages do not count
    reason_unread: bool = False  # a reason refers to a condition that was not sent
    daily_dose_mg: Decimal | None = None  # None: not stated or not readable
    reference: str = ""
    source: str = ""
    as_needed: bool | None = None  # None: not stated; read where the dose is read

    def is_given_by(self, routes: Container[str]) -> bool:
        """Tell whether it is given by one of these routes, or by a route that one includes."""
        return self.route in routes or WIDER.get(self.route) in routes

    def shares_ingredient(self, other: Drug) -> bool:
        """Tell whether both have an active ingredient in common."""
        return not set(self.ingredients).isdisjoint(other.ingredients)

    def renews(self, taken: Drug) -> bool:
        """Tell whether this renews `taken`: a common ingredient, and no different codes of one system."""
        if not self.shares_ingredient(taken):
            return False
        system, _, code = self.code.partition("|")
        other_system, _, other_code = taken.code.partition("|")
        return not system or system != other_system or code == other_code


class Problem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One present condition, or a status observation with the same meaning (pregnancy)."""

    sets: frozenset[str]  # ids of problem value sets
    text: str = ""
    onset: When | None = None  # onset before recorded date
    code: str = ""
    reference: str = ""
    source: str = ""
    patterns: frozenset[str] = frozenset()  # ids of the text patterns that its name matches
    unclear: str = ""  # why it is uncertain: one of `sets`, of any set where that is empty


class Allergy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One present allergy or intolerance to a drug."""

    classes: frozenset[str]
    text: str = ""
    reaction: str = ""
    code: str = ""  # "system|code", where it has no name
    reference: str = ""
    source: str = ""
    unclear: str = ""  # why it is uncertain: to one of `classes`, to any drug where that is empty


class Order(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One draft order of the session."""

    reference: str  # "MedicationRequest/request-123"; "" where it was sent without an id
    resource_type: str
    key: str = ""  # unique in the session: the reference, or the position where there is none
    drug: Drug | None = None  # None for orders of anything else
    selected: bool = True  # False at order-select for orders that are only context
    action: Literal["start", "stop"] = "start"  # stop: the order ends or pauses a therapy
    replaces: str = ""  # reference of the prescription that this order replaces
    raw: bytes = b""  # the resource as it was sent


ORDERS_NOT_SENT = "the draft orders were not sent"  # the note of their source, and the reason of cards that are about orders


class PriorCard(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A card that was shown about this patient before; `repeat_rule` says when it suppresses another."""

    card: str
    shown_at: datetime
    about: str = ""  # names of what it was about, joined with ", "
    indicator: Literal["", "info", "warning", "critical"] = ""  # "" is below all others
    version: str = ""  # of the card's content
    row: int = -1  # of the card's table
    hook: str = ""
    order: str = ""  # reference of the draft order that it was about, where that is among the present orders
    answered: Literal["", "accepted", "overridden"] = ""  # accepted where the feedback has both
    same_user: bool = False  # it was shown to the user of this call
    uuid: str = ""


class Facts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All that a decision may use."""

    now: datetime
    hook: str
    jurisdiction: Literal["US", "GB"]
    patient: Patient
    sources: dict[str, Source]  # by prefetch key; see `SOURCES`
    labs: dict[str, LabSeries] = {}
    drugs: tuple[Drug, ...] = ()  # active medications, without drafts
    problems: tuple[Problem, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    orders: tuple[Order, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    unread: tuple[Unread, ...] = ()
    prior_cards: tuple[PriorCard, ...] = ()  # from the log, where a card needs them

    @property
    def age_years(self) -> int | None:
        """Return the completed years at `now`; None where the birth date is unknown or in the future."""
        born = self.patient.birth_date
        if born is None:
            return None
        today = self.now.date()
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return years if years >= 0 else None


class Quarantined(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A resource that could not be read: its place and the reason, without content."""

    source: str  # prefetch key or "draftOrders"
    position: int  # index of the entry in its Bundle, 0 for a bare resource
    resource_type: str
    reason: str  # "status: Expected `str`, got `object`", names of fields and types only


class Unread(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A code, unit or status that is not understood, for a site to map; never a name or a value."""

    kind: Literal["lab", "unit", "drug", "problem", "allergy", "status"]
    system: str  # of the code, as sent; "" where none was sent
    code: str  # the code, unit or status, as sent
    source: str  # prefetch key or "draftOrders"
    meaning: str = ""  # id of the analyte, drug class or problem set that its name suggests; "" for none


# The sources of data and the FHIR resource type behind each. Prefetch templates are derived from these names.
SOURCES: dict[str, str] = {
    "patient": "Patient",
    "labs": "Observation",
    "statements": "MedicationStatement",
    "prescriptions": "MedicationRequest",
    "problems": "Condition",
    "allergies": "AllergyIntolerance",
}
