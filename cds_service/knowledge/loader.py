"""Load `cards/` with a site's overlay: read, check and compile into `Knowledge`.

Every name must be defined; each error has file, line, path and a suggestion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.knowledge import site_codes, thresholds
from cds_service.knowledge.card_file import (
    CardFile,
    DialectFile,
    LabelsFile,
    NoticeFile,
    OverrideFile,
    Resource,
    ServicesFile,
    SourceFile,
)
from cds_service.knowledge.card_texts import with_numbers
from cds_service.knowledge.dialects import dialect_problems
from cds_service.knowledge.knowledge import Card, Knowledge, ShadowRule, unless_active
from cds_service.knowledge.knowledge_checks import check_card, check_criteria, check_names
from cds_service.knowledge.names_used import cycle_in, named_in, with_children
from cds_service.knowledge.overlay import Overlay
from cds_service.knowledge.thresholds import Threshold
from cds_service.knowledge.written_criteria import WrittenCriteria
from cds_service.terminology import engineering
from cds_service.terminology.engineering import Engineering
from cds_service.terminology.terminology import Terminology

CRITERIA = "criteria.yaml"
SHARED_FILES = (
    CRITERIA,
    "sources.yaml",
    "orders.yaml",
    "override_reasons.yaml",
    "services.yaml",
    "notice.yaml",
    "labels.yaml",
    "dialects.yaml",
    engineering.FILE,
    thresholds.FILE,
)


def read_knowledge(
    folder: Path, terminology: Terminology, overlay: Path | None = None, shadow: ShadowRule = unless_active
) -> Knowledge:
    """Read and check `folder`, with the site's `overlay` folder laid over it.

    `shadow(card, content hash)` says why a card is not shown, "" where it is shown. Raises KnowledgeError with every error
    that can be found in one pass.
    """
    files = _Files(folder, overlay)
    shared = _read_shared(files)
    terminology = _with_site(terminology, shared.engineering, files.overlay)
    written = WrittenCriteria(shared.thresholds)
    problems = list(_check_sources_of_numbers(shared))
    problems += written.read(shared.files[CRITERIA], shared.files[CRITERIA].data, ())
    cards, found = _read_cards(files, written)
    problems += found
    problems += check_criteria(written, terminology, shared.sources)
    _refuse_cycles(written, problems)
    for one in cards:
        problems += check_card(one.file, one.card, written, shared.sources, shared.orders, shared.overrides, files.overlay)
    messages = dialect_problems(shared.dialects, [one.card.id for one in cards], shared.orders)
    problems += [shared.files["dialects.yaml"].problem(keys, message) for keys, message in messages]
    if files.overlay is not None and not written.failed:
        problems += files.overlay.unused(_names_used([one.card for one in cards], written))
    if problems:
        raise KnowledgeError(problems)
    return _build(files, shared, terminology, written, cards, shadow)


class _Files:
    """The files of `cards/`, merged with the overlay."""

    def __init__(self, folder: Path, overlay: Path | None) -> None:
        self.folder = folder
        cards = [path.parent.name for path in folder.glob("*/card.yaml")]
        self.overlay = Overlay(overlay, (*SHARED_FILES, site_codes.FILE), cards) if overlay is not None else None

    def open(self, name: str) -> YamlFile:
        """Return the file `name` ("orders.yaml", "quinine-avoid/card.yaml"), merged. Raises KnowledgeError."""
        file = YamlFile(self.folder / name, f"cards/{name}")
        return self.overlay.over(file, name) if self.overlay is not None else file


class _Shared(NamedTuple):
    """The content of the files that all cards share."""

    files: Mapping[str, YamlFile]
    sources: dict[str, SourceFile]
    orders: dict[str, Resource]
    overrides: dict[str, OverrideFile]
    services: ServicesFile
    notice: NoticeFile
    labels: LabelsFile
    dialects: dict[str, DialectFile]
    engineering: Engineering
    thresholds: dict[str, Threshold]


class _ReadCard(NamedTuple):
    file: YamlFile
    card: CardFile
    hash: str  # of its file in `cards/`


def _read_shared(files: _Files) -> _Shared:
    opened = {name: files.open(name) for name in SHARED_FILES}

    def convert(name: str, kind: Any) -> Any:
        return opened[name].convert(kind, opened[name].data)

    return _Shared(
        opened,
        sources=convert("sources.yaml", dict[str, SourceFile]),
        orders=convert("orders.yaml", dict[str, dict[str, Any]]),
        overrides=convert("override_reasons.yaml", dict[str, OverrideFile]),
        services=convert("services.yaml", ServicesFile),
        notice=convert("notice.yaml", NoticeFile),
        labels=convert("labels.yaml", LabelsFile),
        dialects=convert("dialects.yaml", dict[str, DialectFile]),
        engineering=convert(engineering.FILE, Engineering),
        thresholds=convert(thresholds.FILE, dict[str, Threshold]),
    )


def _with_site(terminology: Terminology, numbers: Engineering, overlay: Overlay | None) -> Terminology:
    """Return the terminology with the site's own engineering numbers and codes. Raises KnowledgeError."""
    if numbers != terminology.engineering:
        terminology = terminology.with_engineering(numbers)
    if overlay is not None and (own := overlay.own(site_codes.FILE)) is not None:
        terminology = terminology.with_codes(site_codes.read_site_codes(own, terminology))
    return terminology


def _check_sources_of_numbers(shared: _Shared) -> Iterable[Problem]:
    known = [*shared.sources, "engineering"]
    for name in shared.engineering.__struct_fields__:
        used = getattr(shared.engineering, name).source
        yield from check_names(shared.files[engineering.FILE], (name, "source"), used, known)
    for name, one in shared.thresholds.items():
        yield from check_names(shared.files[thresholds.FILE], (name, "source"), one.source, known)


def _read_cards(files: _Files, written: WrittenCriteria) -> tuple[list[_ReadCard], list[Problem]]:
    """Return (readable cards, errors in all); their criteria are added to `written`."""
    cards: list[_ReadCard] = []
    problems: list[Problem] = []
    for path in sorted(files.folder.glob("*/card.yaml")):
        folder = path.parent.name
        try:
            file = files.open(f"{folder}/card.yaml")
            data = dict(file.data) if isinstance(file.data, dict) else {}
            own = data.pop("criteria", {})
            card = file.convert(CardFile, data)
        except KnowledgeError as error:
            problems += error.problems
            continue
        if card.id != folder:
            problems.append(file.problem(("id",), f"must be the name of its folder, `{folder}`"))
        problems += written.read(file, own, ("criteria",))
        cards.append(_ReadCard(file, card, _hash_of([path])))
    return cards, problems


def _refuse_cycles(written: WrittenCriteria, problems: Sequence[Problem]) -> None:
    """Raise KnowledgeError where groups are members of each other, because later checks follow members."""
    if cycle := cycle_in(written.criteria):
        file, keys = written.where[cycle[0]]
        raise KnowledgeError([*problems, file.problem(keys, f"is a member of itself: {' > '.join(cycle)}")])


def _names_used(cards: Sequence[CardFile], written: WrittenCriteria) -> dict[str, set[str]]:
    """Return the names that cards use, by the shared file in which they are defined."""
    criteria = {name for card in cards for name in with_children(named_in(card), written.criteria)}
    return {
        CRITERIA: criteria,
        "sources.yaml": {name for card in cards for name in card.sources}
        | {name for one in criteria for name in written.criteria[one].source},
        "orders.yaml": {action.resource for card in cards for item in card.suggestions for action in item.actions},
        "override_reasons.yaml": {code for card in cards for code in card.overrides},
        thresholds.FILE: {used for name in criteria for used in written.named.get(name, {}).values()},
    }


def _build(
    files: _Files,
    shared: _Shared,
    terminology: Terminology,
    written: WrittenCriteria,
    cards: Sequence[_ReadCard],
    shadow: ShadowRule,
) -> Knowledge:
    shared_hash = _hash_of(files.folder / name for name in SHARED_FILES)

    def card_hash(one: _ReadCard) -> str:
        """Hash everything that a card depends on: its file, shared files, value sets, the overlay."""
        site = files.overlay.hash_of((*SHARED_FILES, f"{one.card.id}/card.yaml")) if files.overlay is not None else ""
        return _sha256(one.hash, shared_hash, terminology.value_sets_hash, site)

    return Knowledge(
        cards=[
            Card(with_numbers(one.card, written.criteria, shared.orders), card_hash(one), written.criteria, shadow)
            for one in cards
        ],
        criteria=written.criteria,
        sources=shared.sources,
        orders=shared.orders,
        overrides=shared.overrides,
        services=shared.services,
        notice=shared.notice,
        labels=shared.labels,
        dialects=shared.dialects,
        terminology=terminology,
        thresholds=shared.thresholds,
        named=written.named,
        content_hash=_sha256(shared_hash, terminology.content_hash, *(one.hash for one in cards)),
        overlay=files.overlay,
        order_places={name: shared.files["orders.yaml"].places[name,] for name in shared.orders},
    )


def _hash_of(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sha256(*parts: str) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()
