"""The table of requirements against the itemised lists (CDS_SHARED/protocol/payloads): none is left out, none is made up."""

from __future__ import annotations

import csv

import pytest

from tests.conformance_table import load_table
from tests.extra.test_real_records import SHARED


@pytest.mark.parametrize("name", ["cds-hooks_2.0", "cds-hooks-library_1.0.1"])
def test_every_requirement_on_a_service_is_in_the_table_with_its_level(name: str) -> None:
    path = SHARED / "protocol" / "payloads" / f"requirements_{name}_requirements.csv"
    with path.open(encoding="utf-8", newline="") as file:
        listed = {int(row["ID*"]): row["Conformance*"] for row in csv.DictReader(file) if "Serv" in row["Actors*"]}
    assert {number: row.level for number, row in load_table()[name].items()} == listed
