"""Define the body of a call's record: what a review and a replay need, as JSON in one compressed piece.

`body_version` and `facts_version` say how to read it. Each version has a golden file among the tests, which must decode for ever;
a new member needs a default here, and a changed one a new version and a function that converts what is older.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cds_service.alert_log.records import CallRecord
from cds_service.criteria.facts import Facts

BODY_VERSION = 1
# 1: version 0.1.0. An order's key was a hash of its reference alone. 2: it is one of the patient and the reference.
FACTS_VERSION = 2

_encode = msgspec.json.Encoder().encode
_NOTHING = msgspec.Raw(b"null")


class CallBody(msgspec.Struct, frozen=True, gc=False):
    """One call as its record holds it.

    `evaluations`: the truths of criteria (`card` is "*"), then a row per decision, see `evaluation_rows`. `sources`: the state of
    each prefetch key (`states`), what could not be read (`quarantined`), the requests to the FHIR server (`queries`: key, ms,
    status, bytes). `timings`: milliseconds per phase. `cards`: as the card rows' `position` counts them.
    """

    body_version: int
    facts_version: int
    hook_instance: str = ""
    evaluations: list[dict[str, Any]] = []
    facts: msgspec.Raw = _NOTHING  # of `facts_version`; null for a call that was refused. See `decoded_facts`
    sources: dict[str, Any] = {}
    timings: dict[str, float] = {}
    cards: list[msgspec.Raw] = []  # JSON as it was returned, with hashes for ids

    def decoded_facts(self) -> Facts | None:
        """Return the facts; None for a call that was refused. Raises msgspec.DecodeError, ValueError for a newer version."""
        if self.facts_version > FACTS_VERSION:
            raise ValueError(f"facts of version {self.facts_version}, written by a newer program")
        return msgspec.json.decode(self.facts, type=Facts | None)


_decoder = msgspec.json.Decoder(CallBody)


def encode_body(call: CallRecord, facts_version: int = FACTS_VERSION) -> bytes:
    """Join the parts of a record. Raises UnicodeEncodeError for a hook instance that is no text."""
    sources = call.sources
    if call.queries != b"[]":
        sources = sources[:-1] + b',"queries":' + call.queries + b"}"
    return b"".join(
        (
            b'{"body_version":%d,"facts_version":%d,"hook_instance":' % (BODY_VERSION, facts_version),
            _encode(call.hook_instance),
            b',"evaluations":',
            call.evaluations,
            b',"facts":',
            call.facts or b"null",
            b',"sources":',
            sources,
            b',"timings":',
            call.timings,
            b',"cards":[',
            b",".join([card.body for card in call.cards]),
            b"]}",
        )
    )


def decode_body(content: bytes) -> CallBody:
    """Decode a body. Raises msgspec.DecodeError, ValueError for one of a newer program."""
    body = _decoder.decode(content)
    if body.body_version > BODY_VERSION:
        raise ValueError(f"a body of version {body.body_version}, written by a newer program")
    return body
