"""Load sample patients to try the service with, dated relative to now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cds_service.authoring.shorthand import Line, request_from_case
from cds_service.authoring.shorthand_resources import Resource
from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge.card_file import File, Hook

PATIENT_VIEW: Hook = "patient-view"


class Sample(File, frozen=True, kw_only=True):
    """Describe a patient: `given` is the chart, `orders` are draft orders, both in shorthand."""

    title: str
    person: str  # given and family name, which hint at the story in a list of patients
    story: str  # what to expect, and why
    hook: Hook  # the hook to try it at
    given: list[Line]
    orders: list[Line] = []
    id: str = ""  # of the Patient; the sample's name

    def request(self, now: datetime, hook: Hook | None = None, orders: Sequence[Line] | None = None) -> dict[str, Any]:
        """Return the CDS Hooks request at `now` (aware).

        `hook` and `orders` default to those of the sample.

        There are no orders at patient-view. Raises ShorthandError for `orders` that can't be expanded.
        """
        at = hook or self.hook
        drafted = self.orders if orders is None else orders
        return request_from_case([*self.given, *(drafted if at != PATIENT_VIEW else ())], at, now, self._patient())

    def resources(self, now: datetime) -> list[Resource]:
        """Return the chart at `now` as FHIR R4 resources, the Patient first.

        They are those in the prefetch of `request`.
        """
        patient, *bundles = self.request(now, PATIENT_VIEW)["prefetch"].values()
        return [patient, *(entry["resource"] for bundle in bundles if bundle for entry in bundle["entry"])]

    def _patient(self) -> Resource:
        given, _, family = self.person.partition(" ")
        return {"id": self.id, "name": [{"use": "official", "text": self.person, "family": family, "given": [given]}]}


def load_samples(folder: Path) -> dict[str, Sample]:
    """Return the samples in `folder` (`fixtures/`) by name. Raises KnowledgeError."""
    file = YamlFile(folder / "samples.yaml", "fixtures/samples.yaml")
    return {name: replace(file.convert(Sample, data, (name,)), id=name) for name, data in file.data.items()}
