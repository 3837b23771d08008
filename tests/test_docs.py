"""The documentation says what is: its generated parts, its commands, its settings, its make targets and its links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cds_service.secret_files import file_variable
from cds_service.settings import OPTIONS
from cds_service.telemetry.metrics import SECURITY_KINDS
from cds_service.wire.errors import CLIENT_WENT_AWAY, CdsError, Forbidden
from cds_service.wire.refusal import REFUSAL_OUTCOMES
from tests.docs import GENERATED, PAGES, ROOT, every_command, updated

_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"cds-service((?: [a-z][a-z-]*)+)((?: [^`\n]*)?)")
_COMMANDS = {words: parser for words, parser, _ in every_command()}
_GROUPS = {" ".join(words.split()[:n]) for words in _COMMANDS for n in range(1, len(words.split()))}

GUIDES = [page for page in PAGES if not {"decisions", "templates"} & set(page.parts)] + [ROOT / "SECURITY.md"]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(text: str) -> set[str]:
    """The anchors that headings get: lower case, spaces as dashes, punctuation dropped."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert updated(text) == text, "`make docs` writes it anew"


def test_settings_and_commands_stand_somewhere() -> None:
    everything = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in GENERATED if f"<!-- generated: {name} -->" not in everything] == []


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    lost = []
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            lost.append(target)
    assert lost == []


@each_page
def test_commands_exist(page: Path) -> None:
    wrong = []
    for words, rest in _COMMAND.findall(page.read_text(encoding="utf-8")):
        said = ["cds-service", *words.split()]
        known = next((" ".join(said[:n]) for n in range(len(said), 0, -1) if " ".join(said[:n]) in _COMMANDS), None)
        if known is None:
            wrong += [] if " ".join(said) in _GROUPS else [" ".join(said)]
            continue
        flags = {flag for action in _COMMANDS[known]._actions for flag in action.option_strings}
        wrong += [
            f"{known} {flag}" for flag in re.findall(r"(?<![\w-])--[a-z-]+", re.split("[|&;]", rest)[0]) if flag not in flags
        ]
    assert wrong == []


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_commands_work_in_a_fresh_clone(page: Path) -> None:
    """A block can be copied as it is, and the page says where `cds-service` is."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(_FENCE.findall(text))
    assert re.findall(r"(?:^|[&|] )(?:CDS_\w+=\S+ )*cds-service .*", blocks, re.MULTILINE) == []
    assert "`cds-service" not in text or "`cds-service` is `.venv/bin/cds-service` in a clone" in text


@each_page
def test_settings_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    of_tests = "".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/*.py"))
    secrets = {file_variable(option.variable) for option in OPTIONS if option.secret}
    variables = {option.variable for option in OPTIONS} | secrets | set(re.findall(r'"(CDS_[A-Z_]+)"', of_tests))
    assert set(re.findall(r"\bCDS_[A-Z_]+\b(?!\*)", text)) - variables - {"CDS_"} == set()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


def test_the_table_of_refusals_has_every_status_and_every_outcome() -> None:
    text = (ROOT / "cds_service/docs/developers.md").read_text(encoding="utf-8")
    part = text.partition("\n## What is refused, and where\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if re.match(r"\| \d", line)]
    of_calls = {error.status for error in CdsError.__subclasses__()} - {Forbidden.status}  # 403: forms of the playground
    assert {status for row in rows for status in row[0].split(", ")} == {
        *map(str, of_calls | {CLIENT_WENT_AWAY}),
        *("401", "405", "431"),
    }
    outcomes = {word for row in rows for word in re.findall(r"`(\w+)`", row[4])}
    assert outcomes == {*REFUSAL_OUTCOMES, "abandoned", "log_unavailable"}
    assert all(f"`{kind}`" in part for kind in SECURITY_KINDS)


def test_the_picture_of_the_service_has_the_rows_of_the_contract() -> None:
    text = (ROOT / "cds_service/docs/developers.md").read_text(encoding="utf-8")
    picture = _FENCE.findall(text.partition("\n### The service\n")[2])[0].strip("`\n")
    names = re.sub(r"│\s*$\n", "", "\n".join(line[:46].rstrip() for line in picture.splitlines()), flags=re.MULTILINE)
    drawn = [set(re.findall(r"(\w+)(?:/|\.py)", row)) for row in names.splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one.get("containers") == ["cds_service"])
    assert drawn == [set(layer.split(" | ")) for layer in layers]
