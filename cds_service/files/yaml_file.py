"""Read YAML files that people edit, with the line of every value.

By hand, because msgspec and Pydantic check values without knowing their lines.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import yaml

from cds_service.files.conversion_errors import Keys, explained

T = TypeVar("T")


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Load YAML with 1.2 booleans (`no` and `on` are words) and Decimal numbers (0.1 stays 0.1)."""

    def value(self, node: yaml.Node) -> Any:
        """Return the value of a node, and of those below it. Raises _DuplicateKeyError, yaml.MarkedYAMLError.

        PyYAML's own constructors, which this one asks for what is not plain, take three times as long.
        """
        if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT:
            return node.value
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self.value(one) for one in node.value]
        if not isinstance(node, yaml.MappingNode) or node.tag != _MAPPING:
            return self.construct_object(node, deep=True)
        if len({str(key.value) for key, _ in node.value}) < len(node.value):
            raise _DuplicateKeyError
        self.flatten_mapping(node)
        if strange := [key for key, _ in node.value if not isinstance(key, yaml.ScalarNode)]:
            raise yaml.constructor.ConstructorError(problem="a key that is no text", problem_mark=strange[0].start_mark)
        return {self.value(key): self.value(one) for key, one in node.value}


class _DuplicateKeyError(ValueError):
    """Raised for a mapping that has a key twice, of which YAML would keep the last."""


_TEXT, _SEQUENCE, _MAPPING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def _date(loader: _Loader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:
        raise yaml.constructor.ConstructorError(problem="a date that does not exist", problem_mark=node.start_mark) from None


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    try:
        return Decimal(loader.construct_scalar(node))
    except InvalidOperation:
        mark = node.start_mark
        raise yaml.constructor.ConstructorError(problem="no decimal number; put texts in quotes", problem_mark=mark) from None


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _date)
_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a knowledge file."""

    file: str
    line: int
    path: str  # for example "table[0].indicator"
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path or 'file'}: {self.message}"


class KnowledgeError(ValueError):
    """Raised for knowledge that can't be used; `problems` lists every mistake with file, line, path and a suggestion."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class Place(NamedTuple):
    """The file and line of a value; `keys` lead to it in that file."""

    file: str
    line: int
    keys: Keys


class YamlFile:
    """One parsed file.

    `data` is the content; `problem(keys, message)` makes an error that points at the line of the value at `keys`.
    Raises KnowledgeError where the file is missing, is not YAML, or names a key twice.
    """

    def __init__(self, path: Path, shown_as: str) -> None:
        self.shown_as = shown_as
        try:
            self._text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise KnowledgeError([Problem(shown_as, 1, "", f"cannot be read ({error.strerror})")]) from error
        except UnicodeDecodeError as error:
            raise KnowledgeError([Problem(shown_as, 1, "", "is not a text in UTF-8")]) from error
        self.data: Any = self._read()

    @cached_property
    def places(self) -> dict[Keys, Place]:
        """Return the place of every value; not all are in this file once an overlay was merged into it (see `overlay`).

        Found in a second reading, which only a file with a mistake needs.
        """
        places: dict[Keys, Place] = {}
        loader = _Loader(self._text)
        try:
            if (node := loader.get_single_node()) is not None:
                self._walk(node, (), places)
        finally:
            loader.dispose()
        return places

    def _read(self) -> Any:
        """Return the content, {} for an empty file. Raises KnowledgeError."""
        try:
            loader = _Loader(self._text)
            try:
                node = loader.get_single_node()
                return loader.value(node) if node is not None else {}
            finally:
                loader.dispose()
        except _DuplicateKeyError:
            self.places  # noqa: B018 - finds the key and raises
            raise
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise KnowledgeError([Problem(self.shown_as, line, "", f"is not YAML: {error.problem}")]) from error
        except yaml.YAMLError as error:
            raise KnowledgeError([Problem(self.shown_as, 1, "", "is not YAML: it holds control characters")]) from error

    def _walk(self, node: yaml.Node, keys: Keys, places: dict[Keys, Place]) -> None:
        """Add the places of a node and of those below it. Raises KnowledgeError where a key stands twice."""
        places[keys] = Place(self.shown_as, node.start_mark.line + 1, keys)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*keys, str(key.value))
                if below in places:
                    mark = key.start_mark.line + 1
                    raise KnowledgeError([Problem(self.shown_as, mark, _dotted(below), "stands here twice; keep one")])
                self._walk(value, below, places)
                places[below] = Place(self.shown_as, key.start_mark.line + 1, below)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self._walk(value, (*keys, position), places)

    def problem(self, keys: Keys, message: str) -> Problem:
        known = keys
        while known and known not in self.places:
            known = known[:-1]
        place = self.places.get(known, Place(self.shown_as, 1, ()))
        return Problem(place.file, place.line, _dotted((*place.keys, *keys[len(known) :])), message)

    def convert(self, kind: type[T], value: object, keys: Keys = ()) -> T:
        """Convert `value`, found at `keys`, to `kind`.

        Raises KnowledgeError with the line and, for a misspelt name, a suggestion.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            found = explained(error, kind, value)
            at, text = (*keys, *found.keys), found.text
            if found.missing and at in self.places:
                text = "is required and can't be removed"  # an overlay removed it
            elif found.missing:
                at = at[:-1]
            raise KnowledgeError([self.problem(at, text)]) from error


def _dotted(keys: Keys) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
