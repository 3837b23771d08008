"""Decode the JSON of a Bundle entry by entry, so that an invalid entry costs only itself."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from cds_service.fhir.resources import Resource


class SentEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a Bundle: its resource with its JSON, or why it can't be read."""

    position: int  # in the Bundle, from 0
    resource: Resource | None = None
    json: bytes = b""  # of the resource, as it was sent
    url: str = ""  # its fullUrl
    resource_type: str = ""  # of a resource that can't be read
    reason: str = ""  # why it can't be read


class Envelope(msgspec.Struct, gc=False):
    """A Bundle with its entries and links undecoded, or the wrapper of a prefetch value before CDS Hooks 1.0."""

    resourceType: object = None
    entry: Raw = Raw()
    link: Raw = Raw()
    total: object = None
    resource: Raw = Raw()


class _RawEntry(msgspec.Struct, gc=False):
    resource: Raw = Raw()
    fullUrl: object = None


class _Typed(msgspec.Struct, gc=False):
    resourceType: object = None


decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_resource = msgspec.json.Decoder(Resource).decode
_decode_raw_entry = msgspec.json.Decoder(_RawEntry).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_typed = msgspec.json.Decoder(_Typed).decode


def sent_entries(raw: bytes | Raw, alone: Collection[str]) -> list[SentEntry] | None:
    """Decode a Bundle entry by entry and keep the JSON of each resource; None where it is not a Bundle.

    The entries of a Bundle that is an entry stand in its place. A resource of a type in `alone` counts as a Bundle of itself.
    """
    try:
        envelope = decode_envelope(raw)
    except msgspec.ValidationError:
        return None
    kind = envelope.resourceType if isinstance(envelope.resourceType, str) else "Bundle"
    if kind in alone:
        return [_sent_resource(bytes(raw), 0, "")]
    if not envelope.entry:
        return [] if kind == "Bundle" else None
    found: list[SentEntry] = []
    for entry in _sent(envelope.entry):
        if entry.resource is not None and entry.resource.resourceType == "Bundle":
            found += _sent(decode_envelope(entry.json).entry)
        else:
            found.append(entry)
    return found


def _sent(entries: Raw) -> list[SentEntry]:
    if bytes(entries) in (b"", b"null"):
        return []
    return [_sent_entry(entry, position) for position, entry in enumerate(items(entries))]


def _sent_entry(raw: Raw, position: int) -> SentEntry:
    try:
        entry = _decode_raw_entry(raw)
    except msgspec.ValidationError as error:
        return SentEntry(position, reason=reason_of(error))
    return _sent_resource(bytes(entry.resource), position, entry.fullUrl if isinstance(entry.fullUrl, str) else "")


def _sent_resource(json: bytes, position: int, url: str) -> SentEntry:
    if not json:
        return SentEntry(position, reason="resource: missing")
    try:
        return SentEntry(position, _decode_resource(json), json, url)
    except msgspec.ValidationError as error:
        kind = type_of(json)
        return SentEntry(position, resource_type=kind if isinstance(kind, str) else "", reason=reason_of(error))


def items(entries: Raw) -> list[Raw]:
    """Return the items of an array; an object in place of one is the only item."""
    try:
        return _decode_list(entries)
    except msgspec.ValidationError:
        return [entries]


def objects(raw: bytes | Raw) -> list[Raw]:
    """Return the items of a JSON array of objects; none for anything else."""
    try:
        found = _decode_list(raw)
    except msgspec.ValidationError:
        return []
    return found if all(bytes(one).startswith(b"{") for one in found) else []


def type_of(json: bytes | Raw) -> object:
    """Return the `resourceType` of a JSON value, of whatever type; None without one."""
    try:
        return _decode_typed(json).resourceType
    except msgspec.ValidationError:
        return None


def type_of_entry(entry: bytes | Raw) -> object:
    """Return the `resourceType` of the resource in an entry, of whatever type; None without one."""
    try:
        resource = _decode_raw_entry(entry).resource
    except msgspec.ValidationError:
        return None
    return type_of(resource) if resource else None


def reason_of(error: msgspec.ValidationError) -> str:
    """Return why a structure did not fit, without values: "status: Expected `str | null`, got `object`"."""
    message, _, path = str(error).partition(" - at `")
    return f"{path.strip('`').removeprefix('$.')}: {message}" if path else message
