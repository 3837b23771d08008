"""Every requirement has a test that exists, or a reason; the page says the same."""

from __future__ import annotations

import msgspec
import pytest

from tests.conformance_table import PAGE, Requirement, load_table, page, table_problems, test_nodes


def test_every_requirement_has_a_test_that_exists_or_a_reason() -> None:
    assert list(table_problems(load_table(), test_nodes())) == []


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(load_table()), "run `make conformance`"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "must have a test or a reason"),
        ({"test": ["tests/test_x.py::test_a"], "not_applicable": "because"}, "must have a test or a reason"),
        ({"test": ["tests/test_x.py::test_b"]}, "there is no test tests/test_x.py::test_b"),
    ],
)
def test_a_row_without_a_test_is_told(change: dict[str, object], message: str) -> None:
    row = msgspec.convert({"level": "SHALL", "says": "something", **change}, Requirement)
    (told,) = table_problems({"list": {7: row}}, {"tests/test_x.py::test_a"})
    assert told.startswith("list@7")
    assert message in told
