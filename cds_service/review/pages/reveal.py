"""Reveal whom a case is about and what was commented: for a reviewer, with a reason, after it stands in the audit."""

from __future__ import annotations

from typing import NamedTuple

from cds_service.alert_log.sealing import RevealError, SealedKind, SealingKey, reveal, sealing_key
from cds_service.database import Database
from cds_service.review.case import Case, CaseNotFoundError, feedback_of, find_case
from cds_service.review.page import BASE, BadFormError, Page, PageNotFoundError, PageRequest, PageRoute
from cds_service.review.plans import case_path

_KINDS: tuple[tuple[SealedKind, str], ...] = (("patient", "Patient"), ("user", "User"), ("encounter", "Encounter"))
_MOST_REASON = 500  # characters


class Revealed(NamedTuple):
    """One text: what it is, the text, and where there is none, why."""

    name: str
    text: str
    missing: str


def draw(asked: PageRequest) -> Page:
    """Return the form that asks for the reason."""
    return _page(asked, _case(asked), [])


def show(asked: PageRequest) -> Page:
    """Enter the reason in the audit, then return the page with what was sealed. Raises BadFormError, AuditError."""
    case, key = _case(asked), _key(asked)
    reason = " ".join(asked.form.get("reason", "").split())
    if not reason or len(reason) > _MOST_REASON:
        raise BadFormError(f"Give a reason of 1 to {_MOST_REASON} characters")
    if key is None:
        raise BadFormError("Ids and comments are not kept on this site (CDS_REVEAL_KEY)")
    asked.audit("reveal", BASE + case_path(case.id), reason)
    return _page(asked, case, _revealed(asked.database, case, key), reason)


def _case(asked: PageRequest) -> Case:
    try:
        return find_case(asked.database, asked.path["call"], asked.path["card"], int(asked.path["n"]))
    except CaseNotFoundError as error:
        raise PageNotFoundError(str(error)) from None


def _key(asked: PageRequest) -> SealingKey | None:
    return sealing_key(asked.settings.reveal_key, asked.settings.reveal_key_id)


def _revealed(database: Database, case: Case, key: SealingKey) -> list[Revealed]:
    found = [_one(database, name, case.id.call_id, kind, key) for kind, name in _KINDS]
    if case.card is not None:
        commented = [row for row in feedback_of(database, case.card) if row["comment_length"]]
        found += [_one(database, "Comment", bytes(row["id"]), "comment", key) for row in commented]
    return found


def _one(database: Database, name: str, of: bytes, kind: SealedKind, key: SealingKey) -> Revealed:
    try:
        text = reveal(database, of, kind, key)
    except RevealError as error:
        return Revealed(name, "", str(error))
    return Revealed(name, text or "", "" if text is not None else "was not sent, not kept or is deleted already")


def _page(asked: PageRequest, case: Case, revealed: list[Revealed], reason: str = "") -> Page:
    only_html = {
        "revealed": revealed,
        "reason": reason,
        "kept": _key(asked) is not None,
        "days": asked.settings.keep_sealed_days,
        "case": BASE + case_path(case.id),
        "most": _MOST_REASON,
    }
    return Page(f"Reveal: {case.id.card}", "reveal.html", {}, only_html)


ROUTE = PageRoute(
    "/cases/{call}/{card}/{n:number}/reveal", draw, "reviewer", post=show, post_role="reviewer", scoped=True, twins=False
)
