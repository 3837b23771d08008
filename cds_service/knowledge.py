"""All that the service knows: cards, the criteria, citations, orders and words that they share, compiled once at start.

`Knowledge.load(folder, terminology)` reads `cards/` and what a site lays over it, checks that every name means something, and
raises KnowledgeError with file, line, path and a suggestion for each mistake. Nothing here is changed after loading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cds_service import engineering, site_codes, thresholds
from cds_service.card_file import (
    CardFile,
    DialectFile,
    LabelsFile,
    NoticeFile,
    OverrideFile,
    Paragraph,
    Policy,
    ServicesFile,
    SourceFile,
    SuggestionFile,
)
from cds_service.card_texts import placeholder_problems, with_numbers
from cds_service.conversion_errors import Keys, suggestion
from cds_service.criteria.kind import Known
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.dialects import dialect_problems
from cds_service.lab_terms import Analyte
from cds_service.overlay import Overlay
from cds_service.prefetch import ServiceDefinition, derive_services
from cds_service.references import criteria_named_in, named_in, ring_in, with_children
from cds_service.templates import Template
from cds_service.terminology import Terminology
from cds_service.thresholds import Threshold
from cds_service.units import canonical, is_plausible
from cds_service.yamlfile import KnowledgeError, Place, Problem, YamlFile

SHARED_FILES = (
    "criteria.yaml",
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
ShadowRule = Callable[[CardFile, str], str]


def unless_active(card: CardFile, _: str) -> str:
    """The shadow rule of knowledge without a site: a card is shown once its status is active."""
    return "" if card.status == "active" else card.status


class Card:
    """One card, compiled: names of criteria resolved, texts ready to be filled.

    `live`: it is shown. Otherwise it runs in shadow (evaluated and logged, never shown, in nobody's way); `why_shadow` says why.
    """

    def __init__(
        self, file: CardFile, content_hash: str, criteria: Mapping[str, Criterion], shadow: ShadowRule = unless_active
    ) -> None:
        self.file = file
        self.id = file.id
        self.hash = content_hash
        self.why_shadow = shadow(file, content_hash)
        self.live = not self.why_shadow
        self.criteria: dict[str, Criterion] = {name: criteria[name] for name in with_children(named_in(file), criteria)}
        self.groups = frozenset(name for name, criterion in self.criteria.items() if criterion.children)
        self.members = {
            name: [one for one in with_children([name], criteria) if one not in self.groups] for name in self.criteria
        }
        self.summaries = [Template(row.summary) for row in file.table]
        self.paragraphs: list[tuple[Paragraph, Template]] = [(item, Template(item.text)) for item in file.detail]
        self._policies: dict[tuple[str, bool], Policy] = {}
        for name in self.criteria:
            self._policies[name, False] = file.on_unknown.get(name, "say_so")
            self._policies[name, True] = file.on_missing.get(name, "carry_on")

    def policy(self, criterion: str, *, missing: bool) -> Policy:
        """What this card does where `criterion` is unknown; `missing`: it was looked for and nothing is recorded."""
        return self._policies[criterion, missing]

    @property
    def suggestions(self) -> list[SuggestionFile]:
        return self.file.suggestions


class Knowledge:
    """Everything loaded from one `cards/` folder.

    `hash` is that of the content; with an overlay it is "<hash of cards/>+<hash of the overlay>", and `overlay_hash` its second
    part.
    """

    def __init__(
        self,
        *,
        cards: Sequence[Card],
        criteria: Mapping[str, Criterion],
        sources: Mapping[str, SourceFile],
        orders: Mapping[str, dict[str, Any]],
        overrides: Mapping[str, OverrideFile],
        services: ServicesFile,
        notice: NoticeFile,
        labels: LabelsFile,
        dialects: Mapping[str, DialectFile],
        terminology: Terminology,
        content_hash: str,
        thresholds: Mapping[str, Threshold] = MappingProxyType({}),
        named: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        overlay: Overlay | None = None,
        order_places: Mapping[str, Place] | None = None,
    ) -> None:
        self.cards = tuple(sorted(cards, key=lambda card: (card.file.rank, card.id)))
        self.criteria = dict(criteria)
        self.sources = dict(sources)
        self.orders = dict(orders)
        self.overrides = dict(overrides)
        self.notice = notice
        self.labels = labels
        self.dialects = dict(dialects)
        self.terminology = terminology
        self.engineering = terminology.engineering
        self.thresholds = dict(thresholds)
        self.named = {name: dict(fields) for name, fields in named.items() if fields}  # criterion -> field -> threshold
        self.overlay = overlay
        self.overlay_hash = overlay.hash if overlay is not None else ""
        self.hash = f"{content_hash}+{self.overlay_hash}" if self.overlay_hash else content_hash
        self.order_places = dict(order_places or {})  # where each order was written
        self.per_order = frozenset(  # names of the criteria that depend on which order is looked at
            name for name in criteria if any(criteria[below].per_order for below in with_children([name], criteria))
        )
        self._at: dict[str, tuple[Card, ...]] = {
            service.hook: tuple(card for card in self.cards if service.hook in card.file.hooks and card.file.status != "retired")
            for service in services.services
        }
        needed = {hook: [item for card in at for item in card.criteria.values()] for hook, at in self._at.items()}
        self.services: tuple[ServiceDefinition, ...] = derive_services(services, needed, terminology)

    def cards_at(self, hook: str) -> tuple[Card, ...]:
        """The cards that speak at a hook, drafts included, in rank order."""
        return self._at[hook]

    def card(self, card_id: str) -> Card | None:
        return next((card for card in self.cards if card.id == card_id), None)

    @classmethod
    def load(
        cls, folder: Path, terminology: Terminology, overlay: Path | None = None, shadow: ShadowRule = unless_active
    ) -> Knowledge:
        """Reads and checks `folder`, with the site's `overlay` folder laid over it.

        `shadow(card, content hash)` says why a card is not shown, "" where it is. Raises KnowledgeError with every mistake that
        can be found in one pass.
        """
        return _Loader(folder, terminology, overlay, shadow).load()


class _Loader:
    def __init__(self, folder: Path, terminology: Terminology, overlay: Path | None, shadow: ShadowRule) -> None:
        self.folder = folder
        self.terminology = terminology
        self.shadow = shadow
        cards = [path.parent.name for path in folder.glob("*/card.yaml")]
        self.overlay = Overlay(overlay, (*SHARED_FILES, site_codes.FILE), cards) if overlay is not None else None
        self.problems: list[Problem] = []
        self.thresholds: dict[str, Threshold] = {}
        self.named: dict[str, dict[str, str]] = {}  # by criterion and field the threshold that it names
        self.criteria: dict[str, Criterion] = {}
        self.where: dict[str, tuple[YamlFile, Keys]] = {}
        self.failed: set[tuple[str, str]] = set()  # (file, name) of criteria that are written there and could not be read

    def load(self) -> Knowledge:
        shared = {name: self._file(name) for name in SHARED_FILES}
        sources = shared["sources.yaml"].convert(dict[str, SourceFile], shared["sources.yaml"].data)
        orders: dict[str, dict[str, Any]] = shared["orders.yaml"].convert(dict[str, dict[str, Any]], shared["orders.yaml"].data)
        overrides = shared["override_reasons.yaml"].convert(dict[str, OverrideFile], shared["override_reasons.yaml"].data)
        services = shared["services.yaml"].convert(ServicesFile, shared["services.yaml"].data)
        notice = shared["notice.yaml"].convert(NoticeFile, shared["notice.yaml"].data)
        labels = shared["labels.yaml"].convert(LabelsFile, shared["labels.yaml"].data)
        dialects = shared["dialects.yaml"].convert(dict[str, DialectFile], shared["dialects.yaml"].data)
        signed = shared[engineering.FILE]
        numbers = signed.convert(engineering.Engineering, signed.data)
        for one in numbers.__struct_fields__:
            self._check_names(signed, (one, "source"), getattr(numbers, one).source, [*sources, "engineering"])
        if numbers != self.terminology.engineering:
            self.terminology = self.terminology.with_engineering(numbers)
        if self.overlay is not None and (own := self.overlay.own(site_codes.FILE)) is not None:
            self.terminology = self.terminology.with_codes(site_codes.read_site_codes(own, self.terminology))
        self._read_thresholds(shared[thresholds.FILE], sources)
        self._read_criteria(shared["criteria.yaml"], shared["criteria.yaml"].data, ())
        files: list[tuple[YamlFile, CardFile, str]] = []
        for path in sorted(self.folder.glob("*/card.yaml")):
            try:
                name = f"{path.parent.name}/card.yaml"
                file = self._file(name)
                files.append((file, self._read_card(file, path.parent.name), _hash_of([path])))
            except KnowledgeError as error:
                self.problems.extend(error.problems)
        self._check_criteria(sources)
        if ring := ring_in(self.criteria):
            at_file, keys = self.where[ring[0]]
            raise KnowledgeError([*self.problems, at_file.problem(keys, f"is a member of itself: {' > '.join(ring)}")])
        for file, card, _ in files:
            self._check_card(file, card, sources, orders, overrides)
        told = dialect_problems(dialects, [card.id for _, card, _ in files], orders)
        self.problems += [shared["dialects.yaml"].problem(keys, message) for keys, message in told]
        if self.overlay is not None and not self.failed:
            self.problems += self.overlay.unused(self._used([card for _, card, _ in files]))
        if self.problems:
            raise KnowledgeError(self.problems)
        shared_hash = _hash_of(self.folder / name for name in SHARED_FILES)
        return Knowledge(
            cards=[
                Card(
                    with_numbers(card, self.criteria, orders),
                    self._card_hash(card.id, own, shared_hash),
                    self.criteria,
                    self.shadow,
                )
                for _, card, own in files
            ],
            criteria=self.criteria,
            sources=sources,
            orders=orders,
            overrides=overrides,
            services=services,
            notice=notice,
            labels=labels,
            dialects=dialects,
            terminology=self.terminology,
            thresholds=self.thresholds,
            named=self.named,
            content_hash=hashlib.sha256(
                "".join([shared_hash, self.terminology.content_hash, *(own for _, _, own in files)]).encode()
            ).hexdigest(),
            overlay=self.overlay,
            order_places={name: shared["orders.yaml"].places[name,] for name in orders},
        )

    def _file(self, name: str) -> YamlFile:
        """A file of `cards/`, with what the overlay says differently."""
        file = YamlFile(self.folder / name, f"cards/{name}")
        return self.overlay.over(file, name) if self.overlay is not None else file

    def _card_hash(self, card: str, own: str, shared: str) -> str:
        """Of all that decides what a card does: its file, what cards share, the value sets, and what a site changed of these."""
        site = self.overlay.hash_of((*SHARED_FILES, f"{card}/card.yaml")) if self.overlay is not None else ""
        return hashlib.sha256(f"{own}{shared}{self.terminology.value_sets_hash}{site}".encode()).hexdigest()

    def _used(self, cards: Sequence[CardFile]) -> dict[str, set[str]]:
        """The names that cards use, by the shared file in which they are defined."""
        criteria = {name for card in cards for name in with_children(named_in(card), self.criteria)}
        return {
            "criteria.yaml": criteria,
            "sources.yaml": {name for card in cards for name in card.sources}
            | {name for one in criteria for name in self.criteria[one].source},
            "orders.yaml": {action.resource for card in cards for item in card.suggestions for action in item.actions},
            "override_reasons.yaml": {code for card in cards for code in card.overrides},
            thresholds.FILE: {used for name in criteria for used in self.named.get(name, {}).values()},
        }

    def _read_thresholds(self, file: YamlFile, sources: Mapping[str, SourceFile]) -> None:
        self.thresholds = file.convert(dict[str, Threshold], file.data)
        for name, one in self.thresholds.items():
            self._check_names(file, (name, "source"), one.source, [*sources, "engineering"])

    def _read_criteria(self, file: YamlFile, data: object, keys: Keys) -> None:
        if not isinstance(data, dict):
            self.problems.append(file.problem(keys, "must be a mapping of names to criteria"))
            return
        for name, body in data.items():
            below = (*keys, name)
            if name in self.criteria:
                other = self.where[name][0].shown_as
                self.problems.append(file.problem(below, f"`{name}` is already defined in {other}; give it another name"))
                self.failed.add((file.shown_as, name))
                continue
            if isinstance(body, dict):
                wrong = [file.problem((*below, *at), told) for at, told in thresholds.mistakes(body, self.thresholds)]
                if wrong:
                    self.problems += wrong
                    self.failed.add((file.shown_as, name))
                    continue
                self.named[name] = {str(at[0]): threshold for at, threshold in thresholds.named_in(body)}
                body = thresholds.resolved(body, self.thresholds)
            try:
                self.criteria[name] = file.convert(Criterion, body, below)  # type: ignore[arg-type]
                self.where[name] = (file, below)
            except KnowledgeError as error:
                self.problems.extend(error.problems)
                self.failed.add((file.shown_as, name))

    def _read_card(self, file: YamlFile, folder: str) -> CardFile:
        data = dict(file.data) if isinstance(file.data, dict) else {}
        own = data.pop("criteria", {})
        card = file.convert(CardFile, data)
        if card.id != folder:
            self.problems.append(file.problem(("id",), f"must be the name of its folder, `{folder}`"))
        self._read_criteria(file, own, ("criteria",))
        return card

    def _check_criteria(self, sources: Mapping[str, SourceFile]) -> None:
        terms = self.terminology
        analytes = {name: tuple(one.factors) for name, one in terms.analytes.items()}
        for name, criterion in self.criteria.items():
            file, keys = self.where[name]
            known = Known(
                analytes, terms.drug_classes, terms.ingredients, terms.problem_names, terms.patterns, self._known_in(file)
            )
            for used in criterion.names_used(known):
                self._check_names(file, (*keys, used.field), used.names, used.known)
            self._check_names(file, (*keys, "source"), criterion.source, [*sources, "engineering"])
            if isinstance(criterion, LabCriterion) and criterion.analyte in self.terminology.analytes:
                self._check_thresholds(file, keys, criterion, self.terminology.analytes[criterion.analyte])

    def _check_thresholds(self, file: YamlFile, keys: Keys, criterion: LabCriterion, analyte: Analyte) -> None:
        """That thresholds are in the unit of the analyte and lie where results are read; at least 0 stands for any result."""
        limits = {name: getattr(criterion, name) for name in ("below", "at_most", "above", "at_least")}
        limits = {name: limit for name, limit in limits.items() if limit is not None}
        if limits and criterion.unit != analyte.unit:
            self.problems.append(file.problem((*keys, "unit"), f"must be `{analyte.unit}`, the unit of {criterion.analyte}"))
            return
        told = [((*keys, name), limit, limit) for name, limit in limits.items() if (name, limit) != ("at_least", 0)]
        told += [
            ((*keys, "below_reported", unit), limit, canonical(limit, unit, analyte))
            for unit, limit in criterion.below_reported.items()
            if unit in analyte.factors
        ]
        for at, limit, value in told:
            if analyte.plausible is not None and not is_plausible(value, analyte):
                low, high = analyte.plausible
                self.problems.append(
                    file.problem(
                        at, f"{limit} is no possible threshold: {criterion.analyte} is read from {low} to {high} {analyte.unit}"
                    )
                )

    def _known_in(self, file: YamlFile) -> list[str]:
        """The criteria that can be named in a file: its own and the shared ones, because no card knows another.

        Those that could not be read are among them: the mistake in them is told, and not that their names are unknown.
        """
        shared = "cards/criteria.yaml"
        known = [name for name, (where, _) in self.where.items() if where is file or where.shown_as == shared]
        return known + sorted(name for where, name in self.failed if where in (file.shown_as, shared))

    def _check_names(self, file: YamlFile, keys: Keys, used: Iterable[str], known: Iterable[str]) -> None:
        names = list(known)
        for name in used:
            if name not in names:
                self.problems.append(file.problem(keys, f"unknown name{suggestion(name, names)}"))

    def _check_card(
        self,
        file: YamlFile,
        card: CardFile,
        sources: Mapping[str, SourceFile],
        orders: Mapping[str, dict[str, Any]],
        overrides: Mapping[str, OverrideFile],
    ) -> None:
        before = len(self.problems)
        known = self._known_in(file)
        for keys, names in criteria_named_in(card):
            self._check_names(file, keys, names, known)
        self._check_names(file, ("sources",), card.sources, sources)
        self._check_names(file, ("links",), card.links, card.sources)
        for name in card.links:
            if name in sources and not sources[name].url:
                self.problems.append(file.problem(("links",), f"`{name}` has no url, so it can't be a link"))
        self._check_names(file, ("overrides",), card.overrides, overrides)
        for position, row in enumerate(card.table):
            self._check_names(file, ("table", position, "source"), row.source, [*card.sources, "engineering"])
        for position, passage in enumerate(card.page):
            self._check_names(file, ("page", position, "source"), passage.source, [*card.sources, "engineering"])
        for position, change in enumerate(card.history):
            self._check_names(file, ("history", position, "source"), change.source, [*sources, "engineering"])
        for position, item in enumerate(card.suggestions):
            for number, action in enumerate(item.actions):
                if action.type != "delete":
                    at: Keys = ("suggestions", position, "actions", number, "resource")
                    self._check_names(file, at, [action.resource], orders)
        if len(self.problems) > before or self.failed:  # what a criterion uses that could not be read is not known
            return
        used = with_children(named_in(card), self.criteria)
        for name, (at_file, keys) in self.where.items():
            if at_file is file and name not in used and not self._left_over(file, keys):
                self.problems.append(file.problem(keys, "is defined but never used; use it or delete it"))
        self._check_texts(file, card, used, orders)

    def _left_over(self, file: YamlFile, keys: Keys) -> bool:
        """Whether it is defined in `cards/`, where a site that uses it no more can't delete it."""
        return self.overlay is not None and file.places[keys].file == file.shown_as

    def _check_texts(self, file: YamlFile, card: CardFile, used: Iterable[str], orders: Mapping[str, dict[str, Any]]) -> None:
        told = placeholder_problems(card, used, self.criteria, orders)
        self.problems += [file.problem(keys, message) for keys, message in told]


def _hash_of(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
