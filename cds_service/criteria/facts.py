"""What is known about one patient at one moment: the only input of a decision.

Everything here is a value. `read` makes it from FHIR, `criteria` and `judge` look things up in it; nothing in it does I/O
or reads a clock (`Facts.now` is the clock). All instants are timezone-aware UTC; all quantities are `Decimal` in the
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

    PRESENT = "present"  # complete, at least one resource
    EMPTY = "empty"  # null, or a complete search without matches: looked, nothing there
    PARTIAL = "partial"  # seen in part: a next page or an entry could not be had
    ERROR = "error"  # an OperationOutcome, a failed fetch, or something that is not FHIR
    ABSENT = "absent"  # never sent, and not to be had


_COMPLETE = (SourceState.PRESENT, SourceState.EMPTY)
# Note of a source that is not used because something in it is of another patient. Stored facts have no other mark of that.
FOREIGN_NOTE = "it holds data of another patient"


class Source(msgspec.Struct, frozen=True, gc=False):
    """One source of data and how far it can be trusted to be complete."""

    state: SourceState
    origin: Literal["prefetch", "fhir", "context", "none"] = "none"
    note: str = ""  # why it is not complete, in words for a clinician; never a value from the request
    more: bool = False  # PARTIAL because further pages exist that could not be had

    @property
    def complete(self) -> bool:
        """True where finding nothing means that there is nothing."""
        return self.state in _COMPLETE

    @property
    def foreign(self) -> bool:
        """Say whether the source is not used because it holds data of another patient."""
        return self.note == FOREIGN_NOTE


class When(msgspec.Struct, frozen=True, gc=False):
    """A FHIR date or dateTime with the precision that was sent.

    `start` is the first instant it can mean (UTC), `text` is what was sent (its date part is shown on cards).
    """

    start: datetime
    text: str
    has_time: bool = False

    @property
    def day(self) -> str:
        """ISO date as written by the sender (its own time zone), for people to read."""
        return self.text[:10]


class Patient(msgspec.Struct, frozen=True, gc=False):
    id: str
    birth_date: date | None = None  # first day of a partial date
    sex: Literal["female", "male"] | None = None  # administrative gender; other and unknown are None
    reference: str = ""
    deceased: bool = False


class Lab(msgspec.Struct, frozen=True, gc=False):
    """One usable laboratory or ECG result."""

    analyte: str  # id in cards/value_sets/labs.yaml
    value: Decimal  # canonical unit
    reported_value: Decimal
    reported_unit: str  # normalised spelling, for example "mg/dL"
    canonical_unit: str
    effective: When
    comparator: Literal["", "<", "<=", ">", ">="] = ""
    issued: datetime | None = None
    preliminary: bool = False  # not confirmed: it may raise an alarm and never end one
    haemolysed: bool = False
    sampling: Literal["routine", "pre-dialysis"] = "routine"
    range_low: Decimal | None = None  # the laboratory's own lower limit, canonical unit
    low_priority: bool = False  # used only where nothing else is (race-based eGFR)
    computed_from: str = ""  # in words, where the value was computed (eGFR from creatinine)
    code: str = ""  # "system|code" that identified it
    reference: str = ""  # "Observation/123"
    source: str = ""  # name of the source (prefetch key)
    range_high: Decimal | None = None  # the laboratory's own upper limit, canonical unit
    unconfirmed: bool = False  # preliminary for want of a status that is known; False where the laboratory says "preliminary"

    @property
    def standing(self) -> Literal["confirmed", "preliminary", "unconfirmed"]:
        """How far the laboratory stands by it, in a word."""
        return "unconfirmed" if self.unconfirmed else "preliminary" if self.preliminary else "confirmed"


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """A result of a known analyte that must not be used, and why."""

    analyte: str
    reason: Literal["unit", "implausible", "value", "date", "future", "unmapped", "disagrees"]
    effective: When | None = None
    reference: str = ""
    explanation: str = ""  # for a clinician: "magnesium of 2025-11-28 has no unit"; never anything that was sent
    words: str = ""  # what the laboratory wrote in place of a value that can be read; not kept in the log
    could_be: tuple[Decimal, ...] = ()  # the values that it may mean, canonical unit
    flagged: Literal["", "low", "high", "either"] = ""  # the laboratory calls it critical, and on which side


class LabSeries(msgspec.Struct, frozen=True, gc=False):
    """All results of one analyte. `results` holds usable and preliminary ones, newest first."""

    results: tuple[Lab, ...] = ()
    unusable: tuple[Unusable, ...] = ()


Route: TypeAlias = Literal[
    "", "oral", "intrathecal", "inhaled", "nebulised", "topical", "injection", "intravenous", "rectal", "ophthalmic"
]
WIDER: dict[str, Route] = {"nebulised": "inhaled", "intravenous": "injection"}  # a route -> the one that it is a kind of


class Drug(msgspec.Struct, frozen=True, gc=False):
    """One active medication, or the medication of one draft order."""

    text: str  # as sent, for people; "" where nothing readable was sent
    classes: frozenset[str] = frozenset()  # ids of drug value sets, for example {"quinine"}; empty where not recognised
    ingredients: tuple[str, ...] = ()
    recognised_by: str = ""  # "rxnorm", "atc", "snomed" or "text"; "" where not recognised
    code: str = ""  # "system|code" that identified it
    code_disagrees: str = ""  # the other drug's name, where code and text name different drugs
    identified: bool = True  # False: neither a name nor a code that is understood, so it could be any drug
    confirmed: bool = True  # False: its status is missing or not understood
    route: Route = ""
    started: When | None = None
    reasons: frozenset[str] = frozenset()  # ids of the text patterns that its stated reason, note or dosage matches
    reason_sets: frozenset[str] = frozenset()  # problem value sets matched by reason codes
    reason_stated: bool = False  # a reason was sent, whatever it is; a note or the words of a dosage are none
    reason_unread: bool = False  # a reason is a reference to a condition that was not at hand
    daily_dose_mg: Decimal | None = None  # None: not stated or not readable
    reference: str = ""
    source: str = ""
    as_needed: bool | None = None  # None: not stated; read where the dose is read

    def is_given_by(self, routes: Container[str]) -> bool:
        """Whether it is given by one of these routes, or by a kind of one of them."""
        return self.route in routes or WIDER.get(self.route) in routes

    def shares_ingredient(self, other: Drug) -> bool:
        """Tell whether both hold one of the same active ingredients."""
        return not set(self.ingredients).isdisjoint(other.ingredients)

    def renews(self, taken: Drug) -> bool:
        """Tell whether this is the product `taken`: they share an ingredient, and codes of one system do not differ."""
        if not self.shares_ingredient(taken):
            return False
        system, _, code = self.code.partition("|")
        other_system, _, other_code = taken.code.partition("|")
        return not system or system != other_system or code == other_code


class Problem(msgspec.Struct, frozen=True, gc=False):
    """One condition that is present, or a status observation that says the same (pregnancy)."""

    sets: frozenset[str]  # ids of problem value sets
    text: str = ""
    onset: When | None = None  # onset before recorded date
    code: str = ""
    reference: str = ""
    source: str = ""
    patterns: frozenset[str] = frozenset()  # ids of the text patterns that its name matches
    unclear: str = ""  # why it is not known whether it is there; with `sets` of those, without them of any


class Allergy(msgspec.Struct, frozen=True, gc=False):
    classes: frozenset[str]
    text: str = ""
    reaction: str = ""
    code: str = ""  # "system|code", where that is all that is known
    reference: str = ""
    source: str = ""
    unclear: str = ""  # why it is not known what it is about; with `classes` of those, without them of any


class Order(msgspec.Struct, frozen=True, gc=False):
    """One draft order of the session."""

    reference: str  # "MedicationRequest/request-123"; "" where it was sent without an id
    resource_type: str
    key: str = ""  # tells the orders of a session apart: the reference, or the position where there is none
    drug: Drug | None = None  # None for orders that are no medication
    selected: bool = True  # False at order-select where it is only context
    action: Literal["start", "stop"] = "start"  # stop: the order ends or pauses a therapy
    replaces: str = ""  # reference of the prescription that this order replaces
    raw: bytes = b""  # the resource as it was sent


class PriorCard(msgspec.Struct, frozen=True, gc=False):
    """A card that was shown to somebody about this patient before; `repeat_rule` says when it holds back another."""

    card: str
    shown_at: datetime
    about: str = ""  # names of what it was about, joined with ", "
    indicator: Literal["", "info", "warning", "critical"] = ""  # "" is quieter than all others
    version: str = ""  # of the card's content
    row: int = -1  # of the card's table
    hook: str = ""
    order: str = ""  # reference of the draft order that it was about, where that is among the orders of now
    answered: Literal["", "accepted", "overridden"] = ""  # accepted wins where the feedback contradicts itself
    same_user: bool = False  # it was shown to who is asking now
    uuid: str = ""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """Everything that a decision may look at."""

    now: datetime
    hook: str
    jurisdiction: Literal["US", "GB"]
    patient: Patient
    sources: dict[str, Source]  # by prefetch key; see `SOURCES`
    labs: dict[str, LabSeries] = {}
    drugs: tuple[Drug, ...] = ()  # active medications, drafts not among them
    problems: tuple[Problem, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    orders: tuple[Order, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    unread: tuple[Unread, ...] = ()
    prior_cards: tuple[PriorCard, ...] = ()  # from the log, where a card asks for them

    @property
    def age_years(self) -> int | None:
        """Completed years at `now`; None where the birth date is unknown or lies in the future."""
        born = self.patient.birth_date
        if born is None:
            return None
        today = self.now.date()
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return years if years >= 0 else None


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """A resource that could not be read: where it stood and why; never what it held."""

    source: str  # prefetch key or "draftOrders"
    position: int  # index of the entry in its Bundle, 0 for a bare resource
    resource_type: str
    reason: str  # "status: Expected `str`, got `object`", names of fields and types only


class Unread(msgspec.Struct, frozen=True, gc=False):
    """A code, unit or status that was sent and is not understood, so that a site can map it; never a name or a value."""

    kind: Literal["lab", "unit", "drug", "problem", "allergy", "status"]
    system: str  # of the code, as sent; "" where none was sent
    code: str  # the code, unit or status, as sent
    source: str  # prefetch key or "draftOrders"
    meaning: str = ""  # id of the analyte, drug class or problem set that it seems to be by its name; "" where nothing tells


# The sources of data and the FHIR resource type behind each. Prefetch templates are derived from these names.
SOURCES: dict[str, str] = {
    "patient": "Patient",
    "labs": "Observation",
    "statements": "MedicationStatement",
    "prescriptions": "MedicationRequest",
    "problems": "Condition",
    "allergies": "AllergyIntolerance",
}
