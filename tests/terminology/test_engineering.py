"""Numbers that no source gives stand in signed data: each is used, each can be changed by a site, a mistake is told."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

import cds_service
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.loader import read_knowledge
from cds_service.terminology.engineering import Engineering, read_engineering
from cds_service.terminology.terminology import Terminology
from tests.reading import terminology

PACKAGE = Path(cds_service.__file__).parent


def test_each_number_is_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "engineering.py")
    unused = [field.name for field in msgspec.structs.fields(Engineering) if f"engineering.{field.name}." not in code]
    assert unused == []


def test_no_clinical_span_of_time_stands_in_the_code() -> None:
    """Days and hours in the modules that read and decide come from data."""
    folders = ("read", "terminology", "criteria", "decide")
    clinical = [path for folder in folders for path in (PACKAGE / folder).glob("*.py")]
    assert len(clinical) > 30
    found = [
        f"{path.name}: {line.strip()}"
        for path in clinical
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"timedelta\(\w+=(?!1\))\d", line)  # a date without a time is a day long
    ]
    assert found == []


def test_a_span_is_a_length_of_time() -> None:
    numbers = read_engineering(cards_dir())
    assert numbers.result_ahead.span == timedelta(hours=24)
    assert numbers.pregnancy_holds.span == timedelta(days=300)


def test_a_site_changes_a_number(tmp_path: Path) -> None:
    (tmp_path / "engineering.yaml").write_text("pregnancy_holds: {value: 280, why: Ours}\n", encoding="utf-8")
    shipped = terminology()
    knowledge = read_knowledge(cards_dir(), shipped, tmp_path)
    assert knowledge.engineering.pregnancy_holds.span == timedelta(days=280)
    assert knowledge.terminology.engineering is knowledge.engineering
    assert shipped.engineering.pregnancy_holds.value == 300


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("result_ahead:", "result_ahed:", r"engineering\.yaml:\d+: result_ahed: unknown name.*did you mean `result_ahead`"),
        ("value: 24", "value: 0", r"engineering\.yaml:\d+: result_ahead\.value"),
        ("unit: hours", "unit: weeks", r"engineering\.yaml:\d+: result_ahead\.unit.*weeks"),
        ("decided_on: 2026-11-23", "decided: 2026-11-23", r"engineering\.yaml:\d+: result_ahead"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (cards_dir() / "engineering.yaml").read_text(encoding="utf-8")
    (tmp_path / "engineering.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    (tmp_path / "value_sets").symlink_to(cards_dir() / "value_sets")
    with pytest.raises(KnowledgeError, match=message):
        Terminology.load(tmp_path / "value_sets")


def test_a_source_that_does_not_exist_is_told(tmp_path: Path) -> None:
    (tmp_path / "engineering.yaml").write_text("pregnancy_holds: {source: [S9]}\n", encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"overlay/engineering\.yaml:1: pregnancy_holds\.source: unknown name `S9`"):
        read_knowledge(cards_dir(), terminology(), tmp_path)
