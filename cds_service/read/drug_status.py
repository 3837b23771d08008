"""Decide whether a drug is active, from its status, its intent and the end of its period.

A drug is active unless one of these denies it; with a missing or unknown status it is active and unconfirmed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cds_service.fhir.dates import ended, when
from cds_service.fhir.resources import Dosage, Period, Resource, listed
from cds_service.short_cache import short_cache

if TYPE_CHECKING:
    from cds_service.terminology.engineering import Engineering

_PRESCRIPTIONS = frozenset({"MedicationRequest", "MedicationOrder"})
# Only ideas. With any other intent the drug is given: an active plan is what a patient takes at home (athena).
_IDEAS = frozenset({"proposal", "option"})
# The statuses that deny that a drug is active: of R4, STU3 and DSTU2, and other words of EHRs. Any other status does not.
DENIED = frozenset(
    {
        "abandoned", "aborted", "cancelled", "canceled", "declined", "deleted", "discontinued", "draft", "ended",
        "entered-in-error", "expired", "held", "inactive", "intended", "not-done", "not-given", "not-taken", "not-taking",
        "nullified", "obsolete", "on-hold", "preparation", "rejected", "replaced", "revoked", "stopped", "superseded",
        "suspended", "void", "voided",
    }
)  # fmt: skip
_EVENTS = frozenset({"MedicationDispense", "MedicationAdministration"})  # they show that a therapy is going on
_GIVEN = frozenset({"completed", "in-progress"})  # of a dispense or an administration
_OPEN = frozenset({"", "unknown", "completed"})  # statuses that leave open whether the drug is active
_DAYS = frozenset({"", "d", "day", "days"})
_MOST_DAYS = 10_000  # a supply beyond that is an error of the sender


def status_of(resource: Resource) -> str:
    """Return the status as FHIR writes it ("Entered in Error" is "entered-in-error"); "" where there is none."""
    return _spelt(resource.status or "")


@short_cache(256)
def _spelt(status: str) -> str:
    return "-".join(status.lower().replace("_", " ").replace("-", " ").split())


def is_confirmed(resource: Resource) -> bool:
    """Tell whether the status says that the drug is taken."""
    status = status_of(resource)
    return status == "active" or (resource.resourceType in _EVENTS and status in _GIVEN)


def leaves_open(resource: Resource) -> bool:
    """Tell whether FHIR has the status, and it leaves open whether the drug is taken."""
    return status_of(resource) in _OPEN


def is_over(resource: Resource, now: datetime, engineering: Engineering) -> bool:
    """Tell whether a resource denies that its drug is active at `now`."""
    status = status_of(resource)
    if status in DENIED:
        return True
    if resource.resourceType in _EVENTS:
        return _was_given_too_long_ago(resource, now, engineering)
    if resource.resourceType in _PRESCRIPTIONS:
        if resource.doNotPerform or (resource.intent or "").strip().lower() in _IDEAS or ended(resource.dateEnded, now):
            return True
        ends = list(map(_end_of, listed(resource.dosageInstruction)))
    else:
        if resource.wasNotTaken or (resource.taken or "").strip().lower() == "n":
            return True
        ends = [resource.effectivePeriod.end if resource.effectivePeriod is not None else None]
    for end in ends:
        if end is not None and not ended(end, now):
            return False
    # Completed with an end in the future is a contradiction, and counts as active.
    return status == "completed" or (bool(ends) and None not in ends)


def _was_given_too_long_ago(resource: Resource, now: datetime, engineering: Engineering) -> bool:
    """Tell whether a dispensed drug is used up at `now`, or an administration is too long ago."""
    if resource.notGiven or resource.wasNotGiven:
        return True
    if resource.resourceType == "MedicationDispense":
        given = when(resource.whenHandedOver or resource.whenPrepared)
        supply = _supply(resource)
        counts = engineering.dispense_counts.span if supply is None else supply
    else:
        period = resource.effectivePeriod or resource.effectiveTimePeriod
        moment = resource.effectiveDateTime or resource.effectiveTimeDateTime
        given = when(moment or (period.end or period.start if period is not None else None))
        counts = engineering.administration_counts.span
    return given is not None and now - given.start > counts + (timedelta() if given.has_time else timedelta(days=1))


def _supply(dispense: Resource) -> timedelta | None:
    """Return how long a dispensed supply lasts; None where that is not stated in days."""
    supply = dispense.daysSupply
    if supply is None or supply.value is None or (supply.code or supply.unit or "").lower() not in _DAYS:
        return None
    return timedelta(days=min(max(float(supply.value), 0), _MOST_DAYS))


def _end_of(dosage: Dosage) -> str | None:
    bounds = bounds_of(dosage)
    return bounds.end if bounds is not None else None


def bounds_of(dosage: Dosage) -> Period | None:
    """Return the period of a dosage's timing."""
    return dosage.timing.repeat.boundsPeriod if dosage.timing is not None and dosage.timing.repeat is not None else None
