"""Merge a site's overlay folder with `cards/`, which stays unchanged.

The overlay has files of the same names with only the differences. One rule for all of them: mappings merge by key; any other
value replaces the old one, lists as a whole; null removes a key. In place of a list, a mapping changes single items, by their
`id` or (cases) `name`, or by their number from 1 where they have neither.

The merge is done on parsed YAML, before anything is checked, so that the same loader checks merged knowledge, and an error names
the file in which the value was written.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.files.yaml_file import KnowledgeError, Place, Problem, YamlFile

CARD = "card.yaml"
CASES = "cases.yaml"
# A site may add names to these.
OPEN_FILES = ("criteria.yaml", "sources.yaml", "orders.yaml", "override_reasons.yaml", "thresholds.yaml")
_FIXED = {"id": "can't be changed", "version": "can't be changed; `written_for` says which version the overlay was written for"}


class Overlay:
    """The files of an overlay folder, read but not yet merged.

    `hash` is over all of its knowledge, not over cases. Raises KnowledgeError for files that are not YAML, and for files and
    folders whose names `cards/` does not have (`shared`: names of the shared files, `cards`: ids of the cards); hidden files and
    Markdown are left alone.
    """

    def __init__(self, folder: Path, shared: Iterable[str], cards: Iterable[str]) -> None:
        self._folder = folder
        self._files: dict[str, YamlFile] = {}
        self.added: list[tuple[str, YamlFile, str]] = []  # (file of `OPEN_FILES`, merged, name that only the overlay has)
        allowed = {*shared, *cards}
        problems: list[Problem] = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix == ".md":
                continue
            if path.name not in allowed or path.is_dir() != (path.name not in {*shared}):
                kind = "card" if path.is_dir() else "file"
                problems.append(Problem(f"overlay/{path.name}", 1, "", f"cards/ has no {kind}{_close(path, allowed)}"))
                continue
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                name = file.relative_to(folder).as_posix()
                if file.name.startswith(".") or file.suffix == ".md":
                    continue
                if path.is_dir() and file.name not in (CARD, CASES):
                    problems.append(Problem(f"overlay/{name}", 1, "", f"unknown name{suggestion(file.name, (CARD, CASES))}"))
                    continue
                try:
                    self._files[name] = YamlFile(file, f"overlay/{name}")
                except KnowledgeError as error:
                    problems.extend(error.problems)
        if problems:
            raise KnowledgeError(problems)
        self.hash = self.hash_of(name for name in self._files if not name.endswith(f"/{CASES}"))

    def hash_of(self, names: Iterable[str]) -> str:
        """Hash the named files ("orders.yaml", "quinine-avoid/card.yaml") of the overlay; "" where it has none."""
        present = [name for name in names if name in self._files]
        digest = hashlib.sha256()
        for name in present:
            digest.update(name.encode() + b"\0" + (self._folder / name).read_bytes() + b"\0")
        return digest.hexdigest() if present else ""

    def over(self, base: YamlFile, name: str) -> YamlFile:
        """Return `base`, the file `name` of `cards/`, merged with the overlay. Raises KnowledgeError."""
        site = self._files.get(name)
        if site is None:
            return base
        if isinstance(site.data, list) and name.endswith(f"/{CASES}"):
            return site
        if not isinstance(site.data, dict):
            raise KnowledgeError([site.problem((), "must be a mapping of what differs")])
        data = dict(site.data)
        if name.endswith(f"/{CARD}"):
            _check_card(base, site, data)
        merge = _Merge(base, site)
        result = merge.file(data)
        if merge.problems:
            raise KnowledgeError(merge.problems)
        if name in OPEN_FILES:
            self.added += [(name, result, str(key)) for key in data if key not in base.data]
        return result

    def own(self, name: str) -> YamlFile | None:
        """Return the file `name` of the overlay unmerged; None where it has none."""
        return self._files.get(name)

    def unused(self, used: Mapping[str, set[str]]) -> list[Problem]:
        """Return an error for each added name that no card uses: most are misspelt. `used`: by file of `OPEN_FILES`."""
        return [
            file.problem((key,), f"unknown name{suggestion(key, used[name])} (a new one must be used by a card)")
            for name, file, key in self.added
            if key not in used[name]
        ]


def _check_card(base: YamlFile, site: YamlFile, data: dict[Any, Any]) -> None:
    """Check `written_for` and the fixed keys of a changed card, and take `written_for` out of `data`."""
    problems = [site.problem((key,), why) for key, why in _FIXED.items() if key in data]
    version = base.data.get("version") if isinstance(base.data, dict) else None
    written_for = data.pop("written_for", None)
    if written_for is None:
        problems.append(
            site.problem((), f"does not say which version of the card it was written for; add `written_for: {version}`")
        )
    elif written_for != version:
        message = f"the card is now version {version}; check what changed and whether this overlay still fits, then change this"
        problems.append(site.problem(("written_for",), message))
    if problems:
        raise KnowledgeError(problems)


def _close(path: Path, allowed: set[str]) -> str:
    return suggestion(path.name, (name for name in allowed if name.endswith(".yaml") != path.is_dir()))


def _name(item: Any, number: int) -> Any:
    """Return the name of a list item in an overlay."""
    return item.get("id", item.get("name", number)) if isinstance(item, dict) else number


class _Merge:
    """One merge of two files. `base` and `site` keys lead to a value in those files, `out` keys to it in the result."""

    def __init__(self, base: YamlFile, site: YamlFile) -> None:
        self.base = base
        self.site = site
        self.problems: list[Problem] = []
        self.result = copy.copy(base)

    def file(self, data: dict[Any, Any]) -> YamlFile:
        self.result.places = {(): self.base.places.get((), self._place(()))}
        self.result.data = self._value(self.base.data, data, (), (), ())
        return self.result

    def _value(self, old: Any, new: Any, base: Keys, site: Keys, out: Keys) -> Any:
        if isinstance(new, dict) and isinstance(old, dict):
            self.result.places[out] = self._place(site)
            return self._mapping(old, new, base, site, out)
        if isinstance(new, dict) and isinstance(old, list):
            self.result.places[out] = self._place(site)
            return self._items(old, new, base, site, out)
        self._take(self.site, site, out)
        return new

    def _mapping(self, old: dict[Any, Any], new: dict[Any, Any], base: Keys, site: Keys, out: Keys) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        for key, value in old.items():
            name = str(key)
            if key not in new:
                self._take(self.base, (*base, name), (*out, name))
                merged[key] = value
            elif new[key] is None:
                self.result.places[*out, name] = self._place((*site, name))
            else:
                merged[key] = self._value(value, new[key], (*base, name), (*site, name), (*out, name))
        for key, value in new.items():
            name = str(key)
            if key not in old and value is None:
                message = f"can't be removed: unknown name{suggestion(name, map(str, old))}"
                self.problems.append(self.site.problem((*site, name), message))
            elif key not in old:
                self._take(self.site, (*site, name), (*out, name))
                merged[key] = value
        return merged

    def _items(self, old: list[Any], new: dict[Any, Any], base: Keys, site: Keys, out: Keys) -> list[Any]:
        """Change single items of a list; numbers count in the list of `cards/`."""
        names = [_name(item, number) for number, item in enumerate(old, 1)]
        for key in new:
            if key not in names:
                message = f"unknown item{suggestion(str(key), map(str, names))}"
                self.problems.append(self.site.problem((*site, str(key)), message))
        merged: list[Any] = []
        for position, (name, value) in enumerate(zip(names, old, strict=True)):
            if name not in new:
                self._take(self.base, (*base, position), (*out, len(merged)))
                merged.append(value)
            elif new[name] is not None:
                here: Keys = (*out, len(merged))
                merged.append(self._value(value, new[name], (*base, position), (*site, str(name)), here))
        return merged

    def _place(self, keys: Keys) -> Place:
        """Return the place in the site's file; its first line for keys that YAML rewrites (`<<`, 0x1)."""
        return self.site.places.get(keys, Place(self.site.shown_as, 1, keys))

    def _take(self, file: YamlFile, keys: Keys, out: Keys) -> None:
        """Note the places of a value that is taken from `file` unchanged."""
        for at, place in file.places.items():
            if at[: len(keys)] == keys:
                self.result.places[*out, *at[len(keys) :]] = place
