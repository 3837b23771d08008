"""Define the reduced inputs of a call: the decoded resources, without ids, names and notes, from which it can be read again.

Facts hold what was understood with the value sets of their time. Other value sets may understand more, and for that the resources
themselves are needed. They are kept only where a site asks for it, sealed with its reveal key.
"""

from __future__ import annotations

from datetime import date

import msgspec

from cds_service.alert_log.compression import CompressionError, pack_quickly, unpack
from cds_service.fhir.resources import Resource

INPUTS_VERSION = 1  # raised where older inputs would be read differently; those are then not used


class InputSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """The resources of one source. `by_url`: resources that other ids lead to, too."""

    resources: list[Resource] = []
    by_url: dict[str, Resource] = {}


class InputDraft(msgspec.Struct, frozen=True, omit_defaults=True):
    """One draft order, in the order of those in the facts. `url`: the number of its fullUrl."""

    resource: Resource
    url: str = ""
    selected: bool = True


class Inputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reduced inputs of a call; what they lack stands in its facts.

    `searched`: what the texts that are not kept were searched for; inputs answer only where that is the same. `may_ask`: the call
    named a FHIR server, so that other value sets may ask it for other resources.
    """

    version: int
    given: dict[str, InputSource]  # by the names in `facts.SOURCES`
    referenced: list[InputSource]  # what those refer to
    drafts: list[InputDraft] = []
    birth_date: date | None = None  # another one, that gives the same age on each day of the chart
    searched: list[str] = []
    may_ask: bool = False


class InputsError(ValueError):
    """Raised where inputs can't be read: they are damaged or of another version."""


class _Version(msgspec.Struct):
    version: int


_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(Inputs).decode
_version = msgspec.json.Decoder(_Version).decode


def pack_inputs(inputs: Inputs) -> bytes:
    """Return compressed JSON."""
    return pack_quickly(_encode(inputs))


def unpack_inputs(content: bytes) -> Inputs:
    """Return the inputs. Raises InputsError."""
    try:
        unpacked = unpack(content)
        if _version(unpacked).version != INPUTS_VERSION:
            raise InputsError("inputs of another version")
        return _decode(unpacked)
    except (CompressionError, msgspec.DecodeError) as error:
        raise InputsError(f"inputs that can't be read: {type(error).__name__}") from None
