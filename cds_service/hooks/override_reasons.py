"""Keep the reason of an override where it is one of a closed list, and of any other only its length.

EHRs let people type into fields that are meant for codes, and such a text may name a patient or a colleague.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from msgspec.structs import replace

from cds_service.alert_log import FeedbackRecord
from cds_service.hooks.feedback import EPIC_REASONS
from cds_service.knowledge.knowledge import Knowledge

OTHER = "other"
_NUMBER = re.compile(r"\d{1,9}")


def known_reasons(knowledge: Knowledge) -> Callable[[FeedbackRecord], FeedbackRecord]:
    """Return `with_known_reason` for the reasons that the cards offer."""
    displays = {code: one.display for code, one in knowledge.overrides.items()}
    return partial(with_known_reason, system=knowledge.labels.override_system, displays=displays)


def with_known_reason(record: FeedbackRecord, system: str, displays: Mapping[str, str]) -> FeedbackRecord:
    """Return the record with a reason of `displays` (code to display), a number of Epic's list, or OTHER.

    `system`: that of our codes; a code without a system counts as one of ours. Of another reason stays how many characters its
    texts had, as its display.
    """
    code = record.reason_code
    if code in displays and record.reason_system in ("", system):
        return replace(record, reason_system=system, reason_display=displays[code])
    if record.reason_system == EPIC_REASONS and _NUMBER.fullmatch(code):  # the site's own list; its texts stay in the EHR
        return replace(record, reason_display="")
    if length := len(code) + len(record.reason_display):
        return replace(record, reason_system="", reason_code=OTHER, reason_display=f"({length} characters)")
    return replace(record, reason_system="")
