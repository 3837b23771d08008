"""Say which EHRs have a build sheet, and what is known of each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from cds_service.files.yaml_file import YamlFile


class Ehr(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one EHR, from `ehrs.yaml`."""

    title: str
    dialect: str  # of cards/dialects.yaml
    preset: str  # of the client registry, "" for none
    token_life_s: Annotated[int, msgspec.Meta(gt=0)]  # seconds, `exp` minus `iat`
    typed_queries: bool  # prefetch is typed by hand; else it comes from discovery
    steps: list[str]
    cannot: list[str]
    read: str  # where this stands, and how sure it is


@cache
def known_ehrs() -> dict[str, Ehr]:
    """Return the EHRs that have a sheet, by name."""
    file = YamlFile(Path(__file__).with_name("ehrs.yaml"), "build_sheet/ehrs.yaml")
    return file.convert(dict[str, Ehr], file.data)
