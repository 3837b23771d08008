"""Filters: read from URLs, written into them, refused by name."""

from __future__ import annotations

import pytest

from cds_service.rollups.filter import FIELDS, Filter, FilterError

TODAY = 20261127


@pytest.mark.parametrize(
    "query",
    [
        [],
        [("days", "28")],
        [("from", "2026-09-01"), ("to", "2026-09-30")],
        [("from", "2026-09-01"), ("card", "quinine-avoid"), ("card", "baclofen-safety"), ("response", "none")],
        [("days", "1"), ("user", "k1:" + "ab" * 16), ("row", "0"), ("ms_from", "100"), ("repeated", "yes")],
        [("reason", ""), ("instance", "a b&c=d")],
    ],
)
def test_a_url_gives_a_filter_that_gives_the_url(query: list[tuple[str, str]]) -> None:
    chosen = Filter.from_query(query, TODAY)
    assert sorted(chosen.query()) == sorted(query)
    assert Filter.from_query(chosen.query(), TODAY) == chosen


def test_days_are_counted_back_from_today_and_move_with_it() -> None:
    chosen = Filter.from_query({"days": "28"}, TODAY)
    assert (chosen.since, chosen.until) == (20261031, 20261127)
    assert Filter.from_query({}, TODAY, days=2).query() == [("days", "2")]
    assert Filter.from_query({"from": "2026-01-05"}, TODAY, days=2).since == 20260105
    assert Filter().last(1, TODAY) == Filter(TODAY, TODAY, 1)
    assert chosen.between(20260101, None).query() == [("from", "2026-01-01")]


def test_parameters_of_the_page_are_left_to_it_and_empty_ones_count_as_not_given() -> None:
    chosen = Filter.from_query([("before", "x"), ("card", ""), ("hook", "order-sign")], TODAY, other=("before",))
    assert chosen == Filter.of(hook="order-sign")


def test_values_are_changed_by_name() -> None:
    chosen = Filter.of(card="a", hook=("x", "y"))
    assert (chosen["card"], chosen["hook"], chosen["mode"]) == (("a",), ("x", "y"), ())
    assert chosen.without("hook").with_values("card", "b") == Filter.of(card="b")
    assert chosen.with_values("card").names == {"hook"}
    with pytest.raises(FilterError):
        chosen.with_values("colour", "red")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"from": "September"}, "from must be a date, such as 2026-09-01"),
        ({"to": "2026-02-30"}, "to must be a date"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from must not be after to"),
        ({"days": "0"}, "days must be a whole number from 1 to 3660"),
        ({"days": "9999"}, "days must be a whole number"),
        ({"user": "Dr Jones"}, "user must be 32 hexadecimal digits"),
        ({"row": "first"}, "row must be a whole number"),
        ({"repeated": "maybe"}, "repeated must be yes or no"),
        ({"colour": "CANARY"}, "there is no such filter"),
        ({"card": "x" * 1_001}, "card must be a text"),
    ],
)
def test_what_can_not_be_read_is_named_and_not_repeated(query: dict[str, str], said: str) -> None:
    with pytest.raises(FilterError, match=said) as caught:
        Filter.from_query(query, TODAY)
    assert not any(value in str(caught.value) for value in query.values() if len(value) > 4 and value != "2026-02-01")


def test_every_field_has_a_kind_that_takes_something() -> None:
    examples = {"NAME": "a", "NUMBER": "3", "YES_NO": "no", "KEY": "0" * 32, "UUID": "c-1"}
    for name, kind in FIELDS.items():
        assert Filter().with_values(name, examples[kind.name])[name]
