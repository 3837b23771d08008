"""The table of recommendations against the reviewers' list (CDS_SHARED/clinical)."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from cds_service.authoring.recommendations import Recommendations
from cds_service.files.paths import cards_dir

ROWS = Path(os.environ.get("CDS_SHARED", "")) / "clinical" / "recommendations.csv"


def test_every_row_of_the_list_is_in_the_table_and_carried_by_a_card_that_the_list_names() -> None:
    ours = Recommendations(cards_dir()).rows
    with ROWS.open(encoding="utf-8", newline="") as file:
        theirs = {row["rec_id"]: row for row in csv.DictReader(file)}

    assert list(ours) == list(theirs)
    assert {name: row.document for name, row in ours.items()} == {name: row["seed"] for name, row in theirs.items()}
    known = {one.card for row in ours.values() for one in row.carried}
    missing = {
        name: row["card"]
        for name, row in theirs.items()
        if (named := {card for card in known if card in row["card"]}) and not named & {one.card for one in ours[name].carried}
    }
    assert missing == {}
