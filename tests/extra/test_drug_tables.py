"""How well drugs are recognised by their names alone, measured on a table of RxNorm products (CDS_SHARED/clinical)."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from cds_service.authoring.drug_recognition import Measurement, measure, read_differences
from tests.reading import terminology

PRODUCTS = Path(os.environ.get("CDS_SHARED", "")) / "clinical" / "rxnorm_products.csv"
DIFFERENCES = Path(__file__).with_name("differences.yaml")
_NOT_IN_THE_TABLE = {
    "acetazolamide", "amphotericin_b", "corticosteroid_systemic", "fludrocortisone", "fluvoxamine", "ivabradine", "lactulose",
    "lmwh", "other_antihypertensive", "other_parenteral_anticoagulant", "rifaximin",
}  # fmt: skip
_LOOKALIKES = {
    "quinine": r"quinidine|chloroquine",
    "potassium_supplement": r"losartan|penicillin|clavulan|diclofenac|polyethylene glycol|picosulf|sodium sulfate",
    "magnesium_supplement": r"prazole|polyethylene glycol|picosulf|sodium sulfate",
}


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return measure(PRODUCTS, terminology(), "text", read_differences(DIFFERENCES))


@pytest.mark.parametrize("name", sorted(terminology().drug_classes.keys() - _NOT_IN_THE_TABLE))
def test_a_class_is_recognised_by_name_with_recall_99_and_precision_99_5_percent(measured: Measurement, name: str) -> None:
    figures = measured.figures[name]
    assert figures.found > 0
    assert figures.recall is not None
    assert figures.precision is not None
    assert figures.recall >= 99
    assert figures.precision >= 99.5


@pytest.mark.parametrize("name", _LOOKALIKES)
def test_no_lookalike_and_no_salt_of_another_drug_is_among_the_hits(name: str) -> None:
    terms = terminology()
    with PRODUCTS.open(encoding="utf-8", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file) if re.search(_LOOKALIKES[name], row["name"], re.IGNORECASE)]
    assert len(names) > 10
    alone = [text for text in names if name in terms.drug((), (text,)).classes]
    assert alone == []
