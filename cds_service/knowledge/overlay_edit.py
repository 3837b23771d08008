"""Write changed numbers into a copy of a site's overlay, which keeps its comments and everything else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge.knowledge_checks import ENGINEERING
from cds_service.knowledge.overlay import CARD
from cds_service.knowledge.site_numbers import SiteNumber, Value
from cds_service.knowledge.thresholds import FILE as THRESHOLDS

_WIDTH = 129  # characters of a line


def write_candidate(folder: Path, overlay: Path | None, changes: Mapping[SiteNumber, Value], cards: Path | None = None) -> None:
    """Write the site's overlay with `changes` into `folder`, which must not exist. `cards`: None for the shipped ones.

    A changed number has the source `engineering`: its old source does not say the new number. Raises KnowledgeError, OSError.
    """
    if overlay is not None:
        shutil.copytree(overlay, folder)
    else:
        folder.mkdir(parents=True)
    for file in sorted({one.file for one in changes}):
        _edit(folder / file, file, ((one, value) for one, value in changes.items() if one.file == file), cards or cards_dir())


def _edit(path: Path, file: str, changes: Iterable[tuple[SiteNumber, Value]], cards: Path) -> None:
    yaml = YAML()
    yaml.width = _WIDTH
    content: Any = (yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}
    if file.endswith(f"/{CARD}") and "written_for" not in content:
        content["written_for"] = YamlFile(cards / file, f"cards/{file}").data["version"]
    for one, value in changes:
        place = content
        for key in one.keys[:-1]:
            place = place.setdefault(key, {})
        place[one.keys[-1]] = float(value) if isinstance(value, Decimal) else value
        if one.source:
            entry = _entry(content, one)
            entry["source"] = [ENGINEERING] if file == THRESHOLDS else list(dict.fromkeys([*one.source, ENGINEERING]))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = StringIO()
    yaml.dump(content, text)
    path.write_text(text.getvalue(), encoding="utf-8")


def _entry(content: Any, one: SiteNumber) -> Any:
    """Return the mapping of the threshold or criterion that a number belongs to."""
    depth = 2 if one.keys[0] == "criteria" else 1
    for key in one.keys[:depth]:
        content = content[key]
    return content
