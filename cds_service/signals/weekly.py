"""Look at each week that is over: codes, prefetch keys, acceptance, comments, and users."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cds_service.alert_log.sealing import RevealError, SealingKey, reveal
from cds_service.database import Database
from cds_service.rollups.counting import totals
from cds_service.rollups.days import SiteDays, plus, week_of
from cds_service.rollups.filter import Filter
from cds_service.rollups.queries import Cards, card_counts
from cds_service.signals import codes as code_rules
from cds_service.signals.baseline import LIMIT
from cds_service.signals.body_counts import UNREADABLE
from cds_service.signals.codes import WEEKS_BEFORE, Code, Counted
from cds_service.signals.comments import LEAST_ANGRY, angry
from cds_service.signals.finding import Detected, Finding, Kind, Place, Watch, watch_of
from cds_service.signals.weekly_shares import LEAST_ANSWERED, LEAST_CALLS, dropped, held_by_one

WEEKS = 4  # for which findings are made anew
_ACCEPTANCE_BEFORE = 8  # weeks that a week is compared with


class Week(NamedTuple):
    """The first and last day of a week that is over, and of the weeks before that it is compared with."""

    first: int
    last: int

    def before(self, weeks: int) -> tuple[int, int]:
        return plus(self.first, -7 * weeks), plus(self.first, -1)


def weeks_before(today: int) -> list[Week]:
    """Return the weeks that are over, the newest last."""
    monday = week_of(today)
    return [Week(plus(monday, -7 * back), plus(monday, -7 * back + 6)) for back in range(WEEKS, 0, -1)]


def find_weekly(database: Database, days: SiteDays, today: int, key: SealingKey | None) -> Detected:
    """Return what the weeks before `today` say. `key`: opens comments; None where they are not kept."""
    found = Detected([], [])
    weeks = weeks_before(today)
    for part in (_codes, _prefetch, _acceptance, _concentration):
        for week in weeks:
            findings, watches = part(database, week)
            found.findings.extend(findings)
            if week is weeks[-1]:
                found.watches.extend(watches)
    findings, watches = _comments(database, days, weeks, key)
    found.findings.extend(findings)
    found.watches.extend(watches)
    return found


def _codes(database: Database, week: Week) -> Detected:
    found = Detected([], [])
    now, before = _counted(database, *week), _counted(database, *week.before(WEEKS_BEFORE))
    unread = _unread(database, week)
    for place in now.keys() | before.keys():
        this, earlier = now.get(place, Counted(0, {})), before.get(place, Counted(0, {}))
        kinds: tuple[Kind, Kind] = ("code_new", "code_vanished")
        if not this.calls or not earlier.calls:
            state, why = ("learning", "no week before") if this.calls else ("no_data", "no call in the week")
            found.watches.extend(Watch(kind, place, state, why) for kind in kinds)  # type: ignore[arg-type]
            continue
        found.findings.extend(
            Finding("code_new", place, week.last, LIMIT, {**_said(code), "calls": calls, "of": this.calls}, _subject(code))
            for code, calls in code_rules.new_codes(this, earlier)
        )
        found.findings.extend(
            Finding("code_vanished", place, week.last, LIMIT, {**_said(code), "usual": usual, "of": this.calls}, _subject(code))
            for code, usual in code_rules.vanished_codes(this, earlier)
        )
        lost = unread.get(place, 0)
        found.watches.extend(
            Watch(kind, place, "no_data", f"{lost} records of the week can't be read, so what they held is not known")
            if lost
            else watch_of(kind, place, found.findings, week.last)
            for kind in kinds
        )
    return found


def _unread(database: Database, week: Week) -> Mapping[Place, int]:
    """Return how many bodies of the week could not be read, by client."""
    rows = database.rows(
        "SELECT tenant, client, sum(n) AS n FROM review.body_code WHERE day >= :first AND day <= :last AND kind = :kind "
        "GROUP BY tenant, client",
        first=week.first,
        last=week.last,
        kind=UNREADABLE,
    )
    return {Place(row["tenant"], row["client"]): row["n"] for row in rows}


def _said(code: Code) -> dict[str, str]:
    return {"kind": code.kind, "system": code.system, "code": code.code}


def _subject(code: Code) -> str:
    return f"{code.kind} {code.system}|{code.code}" if code.system else f"{code.kind} {code.code}"


def _counted(database: Database, first: int, last: int) -> Mapping[Place, Counted]:
    """Return what the bodies of these days held, by client."""
    codes: dict[Place, dict[Code, int]] = defaultdict(dict)
    for row in database.rows(
        "SELECT tenant, client, kind, system, code, known, sum(n) AS n FROM review.body_code "
        "WHERE day >= :first AND day <= :last AND kind <> :unreadable GROUP BY tenant, client, kind, system, code, known",
        first=first,
        last=last,
        unreadable=UNREADABLE,
    ):
        code = Code(row["kind"], row["system"], row["code"], bool(row["known"]))
        codes[Place(row["tenant"], row["client"])][code] = row["n"]
    calls = totals(database, "call", Filter(first, last), ("tenant", "client"), {"n": "sum(n)"})
    return {place: Counted(row["n"], codes[place]) for row in calls for place in [Place(row["tenant"], row["client"])]}


def _prefetch(database: Database, week: Week) -> Detected:
    found = Detected([], [])
    now, before = _sent(database, *week), _sent(database, *week.before(WEEKS_BEFORE))
    for place, names in now.items():
        for name, (sent, of) in names.items():
            usual, of_usual = before.get(place, {}).get(name, (0, 0))
            z = dropped(sent, of, usual, of_usual, LEAST_CALLS)
            if z is not None:
                detail = {"key": name, "sent": sent, "of": of, "usual": usual / of_usual, "usual_of": of_usual}
                found.findings.append(Finding("prefetch", place, week.last, z, detail, name))
        enough = any(before.get(place, {}).get(name, (0, 0))[1] >= LEAST_CALLS <= of for name, (_, of) in names.items())
        found.watches.append(
            watch_of("prefetch", place, found.findings, week.last)
            if enough
            else Watch("prefetch", place, "learning", f"fewer than {LEAST_CALLS} calls in this week or the weeks before")
        )
    return found


def _sent(database: Database, first: int, last: int) -> Mapping[Place, Mapping[str, tuple[int, int]]]:
    found: dict[Place, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in database.rows(
        "SELECT tenant, client, name, sum(sent * n) AS sent, sum(n) AS n FROM review.body_source "
        "WHERE day >= :first AND day <= :last GROUP BY tenant, client, name",
        first=first,
        last=last,
    ):
        found[Place(row["tenant"], row["client"])][row["name"]] = (row["sent"], row["n"])
    return found


_BY_CARD = ("tenant", "client", "card")


def _acceptance(database: Database, week: Week) -> Detected:
    found = Detected([], [])
    before = {_place(one): one for one in card_counts(database, Filter(*week.before(_ACCEPTANCE_BEFORE)), _BY_CARD)}
    for now in card_counts(database, Filter(*week), _BY_CARD):
        place, usual = _place(now), before.get(_place(now))
        if not now.shown:
            continue
        if usual is None or min(usual.answered, now.answered) < LEAST_ANSWERED:
            why = f"fewer than {LEAST_ANSWERED} cards with feedback in this week or the weeks before"
            found.watches.append(Watch("acceptance", place, "no_data", why))
            continue
        z = dropped(now.accepted, now.answered, usual.accepted, usual.answered, LEAST_ANSWERED)
        if z is not None:
            detail = {
                "accepted": now.accepted,
                "of": now.answered,
                "usual": usual.accepted / usual.answered,
                "usual_of": usual.answered,
            }
            found.findings.append(Finding("acceptance", place, week.last, z, detail))
        found.watches.append(watch_of("acceptance", place, found.findings, week.last))
    return found


def _place(row: Cards) -> Place:
    return Place(str(row.of["tenant"]), str(row.of["client"]), str(row.of["card"]))


def _concentration(database: Database, week: Week) -> Detected:
    found = Detected([], [])
    shown: dict[Place, list[int]] = defaultdict(list)
    for row in totals(database, "user", Filter(*week), (*_BY_CARD, "user"), {"shown": "sum(shown)"}):
        shown[Place(row["tenant"], row["client"], row["card"])].append(row["shown"])
    for place, by_user in shown.items():
        share = held_by_one(by_user)
        if share is not None:
            detail = {"shown": max(by_user), "of": sum(by_user), "users": sum(one > 0 for one in by_user)}
            found.findings.append(Finding("concentration", place, week.last, LIMIT * share, detail))
        found.watches.append(watch_of("concentration", place, found.findings, week.last))
    return found


_COMMENTED = """SELECT f.id, c.tenant, c.client, c.card FROM log.feedback f
    JOIN log.card c ON c.uuid = f.card_uuid AND c.tenant = f.tenant AND c.client = f.client
    WHERE f.received_at >= :start AND f.received_at < :end AND f.comment_length > 0"""


def _comments(database: Database, days: SiteDays, weeks: Iterable[Week], key: SealingKey | None) -> Detected:
    """Open the comments that were sealed and count the angry ones; only the counts are kept."""
    found = Detected([], [])
    newest = max(weeks)
    if key is None:
        return Detected([], [Watch("comments", Place("", ""), "no_data", "comments are not kept: there is no CDS_REVEAL_KEY")])
    for week in weeks:
        of_card: dict[Place, list[str]] = defaultdict(list)
        closed: dict[Place, int] = defaultdict(int)
        text = database.names.text
        for row in database.rows(_COMMENTED, start=days.bounds(week.first).start, end=days.bounds(week.last).end):
            place = Place(text(row["tenant"]), text(row["client"]), text(row["card"]))
            comment = _opened(database, bytes(row["id"]), key)
            if comment is None:
                closed[place] += 1
            else:
                of_card[place].append(comment)
        for place, comments in of_card.items():
            count = angry(comments)
            if count >= LEAST_ANGRY:
                found.findings.append(
                    Finding("comments", place, week.last, LIMIT, {"angry": count, "of": len(comments), "unopened": closed[place]})
                )
        if week == newest:
            found.watches.extend(watch_of("comments", place, found.findings, week.last) for place in of_card)
            found.watches.extend(
                Watch("comments", place, "no_data", "its comments were not sealed, or with another key")
                for place in closed.keys() - of_card.keys()
            )
    return found


def _opened(database: Database, item: bytes, key: SealingKey) -> str | None:
    try:
        return reveal(database, item, "comment", key)
    except RevealError:  # sealed with another key: counted as not opened
        return None
