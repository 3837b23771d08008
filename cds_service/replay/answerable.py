"""Tell whether a record's facts can say what a candidate would have decided.

Facts are what the readers understood with the value sets of their time. What no card knew is not in them: where the candidate
would read or ask for anything else, the record can't answer, and saying "no change" would be a lie.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cds_service import __version__
from cds_service.alert_log.body import FACTS_VERSION
from cds_service.knowledge.knowledge import Knowledge
from cds_service.replay.knowledge import Lacking
from cds_service.replay.records import Record

Unanswerable: TypeAlias = (
    Literal[
        "no_body", "refused", "engine_failed", "withdrawn", "facts_version", "program", "terminology", "prefetch", "no_service"
    ]
    | Lacking
)

WHY: dict[Unanswerable, str] = {
    "no_body": "the facts were deleted",
    "refused": "the call was refused, so that nothing was decided",
    "engine_failed": "a fault outside of the cards ended the evaluation",
    "withdrawn": "the response was held back, so that nothing was shown",
    "facts_version": "the facts are of an older form",
    "program": "another version of the program read the data, perhaps differently",
    "terminology": "the candidate has other value sets, site codes, engineering numbers or another RxNorm lookup",
    "prefetch": "the candidate asks the EHR for other data",
    "no_service": "the candidate has no service at this hook",
    "no_knowledge": "the cards of its time are not in the log's archive, so that their value sets can't be compared",
    "unreadable_knowledge": "this program can't read the cards of its time, so that their value sets can't be compared",
}


def without_decision(record: Record) -> Unanswerable | None:
    """Return why a record can't be decided with any cards; None where it can."""
    if record.body is None:
        return "no_body"
    if bytes(record.body.facts) == b"null":
        return "refused"
    if "engine_failed" in record.degraded.split():
        return "engine_failed"
    if record.body.facts_version != FACTS_VERSION:
        return "facts_version"
    return "program" if record.service_version != __version__ else None


def between(recorded: Knowledge, candidate: Knowledge, hook: str) -> Unanswerable | None:
    """Return what the candidate would read or ask for otherwise at a hook; None where the facts would be the same."""
    old, new = recorded.terminology, candidate.terminology
    if (old.content_hash, old.engineering, old.site) != (new.content_hash, new.engineering, new.site):
        return "terminology"
    before, after = (next((one for one in known.services if one.hook == hook), None) for known in (recorded, candidate))
    if after is None:
        return "no_service"
    same = before is not None and (before.prefetch, before.include) == (after.prefetch, after.include)
    return None if same else "prefetch"
