"""Describe a malfunction on four axes: its cause, how it was discovered, when it began, what it does to the firing.

The axes and most of their values are those of Wright and others 2018 (J Am Med Inform Assoc 25, 496), some of Thayer and others
2024 (31, 2405), in our words.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cds_service.signals.finding import Finding

AXES: Mapping[str, tuple[str, Mapping[str, str]]] = {  # name: title, values with their words
    "cause": (
        "Cause",
        {
            "concept": "The rule was thought out wrong",
            "build": "The rule was built wrong",
            "new_code": "New code, concept or term that the rule does not know",
            "retired": "Retired or switched off by mistake",
            "software": "Defect or upgrade of software",
            "external": "An external service, such as the EHR's FHIR server",
            "data": "The data that the EHR sent",
            "policy": "Changed policy or practice",
            "none": "No malfunction: practice or patients changed",
        },
    ),
    "discovery": (
        "Mode of discovery",
        {
            "automatic": "Automatic review of firing data",
            "firing_data": "Review of firing data by a person",
            "cases": "Review of cases",
            "user": "Reported by a user",
            "testing": "Testing",
            "harm": "A patient was harmed",
        },
    ),
    "initiation": (
        "Initiation",
        {
            "always": "From the first day of the card",
            "version": "With a new version of the card, or of the site's changes to it",
            "program": "With a new version of this service",
            "ehr": "With a change of the EHR or of its data",
            "gradual": "Gradually",
            "later": "Later, with no change that is known",
        },
    ),
    "effect": (
        "Effect on firing",
        {
            "over": "Fires where it should not",
            "under": "Does not fire where it should",
            "both": "Both",
            "display": "Fires rightly and shows something wrong",
            "none": "None",
        },
    ),
}
_CAUSE_OF_VERDICT = {
    "wrong_data": "data",
    "missing_data": "data",
    "stale_data": "data",
    "wrong_patient": "external",
    "wrong_threshold": "build",
    "outdated_knowledge": "concept",
    "technical": "software",
    "display": "build",
    "duplicate": "build",
}
_CAUSE_OF_KIND = {"code_new": "new_code", "code_vanished": "data", "prefetch": "external", "client_stopped": "external"}


class AxesError(ValueError):
    """Raised for a value that an axis does not have. The text is for the reader."""


class Axes(msgspec.Struct, frozen=True):
    """A value on each axis, "" where nothing is known yet."""

    cause: str = ""
    discovery: str = ""
    initiation: str = ""
    effect: str = ""


def axes_of(form: Mapping[str, str]) -> Axes:
    """Return the axes in the fields of a form. Raises AxesError."""
    given = {name: form.get(name, "") for name in AXES}
    for name, value in given.items():
        title, values = AXES[name]
        if value and value not in values:
            raise AxesError(f"{title} must be one of those listed")
    return Axes(**given)


def prefilled(finding: Finding) -> Axes:
    """Return what a finding says of the axes by itself."""
    if finding.kind == "verdict":
        cause = str(finding.detail.get("cause", ""))
        effect = "display" if cause == "display" else ""
        return Axes(cause=_CAUSE_OF_VERDICT.get(cause, ""), discovery="cases", effect=effect)
    z = finding.detail.get("z", 0)
    effect = "" if not z else "over" if z > 0 else "under"
    return Axes(_CAUSE_OF_KIND.get(finding.kind, ""), "automatic", _initiation(finding), effect)


def _initiation(finding: Finding) -> str:
    if finding.kind != "release_step":
        return ""
    what = finding.subject.partition(" ")[0]
    return {"version": "version", "content": "version", "program": "program", "dialect": "ehr"}.get(what, "")
