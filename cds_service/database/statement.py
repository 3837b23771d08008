"""Translate a statement with `:name` parameters for a driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

Dialect = Literal["sqlite", "postgres"]

# A text in quotes is left alone; `::` is no parameter.
_PARAMETER = re.compile(r"'(?:[^']|'')*'|(?<!:):([a-z_][a-z0-9_]*)")


def prepared(sql: str, parameters: Mapping[str, Any], dialect: Dialect) -> tuple[str, Mapping[str, Any]]:
    """Return the statement and its parameters as the driver of `dialect` takes them.

    A list or tuple stands for the list after `IN`: `IN :cards` with two of them becomes `IN (:cards_0, :cards_1)`. An empty one
    becomes `IN (NULL)`, which nothing is in.
    """
    lists = {name: len(value) for name, value in parameters.items() if isinstance(value, list | tuple)}
    if lists:
        flat = {name: value for name, value in parameters.items() if name not in lists}
        for name in lists:
            flat.update((f"{name}_{index}", value) for index, value in enumerate(parameters[name]))
        parameters = flat
    return _translated(sql, tuple(sorted(lists.items())), dialect), parameters


@lru_cache(maxsize=1024)
def _translated(sql: str, lists: tuple[tuple[str, int], ...], dialect: Dialect) -> str:
    lengths = dict(lists)

    def one(name: str) -> str:
        return f"%({name})s" if dialect == "postgres" else f":{name}"

    def found(match: re.Match[str]) -> str:
        name = match[1]
        if name is None or name not in lengths:
            return match[0] if name is None else one(name)
        return f"({', '.join(one(f'{name}_{index}') for index in range(lengths[name])) or 'NULL'})"

    return _PARAMETER.sub(found, sql.replace("%", "%%") if dialect == "postgres" else sql)
