"""Cards, value sets and samples read once in a test process: reading them takes longer than most tests."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import YamlFile
from cds_service.knowledge.knowledge import Knowledge, ShadowRule, unless_active
from cds_service.knowledge.loader import read_knowledge
from cds_service.terminology.terminology import Terminology
from cds_service.terminology.value_sets import read
from tests.core import knowledge
from tests.reading import terminology

READERS = ("terminology", "problem_names", "drug_tables")  # the modules that read value set files


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Let all share the shipped knowledge, and files of the same content what was made of them; of YAML each has its own copy."""
    value_sets, cards, known = terminology(), cards_dir(), knowledge()
    load_value_sets, read_yaml = Terminology.load, YamlFile._read
    texts: dict[str, bytes] = {}
    kept: dict[tuple[bytes, str, type[Any]], Any] = {}

    def copied(file: YamlFile) -> Any:
        if file._text not in texts:
            texts[file._text] = pickle.dumps(read_yaml(file))
        return pickle.loads(texts[file._text])  # noqa: S301 - written above

    def shared_file(folder: Path, name: str, shape: type[Any]) -> Any:
        if not (folder / name).is_file():
            return read(folder, name, shape)
        key = ((folder / name).read_bytes(), name, shape)
        if key not in kept:
            kept[key] = read(folder, name, shape)
        return kept[key]

    def shared_value_sets(folder: Path, rxnorm_file: Path | None = None) -> Terminology:
        shipped = folder == cards / "value_sets" and (rxnorm_file is None or not rxnorm_file.exists())
        return value_sets if shipped else load_value_sets(folder, rxnorm_file)

    def shared_cards(
        folder: Path, terms: Terminology, overlay: Path | None = None, shadow: ShadowRule = unless_active
    ) -> Knowledge:
        shipped = folder == cards and terms is value_sets and overlay is None and shadow is unless_active
        return known if shipped else read_knowledge(folder, terms, overlay, shadow)

    for module in READERS:
        patch.setattr(f"cds_service.terminology.{module}.read", shared_file)
    patch.setattr(YamlFile, "_read", copied)
    patch.setattr(Terminology, "load", shared_value_sets)
    patch.setattr("cds_service.knowledge.site_knowledge.read_knowledge", shared_cards)
