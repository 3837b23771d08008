"""Make the response of `GET /cds-services`, once at start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from cds_service.knowledge.services import ServiceDefinition


class Discovery(msgspec.Struct, frozen=True):
    """A discovery response: the body, as JSON, and its entity tag (quoted, as in the ETag header)."""

    body: bytes
    etag: str

    def matches(self, if_none_match: str | None) -> bool:
        """Say whether the client already has this body, by its If-None-Match header (RFC 9110, section 13.1.2)."""
        tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
        return self.etag in tags or "*" in tags


def describe(services: Iterable[ServiceDefinition], *, include: bool = False) -> Discovery:
    """Return the discovery response for `services`, without empty members, as CDS Hooks demands.

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
