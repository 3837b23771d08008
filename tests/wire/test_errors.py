"""The errors of the service: one status and one issue code each."""

from __future__ import annotations

import re

import msgspec

from cds_service.wire import errors
from cds_service.wire.errors import CdsError, new_trace, operation_outcome


def test_an_operation_outcome_has_one_issue_with_text_and_trace() -> None:
    assert msgspec.json.decode(operation_outcome("invalid", "`hook` is required", "0a")) == {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "invalid", "details": {"text": "`hook` is required"}, "diagnostics": "trace 0a"}],
    }


def test_every_error_has_a_status_and_an_issue_code_that_no_other_has() -> None:
    classes = CdsError.__subclasses__()
    assert len({(error.status, error.code) for error in classes}) == len(classes)
    for error in classes:
        assert 400 <= error.status < 600
        assert re.fullmatch("[a-z-]+", error.code)


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"[├└]── (\w+) +(\d+)  ([a-z-]+)", errors.__doc__ or "")
    real = [(error.__name__, str(error.status), error.code) for error in CdsError.__subclasses__()]
    assert sorted(drawn) == sorted(real)


def test_traces_differ() -> None:
    assert len({new_trace() for _ in range(1000)}) == 1000
