"""Sample requests for people who try the service, dated relative to the moment of asking."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_service.card_file import File, Hook
from cds_service.shorthand import request_from_case
from cds_service.yamlfile import YamlFile

PATIENT_VIEW: Hook = "patient-view"


class Sample(File, frozen=True, kw_only=True):
    """A patient with one story: `given` is the chart and `orders` what a clinician may draft, both in shorthand."""

    title: str
    story: str = ""  # what to expect, and why
    hook: Hook  # where the story is told
    given: list[str | dict[str, object]]
    orders: list[str | dict[str, object]] = []

    def request(
        self, now: datetime, hook: Hook | None = None, orders: Sequence[str | dict[str, object]] | None = None
    ) -> dict[str, Any]:
        """The CDS Hooks request at `now` (aware), at the sample's hook and with its orders where nothing else is asked for.

        There are no orders at patient-view. Raises ShorthandError for `orders` that can't be expanded.
        """
        at = hook or self.hook
        drafted = self.orders if orders is None else orders
        return request_from_case([*self.given, *(drafted if at != PATIENT_VIEW else ())], at, now)


def load_samples(folder: Path) -> dict[str, Sample]:
    """The samples in `folder` (`fixtures/`) by name. Raises KnowledgeError."""
    file = YamlFile(folder / "samples.yaml", "fixtures/samples.yaml")
    return {name: file.convert(Sample, data, (name,)) for name, data in file.data.items()}
