"""Write resources as NDJSON of FHIR R4 Bundles: each line a whole Bundle of bounded size, so that neither side holds them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

MOST_ENTRIES = 100  # of a Bundle

Resource = dict[str, Any]
_encode_lines = msgspec.json.Encoder().encode_lines


class FhirBundles:
    """Writes resources made of rows as chunks of NDJSON, a Bundle (collection) a line."""

    def __init__(self, resource_of: Callable[[Any], Resource | None]) -> None:
        """`resource_of`: makes the resource of a row, None for a row that has none; each resource has an `id`."""
        self._resource_of = resource_of

    def __call__(self, rows: Iterable[Any]) -> Iterator[tuple[bytes, int]]:
        """Yield lines, each with how many resources it holds."""
        resources = (made for row in rows if (made := self._resource_of(row)) is not None)
        while found := list(islice(resources, MOST_ENTRIES)):
            entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in found]
            yield _encode_lines([{"resourceType": "Bundle", "type": "collection", "entry": entries}]), len(found)


def resource_id(*parts: object) -> str:
    """Return a uuid that is the same whenever the same thing is exported."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


def system(kind: str) -> str:
    """Return the system of the service's own codes or identifiers of a kind, as cards have it too."""
    return f"urn:cramp-cds:{kind}"


def logical(keyed_hash: str, resource_type: str = "") -> Resource:
    """Return a reference by a keyed hash: it names a person or an order as the log does, and leads nowhere."""
    found: Resource = {"identifier": {"system": system("keyed-hash"), "value": keyed_hash}}
    return {"type": resource_type, **found} if resource_type else found


def device(version: str) -> Resource:
    """Return the service as a reference."""
    return {"type": "Device", "display": f"cramp-cds {version}".strip()}


def concept(kind: str, code: str, **others: str) -> Resource:
    """Return a concept of one of the service's own code systems. `others`: version, display."""
    return {"coding": [{"system": system(kind), "code": code, **others}]}
