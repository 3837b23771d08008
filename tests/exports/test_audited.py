"""Nothing is handed out that the audit does not have."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cds_service.access.audit import AuditError
from cds_service.exports.audited import audited


class Entries:
    """An audit that fails at one of its entries."""

    def __init__(self, fails_at: int = 0) -> None:
        self.written: list[tuple[str, dict[str, Any]]] = []
        self._fails_at = fails_at
        self._tried = 0

    def __call__(self, action: str, detail: Mapping[str, Any]) -> None:
        self._tried += 1
        if self._tried == self._fails_at:
            raise AuditError("The audit can't be written")
        self.written.append((action, dict(detail)))


def chunks() -> Iterator[tuple[bytes, int]]:
    yield from ((b"one\n", 1), (b"two\nthree\n", 2), (b"four\n", 1), (b"", 0))


WHOLE = b"one\ntwo\nthree\nfour\n"


def until_it_ends(pieces: Iterator[bytes]) -> tuple[bytes, bool]:
    """What came before an AuditError, and whether one came."""
    got = []
    try:
        for piece in pieces:
            got.append(piece)  # noqa: PERF402 - what came before the error
    except AuditError:
        return b"".join(got), True
    return b"".join(got), False


def test_both_entries_are_there_with_rows_and_hash() -> None:
    entries = Entries()

    assert b"".join(audited(chunks(), entries, {"format": "csv"})) == WHOLE
    assert entries.written == [
        ("export", {"format": "csv"}),
        (
            "export finished",
            {"format": "csv", "rows": 4, "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest()},
        ),
    ]


def test_without_the_first_entry_nothing_is_read_or_handed_out() -> None:
    def never() -> Iterator[tuple[bytes, int]]:
        pytest.fail("the log was read")
        yield b"", 0

    with pytest.raises(AuditError):
        audited(never(), Entries(fails_at=1), {})


def test_without_the_last_entry_the_export_breaks_off() -> None:
    got, ended = until_it_ends(audited(chunks(), Entries(fails_at=2), {}))

    assert ended
    assert got == b"one\ntwo\nthree\n", "the last chunk waits, also where an empty one follows it"


def test_an_export_that_ends_early_has_an_entry_of_how_far_it_came() -> None:
    entries = Entries()
    pieces = audited(chunks(), entries, {})
    next(pieces)
    pieces.close()

    action, detail = entries.written[-1]
    assert (action, detail["bytes"]) == ("export broken off", len(b"one\n"))


def test_a_fault_while_reading_is_entered_and_raised() -> None:
    def breaks() -> Iterator[tuple[bytes, int]]:
        yield b"one\n", 1
        raise OSError("gone")

    entries = Entries()
    with pytest.raises(OSError, match="gone"):
        list(audited(breaks(), entries, {}))

    assert [action for action, _ in entries.written] == ["export", "export broken off"]
