"""Say a signal in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cds_service.rollups.days import as_date
from cds_service.signals.finding import Kind, Place


class Seen(NamedTuple):
    """What a detector saw on one day; see `Finding`."""

    place: Place
    subject: str
    detail: Mapping[str, Any]


def says(kind: Kind, seen: Seen) -> str:
    """Return what was seen: where, how much, and what is usual."""
    return _SAYS[kind](seen)


def day_words(day: int) -> str:
    """Return a day as people write it, `28 Nov 2026`."""
    date = as_date(day)
    return f"{date.day} {date:%b} {date.year}"


def _client(place: Place) -> str:
    name = place.client or "a client without a name"
    return f"{name} ({place.tenant})" if place.tenant else name


def _rate(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    where, usual = _client(place), f"{100 * detail['usual']:.1f} %"
    counted = f"{detail['fired']} of {detail['of']} evaluations, usual {usual}"
    if not detail["fired"]:
        return f"{place.card} fires no more at {where}: {counted}; {detail['without_firing']} in a row without one"
    return f"{place.card} fires {_times(detail)} at {where}: {counted}"


def _step(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    where, since = _client(place), f"since {seen.subject} ({day_words(detail['since'])})"
    counted = f"{detail['fired']} of {detail['of']} evaluations, before {100 * detail['usual']:.1f} %"
    if not detail["fired"]:
        return f"{place.card} fires no more at {where} {since}: {counted}"
    return f"{place.card} fires {_times(detail)} at {where} {since}: {counted}"


def _times(detail: Mapping[str, Any]) -> str:
    ratio = detail["fired"] / detail["of"] / detail["usual"]
    return f"{ratio:.1f} × as often" if ratio >= 1 else f"{1 / ratio:.1f} × less often"


def _verdict(seen: Seen) -> str:
    cases = f"{seen.detail['cases']} cases were" if seen.detail["cases"] > 1 else "A case was"
    return f"{cases} judged a malfunction: {seen.place.card} at {_client(seen.place)}"


def _hours(detail: Mapping[str, Any]) -> str:
    numbers = detail["hours"]
    return f"{len(numbers)} h, from {numbers[0]:02d}:00" if len(numbers) > 1 else f"the hour from {numbers[0]:02d}:00"


def _stopped(seen: Seen) -> str:
    return f"No calls from {_client(seen.place)}: {_hours(seen.detail)}, usual {seen.detail['usual']:.0f} an hour"


def _errors(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    return f"{detail['failed']} of {detail['calls']} calls of {_client(place)} got a server error: {_hours(detail)}"


def _slow(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    return f"{detail['slow']} of {detail['calls']} calls of {_client(place)} took over {detail['budget_ms']} ms: {_hours(detail)}"


def _unchecked(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    share = detail["not_checked"] / detail["evaluations"]
    return (
        f"{100 * share:.1f} % of evaluations could not be checked at {_client(place)}, usual {100 * detail['usual']:.1f} %: "
        f"{_hours(detail)}"
    )


def _code(seen: Seen) -> str:
    calls = f"{seen.detail['calls']} of {seen.detail['of']} calls"
    return f"{_client(seen.place)} sends {seen.subject}, which is not understood and new: {calls}"


def _vanished(seen: Seen) -> str:
    calls = f"none in {seen.detail['of']} calls, usual {seen.detail['usual']:.0f} a week"
    return f"{_client(seen.place)} sends {seen.subject} no more: {calls}"


def _prefetch(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    share = f"{detail['sent']} of {detail['of']} calls, usual {100 * detail['usual']:.0f} %"
    return f"{_client(place)} sends the prefetch key {seen.subject} less: {share}"


def _acceptance(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    share = f"{detail['accepted']} of {detail['of']} with feedback, usual {100 * detail['usual']:.0f} %"
    return f"{place.card} is accepted less at {_client(place)}: {share}"


def _comments(seen: Seen) -> str:
    return f"{seen.detail['angry']} of {seen.detail['of']} comments on {seen.place.card} at {_client(seen.place)} are angry"


def _one_user(seen: Seen) -> str:
    place, detail = seen.place, seen.detail
    return f"One of {detail['users']} users saw {detail['shown']} of {detail['of']} cards {place.card} at {_client(place)}"


_SAYS: Mapping[Kind, Callable[[Seen], str]] = {
    "release_step": _step,
    "fire_rate": _rate,
    "verdict": _verdict,
    "client_stopped": _stopped,
    "server_errors": _errors,
    "not_checked": _unchecked,
    "slow": _slow,
    "code_new": _code,
    "code_vanished": _vanished,
    "prefetch": _prefetch,
    "acceptance": _acceptance,
    "comments": _comments,
    "concentration": _one_user,
}
