"""Keep `cards/versions.lock`, so that no card's content changes without a new version.

The lock holds a hash of the content of each card: its file without `version`, `history` and the review dates, and what it takes
from the shared files: criteria, orders, override reasons, links. The codes of the value sets are not part of it; the alert log
has a hash of them. Comments and layout do not count, nor whether a text or criterion writes a number itself or by its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.knowledge.card_file import File, Text
from cds_service.knowledge.card_texts import content_with_numbers
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.thresholds import resolved

LOCK = "versions.lock"
_SHOWN_AS = f"cards/{LOCK}"
_WRITE = "run `cds-service cards lock`"
_NO_CONTENT = ("version", "history", "reviewed_on", "review_due", "length")
_LIFE = ("draft", "active", "retired")
_HEAD = """\
# Made by `cds-service cards lock`: the content that each card version stands for. Don't edit; `cards check` compares.
"""


class Locked(File, frozen=True, kw_only=True):
    """Hold the entry of one card in the lock."""

    version: Text
    status: Literal["draft", "active", "retired"]
    content: Text  # SHA-256, hexadecimal


def contents(folder: Path, knowledge: Knowledge) -> dict[str, str]:
    """Return the hash (SHA-256, hexadecimal) of each card's content in `folder` (`cards/`), by card id.

    Raises KnowledgeError.
    """
    shared = {name: YamlFile(folder / name, f"cards/{name}").data for name in ("criteria.yaml", "orders.yaml")}
    return {card.id: _content(folder, card, knowledge, shared) for card in knowledge.cards}


def _content(folder: Path, card: Card, knowledge: Knowledge, shared: Mapping[str, Mapping[str, Any]]) -> str:
    own = YamlFile(folder / card.id / "card.yaml", f"cards/{card.id}/card.yaml").data
    orders = [action.resource for item in card.suggestions for action in item.actions if action.resource]
    written = {name: value for name, value in own.items() if name not in _NO_CONTENT}
    if "criteria" in written:
        written["criteria"] = {name: resolved(body, knowledge.thresholds) for name, body in own["criteria"].items()}
    common = {name: shared["criteria.yaml"].get(name) for name in card.criteria}  # its own criteria are in the card file
    content = {
        "card": content_with_numbers(written, knowledge.criteria, shared["orders.yaml"]),
        "criteria": {name: body and resolved(body, knowledge.thresholds) for name, body in common.items()},
        "orders": {name: shared["orders.yaml"][name] for name in orders},
        "overrides": {name: knowledge.overrides[name].display for name in card.file.overrides},
        "links": [(knowledge.sources[name].title, knowledge.sources[name].url) for name in card.file.links],
    }
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def lock_problems(folder: Path, knowledge: Knowledge) -> list[Problem]:
    """Return what is wrong with the versions and the lock, with what to do."""
    if not (folder / LOCK).exists():
        return [*_history_problems(folder, knowledge), Problem(_SHOWN_AS, 1, "", f"is missing; {_WRITE}")]
    locked = _read(folder)
    problems = version_problems(folder, knowledge)
    at_fault = {problem.file for problem in problems}
    for card in knowledge.cards:
        if f"cards/{card.id}/card.yaml" in at_fault:
            continue
        before = locked.get(card.id)
        if before is None or before.version != card.file.version:
            now = f"{card.id} {card.file.version}"
            problems.append(Problem(_SHOWN_AS, 1, card.id, f"has no entry for {now}; {_WRITE}"))
    gone = sorted(set(locked) - {card.id for card in knowledge.cards})
    return problems + [Problem(_SHOWN_AS, 1, name, f"names a card that has no folder; {_WRITE}") for name in gone]


def version_problems(folder: Path, knowledge: Knowledge) -> list[Problem]:
    """Return cards whose content, status or version changed without a matching version or history."""
    locked = _read(folder) if (folder / LOCK).exists() else {}
    content = contents(folder, knowledge)
    problems = _history_problems(folder, knowledge)
    for card in knowledge.cards:
        if (before := locked.get(card.id)) is not None:
            file = YamlFile(folder / card.id / "card.yaml", f"cards/{card.id}/card.yaml")
            problems += [file.problem((field,), text) for field, text in _wrong(card, before, content[card.id])]
    return problems


def _wrong(card: Card, before: Locked, content: str) -> Iterator[tuple[str, str]]:
    file = card.file
    if _LIFE.index(file.status) < _LIFE.index(before.status):
        yield (
            "status",
            f"was {before.status} and can't become {file.status}: a card goes draft, active, retired; start a card with a new id",
        )
    if _number(file.version) < _number(before.version):
        yield "version", f"is lower than {before.version}, the version in the lock; raise it"
    elif file.version == before.version and content != before.content:
        yield (
            "version",
            f"the content changed (here, or in a criterion, order, override reason or link that it takes from a shared file) and "
            f"the version is still {file.version}; raise it, add a line to `history`, then {_WRITE}",
        )


def _history_problems(folder: Path, knowledge: Knowledge) -> list[Problem]:
    problems: list[Problem] = []
    for card in knowledge.cards:
        file = card.file
        versions = [change.version for change in file.history]
        if file.version not in versions:
            source = YamlFile(folder / card.id / "card.yaml", f"cards/{card.id}/card.yaml")
            message = f"has no line for version {file.version}: say what changed, who is affected, since when, which source"
            problems.append(source.problem(("history",), message))
        elif versions[0] != file.version or sorted(set(versions), key=_number, reverse=True) != versions:
            source = YamlFile(folder / card.id / "card.yaml", f"cards/{card.id}/card.yaml")
            problems.append(source.problem(("history",), "must begin with the newest version, and name each version once"))
    return problems


def write_lock(folder: Path, knowledge: Knowledge) -> None:
    """Write the lock for the cards as they are.

    Raises KnowledgeError, and writes nothing, where `version_problems` finds any.
    """
    if problems := version_problems(folder, knowledge):
        raise KnowledgeError(problems)
    content = contents(folder, knowledge)
    lines = [
        f"{card.id}: {{version: {card.file.version}, status: {card.file.status}, content: {content[card.id]}}}\n"
        for card in sorted(knowledge.cards, key=lambda one: one.id)
    ]
    (folder / LOCK).write_text(_HEAD + "".join(lines), encoding="utf-8")


def _read(folder: Path) -> dict[str, Locked]:
    file = YamlFile(folder / LOCK, _SHOWN_AS)
    cards = file.convert(dict[str, object], file.data)
    return {name: file.convert(Locked, card, (name,)) for name, card in cards.items()}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
