"""Tell whether a record can say what a candidate would have decided.

Facts are what the readers understood with the value sets of their time. What no card knew is not in them: where the candidate
would read otherwise, only inputs can answer, and without them saying "no change" would be a lie. Where it would ask the EHR for
other data, nothing can.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cds_service import __version__
from cds_service.alert_log.body import FACTS_VERSION
from cds_service.knowledge.knowledge import Knowledge
from cds_service.replay.knowledge import Lacking
from cds_service.replay.records import Record

NeedsInputs: TypeAlias = Literal["program", "terminology"]  # what is read could be different
Unanswerable: TypeAlias = (
    Literal["no_body", "refused", "engine_failed", "withdrawn", "facts_version", "prefetch", "no_service"]
    | Literal["other_key", "inputs_version", "texts", "references"]
    | NeedsInputs
    | Lacking
)

WHY: dict[Unanswerable, str] = {
    "no_body": "the facts were deleted",
    "refused": "the call was refused, so that nothing was decided",
    "engine_failed": "a fault outside of the cards ended the evaluation",
    "withdrawn": "the response was held back, so that nothing was shown",
    "facts_version": "the facts are of an older form",
    "program": "another version of the program read the data, perhaps differently, and no inputs are kept (CDS_KEEP_INPUTS)",
    "terminology": "the candidate has other value sets, site codes, engineering numbers or another RxNorm lookup, and no inputs "
    "are kept (CDS_KEEP_INPUTS)",
    "prefetch": "the candidate asks the EHR for other data",
    "no_service": "the candidate has no service at this hook",
    "no_knowledge": "the cards of its time are not in the log's archive, so that their value sets can't be compared",
    "unreadable_knowledge": "this program can't read the cards of its time, so that their value sets can't be compared",
    "other_key": "the inputs are sealed with another key than CDS_REVEAL_KEY",
    "inputs_version": "the inputs were kept by another version of the program, or are damaged",
    "texts": "notes and dosages were searched for other words than the candidate searches for, and only what was found is kept",
    "references": "the candidate could ask the EHR for other medications or reasons that prescriptions refer to",
}


def without_decision(record: Record) -> Unanswerable | None:
    """Return why a record can't be decided with any cards; None where it can."""
    if record.body is None:
        return "no_body"
    if bytes(record.body.facts) == b"null":
        return "refused"
    if "engine_failed" in record.degraded.split():
        return "engine_failed"
    return "facts_version" if record.body.facts_version != FACTS_VERSION else None


def asked_differently(recorded: Knowledge, candidate: Knowledge, hook: str) -> Unanswerable | None:
    """Return why an EHR would have sent the candidate other data at a hook; None where it would have sent the same."""
    before, after = (next((one for one in known.services if one.hook == hook), None) for known in (recorded, candidate))
    if after is None:
        return "no_service"
    same = before is not None and (before.prefetch, before.include) == (after.prefetch, after.include)
    return None if same else "prefetch"


def read_differently(record: Record, recorded: Knowledge, candidate: Knowledge) -> NeedsInputs | None:
    """Return why the candidate could read other facts from the same data; None where they are those of the record."""
    if record.service_version != __version__:
        return "program"
    return None if same_reading(recorded, candidate) else "terminology"


def same_reading(recorded: Knowledge, candidate: Knowledge) -> bool:
    """Tell whether this program reads the same facts with both."""
    old, new = recorded.terminology, candidate.terminology
    return (old.content_hash, old.engineering, old.site) == (new.content_hash, new.engineering, new.site)
