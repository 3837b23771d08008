"""Define the result of one check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "warning", "FAIL"]


class Finding(msgspec.Struct, frozen=True):
    """Hold the result of one check.

    No text in it repeats a token or a body.
    """

    check: str
    level: Level
    found: str
    mend: str = ""  # what to change; empty where it is ok


def failed(findings: Iterable[Finding]) -> bool:
    """Return whether a check failed."""
    return any(one.level == "FAIL" for one in findings)
