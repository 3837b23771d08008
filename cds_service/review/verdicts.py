"""Keep verdicts on cases, and tell what stands: who read a case, in which role, and what is settled.

A case is one evaluation of one card in one call. Verdicts are only added: the newest of a reviewer counts. The first reviewer of
a case is its first reader, the next one its second reader, who does not see the first one's verdict; where they differ, a third
settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from cds_service.access.reader import usable_name
from cds_service.database import Database

Role: TypeAlias = Literal["first", "second", "adjudicator"]
MOST_COMMENT = 4000  # characters

# What can be said of a case, and in which words (quality_team: McCoy 2012; Wright 2018; Osheroff's five rights).
VERDICTS = {
    "appropriate": "Appropriate",
    "inappropriate": "Inappropriate",
    "malfunction": "Malfunction",
    "unsure": "Cannot tell",
}
RESPONSES = {
    "appropriate": "Appropriate",
    "inappropriate": "Inappropriate",
    "later_corrected": "Corrected later",
    "unsure": "Cannot tell",
}
CAUSES = {
    "wrong_data": "Wrong data",
    "missing_data": "Missing data",
    "stale_data": "Old data",
    "wrong_patient": "Wrong patient",
    "wrong_threshold": "Wrong threshold",
    "outdated_knowledge": "Outdated knowledge",
    "timing": "Timing",
    "recipient": "Recipient",
    "duplicate": "Duplicate",
    "display": "Display",
    "technical": "Technical",
}
HARMS = {"none": "None", "minor": "Minor", "moderate": "Moderate", "serious": "Serious"}
FIVE_RIGHTS = {
    "information": "Information",
    "person": "Person",
    "format": "Format",
    "channel": "Channel",
    "time": "Time",
}


class CaseId(NamedTuple):
    """A case: id of the call (16 bytes), its receipt (µs since 1970), card, and which evaluation of the card it is, from 1."""

    call_id: bytes
    received_at: int
    card: str
    nth: int


class Opinion(msgspec.Struct, frozen=True):
    """What a reviewer says of a case; "" for what is not said."""

    verdict: str
    response: str = ""
    cause: str = ""
    harm: str = ""
    five_rights: tuple[str, ...] = ()  # what should be better
    comment: str = ""


class Reading(msgspec.Struct, frozen=True):
    """The newest opinion of one reviewer on a case. `at`: µs since 1970."""

    reviewer: str
    role: Role
    opinion: Opinion
    at: int
    blind: str  # the verdict of a first or second reader before the other's could be seen


class VerdictError(ValueError):
    """Raised for an opinion that can't be kept. The text is for the reviewer."""


def opinion_of(form: Mapping[str, str]) -> Opinion:
    """Return the opinion in the fields of a form; a ticked right has a field of its own, "right_time". Raises VerdictError."""
    fields = {name: form.get(name, "") for name in ("verdict", "response", "cause", "harm")}
    words = (("verdict", VERDICTS), ("response", RESPONSES), ("cause", CAUSES), ("harm", HARMS))
    for name, allowed in words:
        if fields[name] not in allowed and (fields[name] or name == "verdict"):
            raise VerdictError(f"Choose one of these as {name}: {', '.join(allowed.values())}")
    rights = tuple(one for one in FIVE_RIGHTS if f"right_{one}" in form)
    comment = form.get("comment", "").replace("\r\n", "\n").strip()
    if len(comment) > MOST_COMMENT:
        raise VerdictError(f"The comment has {len(comment)} characters; at most {MOST_COMMENT} are kept")
    return Opinion(**fields, five_rights=rights, comment=comment)


def readings(rows: Iterable[dict[str, Any]]) -> list[Reading]:
    """Return the newest opinion of each reviewer on one case, in the order in which they first read it.

    `rows`: of review.verdict, in the order of `seq`. The order of first verdicts gives the roles, so that two reviewers who
    saved at the same moment are not both first.
    """
    newest: dict[str, dict[str, Any]] = {}
    blind: dict[str, str] = {}
    for row in rows:
        newest[row["reviewer"]] = row  # keeps the place of the first one
        if len(newest) == 1 or row["reviewer"] not in blind:  # once there is a second, each sees what the other said
            blind[row["reviewer"]] = row["verdict"]
    roles: tuple[Role, ...] = ("first", "second", "adjudicator")
    return [_reading(row, roles[min(place, 2)], blind[reviewer]) for place, (reviewer, row) in enumerate(newest.items())]


def settled(read: Sequence[Reading]) -> Reading | None:
    """Return the reading that stands for the case: the first, unless a second differs; then the adjudicator's.

    None for a case that nobody has read, or whose two readers differ and nobody has settled it.
    """
    if len(read) > 2 and _differ(read):
        return read[2]
    return None if not read or disputed(read) else read[0]


def disputed(read: Sequence[Reading]) -> bool:
    """Return whether two readers differ in their verdict and nobody has settled it."""
    return len(read) == 2 and _differ(read)


def _differ(read: Sequence[Reading]) -> bool:
    return read[0].opinion.verdict != read[1].opinion.verdict


def role_of(reviewer: str, read: Sequence[Reading]) -> Role | None:
    """Return in which role `reviewer` would read the case now; None where the case is settled between others."""
    own = next((one.role for one in read if one.reviewer == reviewer), None)
    if own is not None:
        return own
    if len(read) < 2:
        return "first" if not read else "second"
    return "adjudicator" if disputed(read) else None


def visible(reviewer: str, read: Sequence[Reading]) -> list[Reading]:
    """Return the readings that `reviewer` may see: none before the own one, unless two others are there."""
    mine = any(one.reviewer == reviewer for one in read)
    return list(read) if reviewer and (mine or len(read) >= 2) else []


def readings_of(database: Database, case: CaseId) -> list[Reading]:
    """Return the readings of one case."""
    sql = "SELECT * FROM review.verdict WHERE call_id = :call_id AND card = :card AND nth = :nth ORDER BY seq"
    return readings(database.rows(sql, call_id=case.call_id, card=case.card, nth=case.nth))


def readings_of_plan(database: Database, plan: int) -> dict[tuple[bytes, str, int], list[Reading]]:
    """Return the readings of all cases of a plan, by call id, card and number, also those given outside of the plan."""
    sql = """SELECT v.* FROM review.sample s JOIN review.verdict v ON v.call_id = s.call_id AND v.card = s.card AND v.nth = s.nth
        WHERE s.plan = :plan ORDER BY v.seq"""
    by_case: dict[tuple[bytes, str, int], list[dict[str, Any]]] = {}
    for row in database.rows(sql, plan=plan):
        by_case.setdefault((bytes(row["call_id"]), row["card"], row["nth"]), []).append(row)
    return {case: readings(rows) for case, rows in by_case.items()}


def keep(database: Database, case: CaseId, reviewer: str, opinion: Opinion, *, plan: int | None, at: int) -> Role:
    """Add a verdict and return the role in which it was given. `at`: µs since 1970. Raises VerdictError."""
    with database.transaction():
        role = role_of(reviewer, readings_of(database, case))
        if role is None:
            raise VerdictError("This case is settled between two readers, so a further reading is not kept")
        database.execute(
            """INSERT INTO review.verdict
            (at, call_id, received_at, card, nth, plan, reviewer, verdict, response, cause, harm, five_rights, comment, role)
            VALUES (:at, :call_id, :received_at, :card, :nth, :plan, :reviewer, :verdict, :response, :cause, :harm, :five_rights,
            :comment, :role)""",
            at=at,
            plan=plan,
            reviewer=reviewer,
            role=role,
            **case._asdict(),
            **{**msgspec.structs.asdict(opinion), "five_rights": " ".join(opinion.five_rights)},
        )
    return role


def reviewer_name(text: str) -> str:
    """Return a reviewer's name as it is kept. Raises VerdictError for one that can't be."""
    try:
        return usable_name(text)
    except ValueError as error:
        raise VerdictError(str(error)) from None


def _reading(row: dict[str, Any], role: Role, blind: str) -> Reading:
    opinion = Opinion(
        row["verdict"], row["response"], row["cause"], row["harm"], tuple(row["five_rights"].split()), row["comment"]
    )
    return Reading(row["reviewer"], role, opinion, row["at"], blind)
