"""Define what detectors give: findings, each of one day, and what they could say of everything that they watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

Kind: TypeAlias = Literal[
    "release_step",
    "fire_rate",
    "verdict",
    "client_stopped",
    "server_errors",
    "not_checked",
    "slow",
    "acceptance",
    "comments",
    "code_vanished",
    "code_new",
    "prefetch",
    "concentration",
]
# In the order of the inbox: what may harm a patient first. Each with its name and how often it is looked for.
KINDS: Mapping[Kind, tuple[str, str]] = {
    "verdict": ("Judged a malfunction", "at once"),
    "release_step": ("Fire rate since a change", "daily"),
    "fire_rate": ("Fire rate", "daily"),
    "not_checked": ("Could not check", "hourly"),
    "client_stopped": ("No calls", "hourly"),
    "server_errors": ("Server errors", "hourly"),
    "slow": ("Slow responses", "hourly"),
    "code_vanished": ("Vanished code or unit", "weekly"),
    "code_new": ("New code or unit", "weekly"),
    "prefetch": ("Prefetch not sent", "weekly"),
    "acceptance": ("Acceptance", "weekly"),
    "comments": ("Angry comments", "weekly"),
    "concentration": ("One user", "weekly"),
}
State: TypeAlias = Literal["normal", "alarm", "learning", "no_data"]
_NONE_AT_ALL = 100.0  # the size of a stop


class Place(NamedTuple):
    """Where something is watched; `card` is "" for what concerns a client as a whole."""

    tenant: str
    client: str
    card: str = ""


class Finding(msgspec.Struct, frozen=True):
    """What a detector found on one day. `subject` tells two findings of a kind in one place apart: a version, a code."""

    kind: Kind
    place: Place
    day: int  # YYYYMMDD; for what is looked for weekly the last day of the week
    score: float  # how far from usual, in standard deviations
    detail: Mapping[str, Any]  # numbers and names that the page says, of types that JSON has; no id of a person
    subject: str = ""

    @property
    def size(self) -> float:
        """Return how large it is, 1 or more: a factor of the usual rate where there is one, else the score.

        Evidence grows with every day that a change lasts; the change itself does not. This is what escalates.
        """
        usual, of = self.detail.get("usual"), self.detail.get("of")
        fired = self.detail.get("fired")
        if fired is None or not usual or not of:
            return max(self.score, 1.0)
        ratio = fired / of / usual
        return max(ratio, 1 / ratio) if ratio else _NONE_AT_ALL


class Watch(msgspec.Struct, frozen=True):
    """What a detector could say of one place when it last ran; `why` where it could say nothing."""

    kind: Kind
    place: Place
    state: State
    why: str = ""


class Detected(NamedTuple):
    """What one detector gave."""

    findings: list[Finding]
    watches: list[Watch]


def watch_of(kind: Kind, place: Place, findings: list[Finding], newest: int) -> Watch:
    """Return the watch of a place in which all that is needed was there; an alarm where the newest day has a finding."""
    alarm = any(one.kind == kind and one.place == place and one.day == newest for one in findings)
    return Watch(kind, place, "alarm" if alarm else "normal")
