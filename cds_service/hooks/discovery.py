"""The answer of `GET /cds-services`: made once when the service starts, served from memory ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from cds_service.knowledge.services import ServiceDefinition


class Discovery(msgspec.Struct, frozen=True):
    """The body, as JSON, and its entity tag (quoted, as in the ETag header)."""

    body: bytes
    etag: str

    def matches(self, if_none_match: str | None) -> bool:
        """Whether the client, by its If-None-Match header, already has this body (RFC 9110, section 13.1.2)."""
        tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
        return self.etag in tags or "*" in tags


def describe(services: Iterable[ServiceDefinition], *, include: bool = False) -> Discovery:
    """The discovery answer for `services`. Members without a value are left out, as CDS Hooks demands.

    `include`: for a client whose EHR supports `_include` in prefetch templates.
    """
    described = []
    for service in services:
        members = {
            "hook": service.hook,
            "title": service.title,
            "description": service.description,
            "id": service.id,
            "prefetch": service.templates(include=include),
            "usageRequirements": service.usage_requirements,
        }
        described.append({name: value for name, value in members.items() if value})
    body = msgspec.json.encode({"services": described})
    return Discovery(body=body, etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"')
