"""Count what the roll-ups count, in plain Python from plain records and without SQL: the figures to compare with.

Written from the definitions, not from the statements: one pass for each figure, as slow as that is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAY_US = 86_400_000_000
BUCKETS = [
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1200),
    *(1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000, 10000, 20000, 30000, 60000, 3600000),
]
Key = tuple[Any, ...]


@dataclass
class PlainCard:
    """A card that fired."""

    position: int
    uuid: str
    card: str
    version: str
    indicator: str
    mode: str
    state: str
    about: str
    about_order: bool


@dataclass
class PlainCall:
    """A call with all that was decided in it. `us`: how long it took."""

    id: str
    at: int
    tenant: str
    client: str
    hook: str
    status: int
    outcome: str
    patient: str | None
    user: str | None
    encounter: str | None
    order_keys: Sequence[str]
    is_repeat: bool
    withdrawn: bool
    us: int
    cards: list[PlainCard] = field(default_factory=list)
    # (card, version, outcome, row, applies), each once for each evaluation
    evaluations: Sequence[tuple[str, str, str, int, int]] = ()
    releases: Sequence[tuple[str, str, str]] = ()  # (card, version, content hash), each once for each evaluation
    program: tuple[str, str] = ("", "")  # (service version, dialect)
    missing: Sequence[tuple[str, str, str]] = ()  # (card, criterion, cause)


@dataclass
class PlainFeedback:
    """One item of feedback; `outcome_at` None where it was not readable."""

    id: str
    at: int
    tenant: str
    client: str
    uuid: str
    outcome: str
    reason: str
    comment_length: int
    outcome_at: int | None


@dataclass
class PlainLog:
    """A log as plain records. `refusals`: (at, tenant, client, hook, status, reason, n)."""

    calls: list[PlainCall]
    feedback: list[PlainFeedback]
    refusals: list[tuple[int, str, str, str, int, str, int]] = field(default_factory=list)


def count(log: PlainLog, time_zone: str) -> dict[str, dict[Key, Key]]:
    """Return, for each daily table, its counts by its key (which begins with the day)."""
    zone = UTC if time_zone == "UTC" else ZoneInfo(time_zone)

    def day(at: int) -> int:
        local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(zone)
        return local.year * 10_000 + local.month * 100 + local.day

    calls = sorted(log.calls, key=lambda call: (call.at, call.id))
    responses = final_responses(log.feedback)
    repeats = repeated_within_a_day(calls)
    made: dict[str, dict[Key, Key]] = {
        "card": _cards(calls, responses, repeats, day),
        "reason": _reasons(calls, responses, day),
        "user": _users(calls, responses, day),
        "call": _calls(calls, day),
        "denominator": _denominators(calls, day),
    }
    evaluated = [call for call in calls if not call.is_repeat]
    made["evaluation"] = _once(
        (day(call.at), call.tenant, call.client, call.hook, *one) for call in evaluated for one in call.evaluations
    )
    made["missing"] = _once(
        (day(call.at), call.tenant, call.client, call.hook, *one) for call in evaluated for one in call.missing
    )
    made["release"] = _once(
        (day(call.at), call.tenant, call.client, *call.program, *one) for call in evaluated for one in call.releases
    )
    made["hour"] = _hours(calls, day, zone)
    refused: Counter[Key] = Counter()
    for at, *who, n in log.refusals:
        refused[(day(at), *who)] += n
    made["refusal"] = {key: (n,) for key, n in refused.items()}
    return made


def _once(keys: Iterable[Key]) -> dict[Key, Key]:
    return {key: (n,) for key, n in Counter(keys).items()}


def final_responses(feedback: Iterable[PlainFeedback]) -> dict[tuple[str, str, str], PlainFeedback]:
    """Return the item that counts for each uuid, tenant and client: the one whose outcome is the latest."""
    found: dict[tuple[str, str, str], PlainFeedback] = {}
    for item in feedback:
        key = (item.uuid, item.tenant, item.client)
        if key not in found or _said(item) > _said(found[key]):
            found[key] = item
    return found


def _said(item: PlainFeedback) -> tuple[int, int, str]:
    return (item.at if item.outcome_at is None else item.outcome_at, item.at, item.id)


def _shown_live(call: PlainCall, card: PlainCard) -> bool:
    return card.mode == "live" and card.state == "shown" and not call.withdrawn


def repeated_within_a_day(calls: Iterable[PlainCall]) -> set[tuple[str, int]]:
    """Return (call, position) of the shown live cards whose patient was shown the same within the 24 h before."""
    shown: dict[Key, list[int]] = defaultdict(list)
    found = set()
    for call in calls:
        for card in call.cards:
            if call.patient is not None and _shown_live(call, card):
                times = shown[call.tenant, call.client, call.patient, card.card, card.about]
                earlier = bisect_left(times, call.at)  # of the call itself none
                if earlier and times[earlier - 1] >= call.at - DAY_US:
                    found.add((call.id, card.position))
                times.append(call.at)
    return found


def _cards(
    calls: Iterable[PlainCall], responses: Mapping[Key, PlainFeedback], repeats: set[tuple[str, int]], day: Any
) -> dict[Key, Key]:
    keys = []
    for call in calls:
        for card in call.cards:
            item = responses.get((card.uuid, call.tenant, call.client))
            state = "withdrawn" if call.withdrawn else card.state
            what = (card.card, card.version, card.mode, state, card.indicator, item.outcome if item else "")
            repeat = int((call.id, card.position) in repeats)
            keys.append((day(call.at), call.tenant, call.client, call.hook, *what, repeat, int(card.about_order)))
    return _once(keys)


def _reasons(calls: Iterable[PlainCall], responses: Mapping[Key, PlainFeedback], day: Any) -> dict[Key, Key]:
    n: Counter[Key] = Counter()
    comments: Counter[Key] = Counter()
    for call in calls:
        for card in call.cards:
            item = responses.get((card.uuid, call.tenant, call.client))
            if item and item.outcome == "overridden" and _shown_live(call, card):
                key = (day(call.at), call.tenant, call.client, call.hook, card.card, card.version, item.reason)
                n[key] += 1
                comments[key] += item.comment_length > 0
    return {key: (comments[key], n[key]) for key in n}


def _users(calls: Iterable[PlainCall], responses: Mapping[Key, PlainFeedback], day: Any) -> dict[Key, Key]:
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for_patient: Counter[tuple[Key, str]] = Counter()
    for call in calls:
        for card in call.cards:
            if call.user is None:
                continue
            key = (day(call.at), call.tenant, call.client, call.user, card.card)
            figures = found[key]
            if _shown_live(call, card):
                item = responses.get((card.uuid, call.tenant, call.client))
                figures[0] += 1
                figures[1] += item is not None and item.outcome == "accepted"
                figures[2] += item is not None and item.outcome == "overridden"
                if call.patient is not None:
                    for_patient[key, call.patient] += 1
    most: Counter[Key] = Counter()
    for (key, _), n in for_patient.items():
        most[key] = max(most[key], n)
    return {key: (*figures, most[key]) for key, figures in found.items()}


def _calls(calls: Iterable[PlainCall], day: Any) -> dict[Key, Key]:
    n: Counter[Key] = Counter()
    repeats: Counter[Key] = Counter()
    for call in calls:
        ms = next((bucket for bucket in BUCKETS if call.us <= bucket * 1000), BUCKETS[-1])
        answer = (503, "withdrawn") if call.withdrawn else (call.status, call.outcome)
        key = (day(call.at), call.tenant, call.client, call.hook, *answer, ms)
        n[key] += 1
        repeats[key] += call.is_repeat
    return {key: (repeats[key], n[key]) for key in n}


def _hours(calls: Iterable[PlainCall], day: Any, zone: Any) -> dict[Key, Key]:
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for call in calls:
        here = day(call.at)
        midnight = datetime(here // 10_000, here // 100 % 100, here % 100, tzinfo=zone).timestamp()
        figures = found[here, call.tenant, call.client, int((call.at / 1e6 - midnight) // 3600)]
        figures[0] += 1
        figures[1] += call.withdrawn or call.status >= 500
        figures[2] += call.us > 500_000
        if not call.is_repeat:
            applied = [outcome for _, _, outcome, _, applies in call.evaluations if applies and outcome != "not_applicable"]
            figures[3] += len(applied)
            figures[4] += sum(outcome in ("could_not_check", "failed") for outcome in applied)
    return {key: tuple(figures) for key, figures in found.items()}


def _denominators(calls: Iterable[PlainCall], day: Any) -> dict[Key, Key]:
    found: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    encounters: set[str] = set()
    orders: set[str] = set()
    users: set[Key] = set()
    patients: set[Key] = set()
    for call in calls:
        here = day(call.at)
        figures = found[here, call.tenant, call.client, call.hook]
        if call.encounter is not None and call.encounter not in encounters:
            encounters.add(call.encounter)
            figures[0] += 1
        for key in set(call.order_keys) - orders:
            orders.add(key)
            figures[1] += 1
        user = (here, call.tenant, call.client, call.user)
        if call.user is not None and user not in users:
            users.add(user)
            figures[2] += 1
        patient = (here, call.tenant, call.client, call.patient)
        if call.patient is not None and patient not in patients:
            patients.add(patient)
            figures[3] += 1
    return {key: tuple(figures) for key, figures in found.items() if any(figures)}
