from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir.dates import ended, when

NOW = datetime(2025, 12, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "has_time"),
    [
        ("2025", datetime(2025, 1, 1, tzinfo=UTC), False),
        ("2025-11", datetime(2025, 11, 1, tzinfo=UTC), False),
        ("2025-11-28", datetime(2025, 11, 28, tzinfo=UTC), False),
        ("2025-11-28T08:00:00Z", datetime(2025, 11, 28, 8, tzinfo=UTC), True),
        ("2025-11-28T08:00:00.123+01:00", datetime(2025, 11, 28, 7, 0, 0, 123000, tzinfo=UTC), True),
        ("2025-11-28T23:30:00-05:00", datetime(2025, 11, 29, 4, 30, tzinfo=UTC), True),
        ("2025-11-28T08:00", datetime(2025, 11, 28, 8, tzinfo=UTC), True),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), True),
    ],
)
def test_a_date_is_the_first_instant_that_it_can_mean(text: str, start: datetime, has_time: bool) -> None:
    moment = when(text)
    assert moment is not None
    assert (moment.start, moment.has_time, moment.text) == (start, has_time, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "unknown",
        "28.11.2025",
        "20251128",
        "2025-W48-5",
        "2025-13-01",
        "2025-02-30",
        "2025-11-28T25:00:00Z",
        "2025-11-28+01:00",
        "２０２５",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31",
    ],
)
def test_what_is_no_readable_fhir_date_is_none(text: str | None) -> None:
    assert when(text) is None


def test_the_day_on_a_card_is_the_senders_day() -> None:
    moment = when("2025-11-28T23:30:00-05:00")
    assert moment is not None
    assert moment.day == "2025-11-28"


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.{0,20}", fullmatch=True))
def test_no_text_can_make_a_date_raise_or_overflow(text: str) -> None:
    moment = when(text)
    if moment is not None:
        assert moment.start.tzinfo is UTC
        assert moment.start - timedelta(days=365) < moment.start < moment.start + timedelta(days=365)


@pytest.mark.parametrize(
    ("end", "over"),
    [
        ("2025-11-30", True),
        ("2025-12-01", False),
        ("2025-12", False),
        ("2025-11", True),
        ("2025", False),
        ("2024", True),
        ("2025-12-01T08:59:59Z", True),
        ("2025-12-01T09:00:01Z", False),
        (None, False),
        ("soon", False),
    ],
)
def test_a_period_lasts_to_the_end_of_the_day_month_or_year_that_it_names(end: str | None, over: bool) -> None:
    assert ended(end, NOW) is over
