"""The daily dose of a dosage: the table of spellings in dosages.yaml, and properties."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cds_service.fhir.resources import Dosage, DoseAndRate, Quantity, Ratio, Repeat, Timing
from cds_service.read.daily_dose import daily_dose_mg
from cds_service.read.sig_tokens import MAX_LENGTH

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load((Path(__file__).parent / "dosages.yaml").read_text(encoding="utf-8"))
PRODUCT = "baclofen 10 MG Oral Tablet"
ALPHABET = "0123456789.,-/() mgxtabdqhidstomy½µ"


def expected(row: dict[str, Any]) -> Decimal | None:
    return None if row["expect"] == "unknown" else Decimal(str(row["expect"]))


@pytest.mark.parametrize("row", TABLE["texts"], ids=lambda row: row["text"])
def test_a_dosage_text_means_its_daily_dose(row: dict[str, Any]) -> None:
    assert daily_dose_mg([Dosage(text=row["text"])], row.get("medication", PRODUCT)) == expected(row)


@pytest.mark.parametrize("row", TABLE["medications"], ids=lambda row: row["medication"])
def test_a_medication_text_without_dosage_is_a_dose_only_with_its_frequency(row: dict[str, Any]) -> None:
    assert daily_dose_mg([], row["medication"]) == expected(row)


@pytest.mark.parametrize("row", TABLE["structures"], ids=lambda row: row["name"])
def test_a_structured_dosage_means_its_daily_dose(row: dict[str, Any]) -> None:
    dosages = [msgspec.json.decode(msgspec.json.encode(d), type=Dosage) for d in row["dosages"]]
    strength = msgspec.convert(row["strength"], Ratio, strict=False) if "strength" in row else None
    assert daily_dose_mg(dosages, row.get("medication", PRODUCT), strength) == expected(row)


def test_the_medication_text_is_read_where_the_dosages_say_nothing() -> None:
    assert daily_dose_mg([Dosage(asNeededBoolean=True)], "Quinine 300mg nocte") == 300
    assert daily_dose_mg([Dosage(text="as directed")], "Quinine 300mg nocte") is None


def test_a_dose_is_written_without_trailing_zeros_and_exponents() -> None:
    assert str(daily_dose_mg([Dosage(text="15.0 mg bid")], "")) == "30"
    assert str(daily_dose_mg([Dosage(text="100 mg tid")], "")) == "300"
    assert str(daily_dose_mg([Dosage(text="7.50 mg daily")], "")) == "7.5"


TIMES = {
    1: ("qd", "daily", "once daily", "once a day", "every day"),
    2: ("BID", "bd", "twice daily", "q12h", "2x/day"),
    3: ("t.i.d.", "TDS", "three times a day", "every 8 hours", "3 times per day"),
    4: ("QID", "qds", "four times daily", "q6h", "6 hourly"),
}
AMOUNTS = (
    "{n} mg {k}",
    "{n}mg {k}",
    "take {n} mg by mouth {k}",
    "{k} {n} mg",
    "{n} milligrams orally {k} as needed",
    "{n} mg tablet {k}",
)


@given(
    st.decimals("0.5", "999", places=1).map(lambda n: n.normalize()).filter(lambda n: n > 0),
    st.sampled_from([(k, word) for k, words in TIMES.items() for word in words]),
    st.sampled_from(AMOUNTS),
)
def test_n_mg_k_times_a_day_is_n_times_k_in_every_spelling(n: Decimal, times: tuple[int, str], amount: str) -> None:
    text = amount.format(n=f"{n:f}", k=times[1])
    assert daily_dose_mg([Dosage(text=text)], "baclofen") == n * times[0], text


@given(st.sampled_from(["1", "2", "3", "1/2", "1 1/2"]), st.integers(1, 500), st.integers(1, 6))
def test_tablets_times_strength_times_frequency(tablets: str, strength: int, times: int) -> None:
    count = {"1/2": Decimal("0.5"), "1 1/2": Decimal("1.5")}.get(tablets) or Decimal(tablets)
    dosage = Dosage(text=f"{tablets} tabs {times} times a day")
    assert daily_dose_mg([dosage], f"baclofen {strength} MG Oral Tablet") == count * strength * times


@given(st.text(), st.text())
@example("1" * 400 + "-0-1", "")
@example("baclofen 5mginml", "")
def test_no_text_raises(text: str, medication: str) -> None:
    daily_dose_mg([Dosage(text=text)], medication)
    daily_dose_mg([], text)


@given(st.text(ALPHABET, max_size=80))
def test_no_text_of_digits_and_units_raises_or_gives_a_dose_that_is_not_positive(text: str) -> None:
    dose = daily_dose_mg([Dosage(text=text)], PRODUCT)
    assert dose is None or dose > 0


@given(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(),
    st.decimals(),
    st.sampled_from(["h", "d", "s", "mo", "x", None]),
)
@example(Decimal("1E+999999"), Decimal(1), Decimal(1), "d")
@example(Decimal(1), Decimal("1E+999999"), Decimal("1E-999999"), "h")
def test_no_number_raises(value: Decimal, frequency: Decimal, period: Decimal, unit: str | None) -> None:
    dosage = Dosage(
        timing=Timing(repeat=Repeat(frequency=frequency, period=period, periodUnit=unit)),
        doseAndRate=DoseAndRate(doseQuantity=Quantity(value=value, unit="mg")),
        maxDosePerPeriod=Ratio(numerator=Quantity(value=value, unit="mg"), denominator=Quantity(value=period, unit=unit)),
    )
    strength = Ratio(numerator=Quantity(value=value, unit="mg"), denominator=Quantity(value=period, unit="tablet"))
    dose = daily_dose_mg([dosage], "", strength)
    assert dose is None or 0 < dose <= 1_000_000


@pytest.mark.parametrize(
    "piece",
    ["1", "1-", "1 ", "a", "mg ", "1/", "1.", "1,", "x ", "1 mg ", "every ", "max ", "(", "1-0-", "half a ", " ", "\u00bd"],
)
def test_a_long_text_is_read_in_bounded_time(piece: str) -> None:
    for length in (MAX_LENGTH, 10_000):
        text = (piece * length)[:length]
        start = time.process_time()
        daily_dose_mg([Dosage(text=text)], text)
        assert time.process_time() - start < 5  # a pattern that goes back and forth would take minutes
