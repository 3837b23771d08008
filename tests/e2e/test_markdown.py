"""Cards made of hostile texts, drawn by the libraries that EHRs use: nothing becomes an element, a link or invisible.

`CDS_TEXTS=5000` for the long form. Needs node and npm; installs the libraries of package-lock.json once into `markdown/`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.core import answer_to, card
from tests.hostile_texts import hostile_texts, request_with
from tests.present.test_cards import plain_texts

FOLDER = Path(__file__).with_name("markdown")
TEXTS = int(os.environ.get("CDS_TEXTS", "600"))
LIMIT = 600.0  # seconds


@pytest.fixture(scope="module")
def render() -> list[str]:
    """The command that draws; the libraries are there when this returns."""
    installed, lock = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=FOLDER, check=True, timeout=LIMIT)
        installed.touch()
    return ["node", str(FOLDER / "render.mjs")]


def test_hostile_texts_are_drawn_as_text_by_every_library(render: list[str]) -> None:
    found = [card(answer_to(request_with(text)), "quinine-avoid") for text in hostile_texts(TEXTS)]
    lines = [msgspec.json.encode({"markdown": one["detail"], "plain": list(plain_texts(one))}) for one in found]
    done = subprocess.run(render, input=b"\n".join(lines), capture_output=True, check=True, timeout=LIMIT)
    drawn: list[list[dict[str, Any]]] = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert len(drawn) == TEXTS
    for one, pages in zip(found, drawn, strict=True):
        assert {page["by"] for page in pages} == {"react-markdown", "commonmark", "markdown-it", "marked (GFM)", "as HTML"}
        for page in pages:
            allowed = set() if page["by"] == "as HTML" else {"p", "strong"}
            assert {*page["elements"]} <= allowed, (page, one["detail"])
        texts = {" ".join(page["text"].split()) for page in pages if page["by"] != "as HTML"}
        assert len(texts) == 1, texts


def test_the_libraries_would_draw_what_is_not_escaped(render: list[str]) -> None:
    """What the test above relies on."""
    line = {"markdown": "<b>x</b> www.evil.example [y](http://evil.example)", "plain": ["<img src=x>"]}
    done = subprocess.run(render, input=msgspec.json.encode(line), capture_output=True, check=True, timeout=LIMIT)
    pages = {page["by"]: page["elements"] for page in msgspec.json.decode(done.stdout)}
    assert pages["react-markdown"] == ["p", "b", "a href", "a href"]
    assert pages["marked (GFM)"] == ["p", "b", "a href", "a href"]
    assert pages["commonmark"] == pages["markdown-it"] == ["p", "b", "a href"]
    assert pages["as HTML"] == ["img src"]
