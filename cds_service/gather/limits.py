"""Limit how many gathered resources are read, so that one call can't hold up the others.

The limit is above the data of any real patient.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cds_service.criteria.facts import SourceState
from cds_service.fhir.gathered import Gathered

MAX_ENTRIES = 2000  # of one call, where a site sets no other number
MAX_QUARANTINED = 100  # of one source; how many there were stands in its note


def capped(gathered: Mapping[str, Gathered], limit: int) -> dict[str, Gathered]:
    """Return the sources with at most `limit` resources in all, and a note where some are left out.

    A source that was cut becomes PARTIAL, so that missing data counts as unknown. Short sources are filled first, so that a flood
    in one source costs only that one.
    """
    kept = dict(gathered)
    count = 0
    for name, one in gathered.items():
        count += len(one.resources) + len(one.misplaced)
        if len(one.quarantined) > MAX_QUARANTINED:
            kept[name] = msgspec.structs.replace(one, quarantined=one.quarantined[:MAX_QUARANTINED])
    if count > limit:
        left = limit
        for name, one in sorted(kept.items(), key=lambda item: len(item[1].resources) + len(item[1].misplaced)):
            kept[name] = _cut(one, left)
            left -= len(kept[name].resources) + len(kept[name].misplaced)
    return kept


def _cut(one: Gathered, limit: int) -> Gathered:
    count = len(one.resources) + len(one.misplaced)
    if count <= limit:
        return one
    note = f"only {limit} of {count} entries were read, because there are too many"
    source = msgspec.structs.replace(
        one.source, state=SourceState.PARTIAL, note="; ".join(filter(None, (one.source.note, note))), more=True
    )
    misplaced = one.misplaced[: max(0, limit - len(one.resources))]
    return msgspec.structs.replace(one, source=source, resources=one.resources[:limit], misplaced=misplaced)
