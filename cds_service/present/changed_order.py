"""A changed draft order: what was received with some fields replaced, only where the result is a valid R4B resource."""

from __future__ import annotations

from typing import Any

import msgspec

from cds_service.criteria.facts import Order
from cds_service.fhir.validation import is_valid_r4b

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def patched_order(order: Order, fields: dict[str, Any]) -> bytes:
    """The JSON of the order with `fields` replaced; b"" where it could not be emitted as a valid resource.

    The other members stay as they were sent, byte by byte, because a round trip through numbers or a model loses precision.
    """
    if fields.get("resourceType") != order.resource_type:
        return b""
    changed = msgspec.json.encode({**_members.decode(order.raw), **fields})
    return changed if is_valid_r4b(msgspec.json.decode(changed)) else b""
