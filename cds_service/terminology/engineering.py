"""Read `cards/engineering.yaml`: the time spans and ages for reading data, signed by a clinician.

The program uses each entry by its name, so a missing or an unused entry is an error.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cds_service.files.yaml_file import YamlFile

FILE = "engineering.yaml"
Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The members of every entry; an unknown one is an error."""

    what: Text
    why: Text
    source: Annotated[list[str], msgspec.Meta(min_length=1)]  # ids of cards/sources.yaml, or `engineering`
    decided_on: date


class Span(_Entry, frozen=True, kw_only=True, dict=True):
    """A length of time, above zero."""

    value: Annotated[int, msgspec.Meta(gt=0)]
    unit: Literal["hours", "days"]

    @cached_property
    def span(self) -> timedelta:
        """Return the length as a timedelta."""
        return timedelta(hours=self.value) if self.unit == "hours" else timedelta(days=self.value)


class Years(_Entry, frozen=True, kw_only=True):
    """An age in completed years."""

    value: Annotated[int, msgspec.Meta(ge=0)]
    unit: Literal["years"]


class Engineering(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One field for each entry of the file."""

    result_ahead: Span
    pregnancy_holds: Span
    answer_counts: Span
    measured_lately: Span
    dispense_counts: Span
    administration_counts: Span
    egfr_computed_from: Years


def read_engineering(folder: Path) -> Engineering:
    """Read `engineering.yaml` of `folder` (`cards/`). Raises KnowledgeError with file, line and what is wrong."""
    file = YamlFile(folder / FILE, f"cards/{FILE}")
    return file.convert(Engineering, file.data)
