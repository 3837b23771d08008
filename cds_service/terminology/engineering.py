"""Reads `cards/engineering.yaml`: numbers of reading and remembering that a clinician signs.

The program asks for each by its name, so that a name that is missing in the file, or that nothing uses, is a mistake.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cds_service.files.yaml_file import YamlFile

FILE = "engineering.yaml"
Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every entry has; a name that is not listed is a mistake."""

    what: Text
    why: Text
    source: Annotated[list[str], msgspec.Meta(min_length=1)]  # ids of cards/sources.yaml, or engineering
    decided_on: date


class Span(_Entry, frozen=True, kw_only=True):
    """A length of time, above zero."""

    value: Annotated[int, msgspec.Meta(gt=0)]
    unit: Literal["hours", "days"]

    @property
    def span(self) -> timedelta:
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
    """Reads `engineering.yaml` of `folder` (`cards/`). Raises KnowledgeError with file, line and what is wrong."""
    file = YamlFile(folder / FILE, f"cards/{FILE}")
    return file.convert(Engineering, file.data)
