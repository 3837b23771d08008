"""The table of requirements: `tests/conformance.yaml` as data, and the page that is written from it (`make conformance`)."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge.card_file import File, Text

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "cds_service" / "docs" / "conformance.md"
TITLES = {"cds-hooks_2.0": "CDS Hooks 2.0", "cds-hooks-library_1.0.1": "Hook library 1.0.1"}


class Requirement(File, frozen=True, kw_only=True):
    """One row: either `test` or `not_applicable`."""

    level: Literal["SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "MAY", "DEPRECATED"]
    says: Text  # in our own words
    test: Annotated[list[Text], msgspec.Meta(min_length=1)] | None = None  # pytest node ids
    not_applicable: str = ""  # why


Table = dict[str, dict[int, Requirement]]


def load_table() -> Table:
    """The rows by list and number. Raises KnowledgeError."""
    file = YamlFile(Path(__file__).with_name("conformance.yaml"), "tests/conformance.yaml")
    return {
        name: {int(number): file.convert(Requirement, row, (name, str(number))) for number, row in rows.items()}
        for name, rows in file.data.items()
    }


def test_nodes() -> set[str]:
    """The node ids of all test functions, without parameters."""
    return {
        f"{path.relative_to(ROOT).as_posix()}::{node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


test_nodes.__test__ = False  # type: ignore[attr-defined]  # it is no test


def table_problems(table: Table, nodes: set[str]) -> Iterator[str]:
    """Rows that say nothing, or too much, and tests that do not exist."""
    for name, rows in table.items():
        for number, row in rows.items():
            at = f"{name}@{number}"
            if bool(row.test) == bool(row.not_applicable):
                yield f"{at} must have a test or a reason why it does not apply"
            yield from (f"{at}: there is no test {node}" for node in row.test or () if node not in nodes)


def page(table: Table) -> str:
    """The table as Markdown."""
    lines = [
        "# Conformance to CDS Hooks",
        "",
        "Every requirement on a service in the itemised lists of CDS Hooks 2.0 and of its hook library (made for the Inferno Da",
        "Vinci CRD test kit), in our words, with the test that shows that it is kept or the reason why it does not apply.",
        "Written from `tests/conformance.yaml` by `make conformance`; a test fails where a row, a test or this page is missing.",
    ]
    for name, rows in table.items():
        kinds = Counter("tested" if row.test else "not applicable" for row in rows.values())
        count = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        lines += ["", f"## {TITLES[name]}", "", f"{len(rows)} requirements: {count}.", ""]
        lines += ["| id | level | requirement | shown by |", "|---|---|---|---|"]
        lines += [f"| {number} | {row.level} | {row.says} | {_shown_by(row)} |" for number, row in rows.items()]
    return "\n".join(lines) + "\n"


def _shown_by(row: Requirement) -> str:
    if row.test:
        return "<br>".join(f"`{node.removeprefix('tests/')}`" for node in row.test)
    return f"does not apply: {row.not_applicable}"


def main() -> int:
    """Writes the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(load_table()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
