"""Change the shipped cards at random: a number, a card's table, a value set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.site_knowledge import load_knowledge
from cds_service.settings import Settings

_VALUE = re.compile(r"^  value: ([0-9.]+)$", re.MULTILINE)
_OFTEN_ASKED = "value_sets/problems/muscle_cramp.yaml"  # by most cards
_FREQUENT = ("I10", "J32.9", "M17.9", "E11.9", "K21.9", "E78.5", "J45.909")  # diagnoses of ordinary charts


def number(folder: Path, chance: Random) -> None:
    """Move one threshold."""
    path = folder / "thresholds.yaml"
    text = path.read_text()
    found = chance.choice(list(_VALUE.finditer(text)))
    digits = len(found[1].partition(".")[2])
    moved = f"{float(found[1]) * chance.choice([0.5, 0.8, 0.9, 1.1, 1.25, 2]):.{digits}f}"
    path.write_text(text[: found.start(1)] + moved + text[found.end(1) :])


def table(folder: Path, chance: Random) -> None:
    """Change a card's table: two rows in the other order, a condition less, a row less, or another repeat rule."""
    path = chance.choice(sorted(folder.glob("*/card.yaml")))
    card: dict[str, Any] = yaml.safe_load(path.read_text())
    rows: list[dict[str, Any]] = card["table"]
    place = chance.randrange(len(rows))
    match chance.choice(["order", "when", "unless", "row", "fire_when"]):
        case "order":
            rows[place], rows[place - 1] = rows[place - 1], rows[place]
        case "row" if len(rows) > 1:
            del rows[place]
        case "fire_when" if card.get("fire_when"):
            card["fire_when"] = card["fire_when"][:-1]
        case name:
            rows[place].pop(name, None)
    path.write_text(yaml.safe_dump(card, sort_keys=False))


def value_set(folder: Path, chance: Random) -> None:
    """Change a value set: a code less, a diagnosis of many charts more, or a drug of another class more."""
    match chance.choice(["less", "diagnosis", "drug"]):
        case "less":
            _less(folder, chance)
        case "diagnosis":
            path = chance.choice([folder / _OFTEN_ASKED, chance.choice(sorted(folder.glob("value_sets/problems/*.yaml")))])
            content = yaml.safe_load(path.read_text())
            for code in chance.sample(_FREQUENT, 2):
                content["codes"].append({"system": "icd10", "code": code, "match": "exact", "source": "a test"})
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        case _:
            path, other = chance.sample(sorted(folder.glob("value_sets/drugs/*.yaml")), 2)
            content = yaml.safe_load(path.read_text())
            content["ingredients"].append(chance.choice(yaml.safe_load(other.read_text())["ingredients"]))
            path.write_text(yaml.safe_dump(content, sort_keys=False))


def _less(folder: Path, chance: Random) -> None:
    path = chance.choice(sorted(folder.glob("value_sets/*/*.yaml")))
    content = yaml.safe_load(path.read_text())
    lists = [one for one in _lists(content) if len(one) > 1]
    if lists:
        chosen = chance.choice(lists)
        del chosen[chance.randrange(len(chosen))]
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _lists(content: Any) -> Iterator[list[Any]]:
    if isinstance(content, list):
        yield content
    for one in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _lists(one)


def changed(folder: Path, change: Callable[[Path, Random], None], wanted: int, base: Knowledge) -> list[Knowledge]:
    """Return `wanted` different knowledge sets; changes that the checks of the cards refuse are drawn anew."""
    made: dict[str, Knowledge] = {}
    for seed in range(wanted * 50):
        place = folder / f"{change.__name__}-{seed}"
        shutil.copytree(cards_dir(), place)
        change(place, Random(seed))
        settings = Settings(cards_dir=place, log_path=folder / "alerts.sqlite3")
        try:
            known = load_knowledge(settings)
        except KnowledgeError:
            continue
        finally:
            shutil.rmtree(place)
        if known.hash != base.hash:
            made.setdefault(known.hash, known)
        if len(made) == wanted:
            break
    assert len(made) == wanted
    return list(made.values())
