"""Keep a spreadsheet from running a cell of CSV as a formula."""

from __future__ import annotations

from typing import Any

# OWASP ASVS 5.0, 1.2.10, and the wide forms of the signs that some spreadsheets take for the narrow ones.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")


def safe_cell(value: Any) -> Any:
    """Return the value; a text that would be a formula with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
