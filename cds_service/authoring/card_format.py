"""Format card files in one layout, so that a diff shows only what changed.

Rows, paragraphs and passages are in block style, one field a line; what is too long for one line is folded or put in block style.
Comments, quotes, the order of names and the content stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import FoldedScalarString

from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile

WIDTH = 129  # characters of a line
_IN_BLOCKS = ("table", "detail", "page")  # lists of which each item is opened
_SHARED = ("criteria.yaml", "thresholds.yaml", "engineering.yaml")
_INDENT = 2
_FAR_COMMENT = re.compile(
    r"^( *[\w-]+:) {2,}(?=# )", re.MULTILINE
)  # after a value that was on one line before it was put in block style
_ITEM_COMMENT = re.compile(r"^( *)(- \{.*\}) +(# .*)$", re.MULTILINE)  # moved above its item, which may become a block
_FOLDABLE = re.compile(r"\S+( \S+)*")  # words with single spaces between them: folding changes nothing else


def card_files(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` (`cards/`) that have this layout."""
    yield from (folder / name for name in _SHARED if (folder / name).exists())
    yield from sorted(folder.glob("*/card.yaml"))


def format_cards(folder: Path, *, write: bool) -> list[Problem]:
    """Format all card files; without `write` only report which would change.

    Raises KnowledgeError for a file that is not YAML, or whose content would change; such a file is not written.
    """
    problems: list[Problem] = []
    for path in card_files(folder):
        shown_as = f"cards/{path.relative_to(folder).as_posix()}"
        before = YamlFile(path, shown_as)
        text = path.read_text(encoding="utf-8")
        laid_out = formatted(text)
        if not write:
            long = (number for number, line in enumerate(laid_out.splitlines(), 1) if len(line) > WIDTH)
            problems += [Problem(shown_as, number, "", f"is longer than {WIDTH} characters; break it") for number in long]
        if laid_out == text:
            continue
        if not write:
            line = next((number for number, (old, new) in enumerate(_lines(text, laid_out), 1) if old != new), 1)
            problems.append(Problem(shown_as, line, "", "is not formatted; run `cds-service cards fmt`"))
            continue
        draft = path.with_suffix(".yaml.new")
        draft.write_text(laid_out, encoding="utf-8")
        if YamlFile(draft, shown_as).data != before.data:
            draft.unlink()
            raise KnowledgeError(
                [Problem(shown_as, 1, "", "can't be formatted without changing its content; write it more simply")]
            )
        draft.replace(path)
    return problems


def _lines(one: str, other: str) -> Iterator[tuple[str, str]]:
    left, right = one.splitlines(), other.splitlines()
    longest = max(len(left), len(right))
    return zip(left + [""] * (longest - len(left)), right + [""] * (longest - len(right)), strict=True)


def formatted(text: str) -> str:
    """Return `text`, the content of a card file, formatted; formatted text stays as it is."""
    data = _yaml().load(_ITEM_COMMENT.sub(r"\1\3\n\1\2", text))
    if isinstance(data, CommentedMap):
        for entry in data.values():
            if isinstance(entry, CommentedMap) and "since" in entry:  # a threshold
                entry.fa.set_block_style()
        for name in _IN_BLOCKS:
            for item in data.get(name) or ():
                if isinstance(item, CommentedMap):
                    item.fa.set_block_style()
        _open(data, 0)
    return _FAR_COMMENT.sub(r"\1 ", _dumped(data, WIDTH))


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.indent(mapping=_INDENT, sequence=2 * _INDENT, offset=_INDENT)
    return yaml


def _dumped(data: Any, width: int) -> str:
    yaml = _yaml()
    yaml.width = width
    out = StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _open(node: Any, indent: int) -> None:
    """Fold texts, and put flow collections in block style, that are too long for a line.

    `node` is a block collection that begins at column `indent`.
    """
    in_map = isinstance(node, CommentedMap)
    for key, value in list(node.items() if in_map else enumerate(node)):
        room = WIDTH - indent - (len(str(key)) + 2 if in_map else 2 * _INDENT)
        below = indent + (_INDENT if in_map else 2 * _INDENT)
        if isinstance(value, str):
            if _FOLDABLE.fullmatch(value) and (isinstance(value, FoldedScalarString) or len(_dumped([value], 10_000)) - 5 > room):
                node[key] = _folded(value, WIDTH - below)
        elif isinstance(value, CommentedMap | CommentedSeq) and value:
            if value.fa.flow_style() and len(_dumped({"": value}, 10_000)) - 5 > room:
                value.fa.set_block_style()
            if not value.fa.flow_style():
                _open(value, below)


def _folded(text: str, width: int) -> Any:
    """Return `text` as a folded scalar with lines of at most `width` characters, broken between words."""
    folded: Any = FoldedScalarString(text)
    breaks: list[int] = []
    start = 0
    for match in re.finditer(" ", text):
        following = text.find(" ", match.end())
        if (following if following >= 0 else len(text)) - start > width:
            breaks.append(match.start())
            start = match.end()
    folded.fold_pos = breaks
    return folded
