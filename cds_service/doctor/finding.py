"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "warning", "FAIL"]


class Finding(msgspec.Struct, frozen=True):
    """What one check found. No text of it repeats a token or a body."""

    check: str
    level: Level
    found: str
    mend: str = ""  # what to do; empty where it is ok


def failed(findings: Iterable[Finding]) -> bool:
    """Whether something has to be mended."""
    return any(one.level == "FAIL" for one in findings)
