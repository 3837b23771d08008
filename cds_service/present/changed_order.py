"""Change fields of a received draft order, where the result is valid R4B."""

from __future__ import annotations

from typing import Any

import msgspec

from cds_service.criteria.facts import Order
from cds_service.fhir.validation import is_valid_r4b

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def patched_order(order: Order, fields: dict[str, Any]) -> bytes:
    """Return the JSON of the order with `fields` replaced; b"" where that is not valid R4B.

    The other members stay byte for byte as they were sent, because decoding and encoding numbers loses precision.
    """
    if fields.get("resourceType") != order.resource_type:
        return b""
    changed = msgspec.json.encode({**_members.decode(order.raw), **fields})
    return changed if is_valid_r4b(msgspec.json.decode(changed)) else b""
