"""Hide small counts of a table, and as many others as keep them from being worked out.

A count from 1 to 10 may point to a person (the rule of the US Centers for Medicare & Medicaid Services for tables that are given
away). With the sums printed beside it, one hidden cell of a line is a subtraction away. Rows and columns are the nodes of a graph
and hidden cells its edges: a hidden cell can be computed exactly where its edge is a bridge, that is on no cycle (D. Gusfield,
A graph theoretic approach to statistical data security, SIAM J. Comput. 17, 1988). So cells are hidden until there is no bridge.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 11  # the smallest count that is shown, other than 0

Cell = tuple[int, int]  # row, column


def suppress(table: Sequence[Sequence[int]], *, column_sums: bool = True, least: int = LEAST) -> list[list[int | None]]:
    """Return the table with None for each cell that must not be shown.

    `table`: counts; the last cell of each row is the sum of the others, and with `column_sums` so is the last row. What is shown
    neither holds a count from 1 to `least - 1`, nor lets one be computed. A line whose sum is shown has hidden cells of at least
    `least` together, because two that add up to 2 are 1 each.

    Raises ValueError for a sum that is none.
    """
    _check(table, column_sums=column_sums)
    hidden = {(i, j) for i, row in enumerate(table) for j, count in enumerate(row) if 0 < count < least}
    while (more := _next(table, hidden, least, column_sums=column_sums)) is not None:
        hidden.add(more)
    return [[None if (i, j) in hidden else count for j, count in enumerate(row)] for i, row in enumerate(table)]


def suppress_list(counts: Sequence[int], *, least: int = LEAST) -> tuple[list[int | None], int | None]:
    """Return the counts and their sum, with None for what must not be shown; see `suppress`."""
    *shown, total = suppress([[*counts, sum(counts)]], column_sums=False, least=least)[0]
    return shown, total


def _check(table: Sequence[Sequence[int]], *, column_sums: bool) -> None:
    if any(row[-1] != sum(row[:-1]) for row in table):
        raise ValueError("the last cell of a row must be the sum of the others")
    if column_sums and any(column[-1] != sum(column[:-1]) for column in zip(*table, strict=True)):
        raise ValueError("the last row must be the sum of the others")


def _next(table: Sequence[Sequence[int]], hidden: set[Cell], least: int, *, column_sums: bool) -> Cell | None:
    """Return a further cell to hide, None where nothing hidden can be computed."""
    for cell in sorted(hidden):
        side = _reached(hidden - {cell}, cell[0], column_sums=column_sums)
        if _column(cell[1], column_sums=column_sums) not in side:  # a bridge
            return _smallest(table, hidden, [one for one in _cells(table) if _joins(one, side, column_sums=column_sums)])
    for line in _lines(table, column_sums=column_sums):
        inside = [one for one in line if one in hidden]
        if inside and line[-1] not in hidden and sum(table[i][j] for i, j in inside) < least:
            return _smallest(table, hidden, line)
    return None


def _reached(edges: set[Cell], row: int, *, column_sums: bool) -> set[tuple[str, int]]:
    """Return the rows and columns that hidden cells join to a row."""
    found, waiting = {("row", row)}, [("row", row)]
    while waiting:
        node = waiting.pop()
        for i, j in edges:
            ends = ("row", i), _column(j, column_sums=column_sums)
            if node in ends:
                new = set(ends) - found
                found |= new
                waiting += new
    return found


def _column(j: int, *, column_sums: bool) -> tuple[str, int]:
    """Return the node of a column. Columns without sums say nothing about their cells, so they are one node."""
    return ("column", j if column_sums else 0)


def _joins(cell: Cell, side: set[tuple[str, int]], *, column_sums: bool) -> bool:
    return (("row", cell[0]) in side) != (_column(cell[1], column_sums=column_sums) in side)


def _cells(table: Sequence[Sequence[int]]) -> list[Cell]:
    return [(i, j) for i, row in enumerate(table) for j in range(len(row))]


def _lines(table: Sequence[Sequence[int]], *, column_sums: bool) -> list[list[Cell]]:
    """Return the cells of each line that has a sum, which is its last cell."""
    height, width = len(table), len(table[0]) if table else 0
    rows = [[(i, j) for j in range(width)] for i in range(height)]
    return rows + ([[(i, j) for i in range(height)] for j in range(width)] if column_sums else [])


def _smallest(table: Sequence[Sequence[int]], hidden: set[Cell], cells: Sequence[Cell]) -> Cell | None:
    """Return the cell that costs the reader least: a count before a sum, a small one before a large one, 0 last."""

    def cost(cell: Cell) -> tuple[bool, int, int, Cell]:
        count = table[cell[0]][cell[1]]
        sums = (cell[0] == len(table) - 1) + (cell[1] == len(table[0]) - 1)
        return (count == 0, sums, count, cell)

    return min((one for one in cells if one not in hidden), key=cost, default=None)
