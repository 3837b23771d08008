"""The parts of the documentation that are made from the program: `python -m tests.docs` (`make docs`) writes them anew.

Such a part stands between `<!-- generated: NAME -->` and `<!-- end -->`; `test_docs` fails where it is not what would be written.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from cds_service.access.reader import ROLES, Reader
from cds_service.cli.main import _parser
from cds_service.exports.columns import CARD_COLUMNS, EVALUATION_COLUMNS, FEEDBACK_COLUMNS
from cds_service.review.page import BASE
from cds_service.review.pages import PAGES as REVIEW_PAGES
from cds_service.secret_files import file_variable
from cds_service.settings import OPTIONS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("c*/**/*.md"), *ROOT.glob("fixtures/**/*.md")])
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """A table with a row for each setting."""
    rows = ["| variable | what it is | allowed | default |", "|---|---|---|---|"]
    for option in OPTIONS:
        default = {True: "yes", False: "no"}[option.default] if isinstance(option.default, bool) else option.default
        shown = "" if default in (None, "") else f"`{default}`"
        name = f"`{option.variable}` or `{file_variable(option.variable)}`" if option.secret else f"`{option.variable}`"
        rows.append(f"| {name} | {_cell(option.meaning)} | {_cell(option.allowed)} | {shown} |")
    return "\n".join(rows) + "\n"


def commands() -> str:
    """A table with a row for each command."""
    rows = ["| command | what it does |", "|---|---|"]
    rows += [f"| `{_cell(usage(parser))}` | {_cell(meaning)} |" for _, parser, meaning in every_command()]
    return "\n".join(rows) + "\n"


def roles() -> str:
    """A table with a row for each page and form of the review pages, and a column for each role."""
    rows = [f"| page | | {' | '.join(ROLES)} | of some clients |", "|---|---|" + "---|" * (len(ROLES) + 1)]
    for page in REVIEW_PAGES:
        for what, access in (("read", page.role), ("send", page.post_role)):
            if access is not None:
                cells = ["yes" if Reader("", frozenset({role})).may(access) else "" for role in ROLES]
                rows.append(f"| `{BASE}{page.path}` | {what} | {' | '.join(cells)} | {'yes' if page.scoped else ''} |")
    return "\n".join(rows) + "\n"


def columns() -> str:
    """Tables of the columns of exports."""
    parts = (
        ("Before the others in CSV of cards", FEEDBACK_COLUMNS),
        ("Of a card (CSV, NDJSON, Parquet)", CARD_COLUMNS),
        ("Of an evaluation (CSV, NDJSON, Parquet)", EVALUATION_COLUMNS),
    )
    lines: list[str] = []
    for title, named in parts:
        lines += [f"{title}:", "", "| column | kind | what it is |", "|---|---|---|"]
        lines += [f"| `{one.name}` | {one.kind} | {_cell(one.meaning)} |" for one in named] + [""]
    return "\n".join(lines[:-1]) + "\n"


GENERATED: dict[str, Callable[[], str]] = {"settings": settings, "commands": commands, "roles": roles, "columns": columns}


def every_command() -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """(its words, its parser, its help) of every command that does something, in the order of the help."""
    yield from _below("cds-service", _parser())


def _below(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            meanings = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, one in action.choices.items():
                inner = list(_below(f"{words} {name}", one))
                yield from inner or [(f"{words} {name}", one, meanings.get(name, ""))]


def usage(parser: argparse.ArgumentParser) -> str:
    """The command with its arguments on one line."""
    return " ".join(parser.format_usage().removeprefix("usage: ").replace("[-h] ", "").replace("[-h]", "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def updated(text: str) -> str:
    """`text` with every generated part made anew. Raises KeyError for the name of a part that nobody makes."""
    return _PART.sub(lambda match: match[1] + GENERATED[match[2]]() + match[3], text)


def main() -> None:
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = updated(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
