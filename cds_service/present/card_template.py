"""Draw one card: its texts, links, override reasons and suggestions as CDS Hooks JSON. Pure.

Texts come from the card; strings that came from an EHR are cleaned, cut and escaped before they enter Markdown, because some
clients render raw HTML. No null or empty member is ever emitted (CDS Hooks 2.0, "HTTP status codes and JSON").

What is the same in every response (override reasons, links, the resources of suggestions) is encoded once, when the cards load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from cds_service.criteria.escaping import cleaned, markdown
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Facts, Lab
from cds_service.criteria.findings import hold
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.wording import phrase
from cds_service.decide.decision import Decision
from cds_service.knowledge.card_file import DialectFile
from cds_service.knowledge.dialects import creatable, narrowed, offers, shortened, topic_code
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.present.suggestions import DrawnSuggestion, Needless, Render, Suggestion, cut, derived_uuid

_encode = msgspec.json.Encoder().encode


class CardJson(msgspec.Struct, gc=False):
    """The members of a CDS Hooks card before its suggestions."""

    uuid: str
    summary: str
    detail: str
    indicator: str
    source: msgspec.Raw


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A drawn card, encoded except for the choice of its suggestions."""

    uuid: str
    head: bytes  # the card's JSON before the suggestions
    offers: tuple[DrawnSuggestion, ...]


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One card of the response."""

    uuid: str
    indicator: Literal["info", "warning", "critical"]
    body: bytes  # the card's JSON
    decision: Decision | None = None  # None for the notice
    changed_orders: tuple[bytes, ...] = ()  # the JSON of the received order with each suggested change that the card holds
    about: str = ""  # of the notice: `ORDERS_NOT_SENT` where it says that, for the repeat rule

    @property
    def is_notice(self) -> bool:
        """Say whether this is the notice on data that could not be checked, and not a card of the knowledge."""
        return self.decision is None


def card_uuid(session: str, card_id: str, order_reference: str) -> str:
    """Return the uuid of a card: the same for the same session, card and order, as in a call that is sent again.

    `session`: of one patient and hook instance; some EHRs send the same hook instance with another patient.
    """
    return derived_uuid(f"{session}|{card_id}|{order_reference}")


class CardTemplate:
    """One card with everything encoded that is independent of the patient."""

    def __init__(
        self, card: Card, knowledge: Knowledge, dialect: DialectFile, public_url: str, named: Mapping[str, frozenset[str]]
    ) -> None:
        """`named`: by criterion, the ingredients that a text about it may name, see `named_drugs`."""
        file = card.file
        self.id = card.id
        self._card = card
        self._labels = knowledge.labels
        self._limit = dialect.summary_limit
        self._source = source_json(knowledge, knowledge.sources[file.links[0]].url, topic_code(file.id, dialect), file.title)
        overrides = _encode(
            [
                {"code": code, "system": knowledge.labels.override_system, "display": knowledge.overrides[code].display}
                for code in file.overrides
            ]
        )
        links = [(knowledge.sources[name].title, knowledge.sources[name].url) for name in file.links]
        if public_url:
            links.insert(0, (knowledge.labels.page_label, f"{public_url}/cards/{file.id}/{file.version}"))
        encoded_links = _encode([{"label": cut(label), "url": url, "type": "absolute"} for label, url in links])
        self._tail = b',"overrideReasons":' + overrides + b',"links":' + encoded_links + b"}"
        created = creatable(knowledge.orders, dialect)
        self._selection = b'],"selectionBehavior":' + _encode("any" if dialect.any_only else file.selection)
        self._first_only = narrowed(file, dialect)
        self._suggestions = [
            Suggestion(offer, created, knowledge.orders, knowledge.terminology)
            for offer in offers(file, knowledge.orders, dialect)
        ]
        self._kinds = knowledge.terminology.drug_classes
        self._named = named
        self._labs = [name for name, criterion in card.criteria.items() if criterion.__struct_config__.tag == "lab"]

    def draw(self, decision: Decision, facts: Facts, session: str) -> Drawn:
        """Draw the card with all suggestions that may be offered; every possible failure happens here."""
        file = self._card.file
        identity = card_uuid(session, file.id, decision.order.key if decision.order is not None else "")
        plain = self._renderer(decision, facts, cleaned)
        summary = self._card.summaries[decision.row].render(plain)
        card = CardJson(
            uuid=identity,
            summary=shortened(summary, self._limit),
            detail=self._detail(decision, facts, opening=len(summary) > self._limit),
            indicator=decision.indicator,
            source=self._source,
        )
        findings = decision.findings
        offers = (item.draw(identity, plain, decision.order) for item in self._suggestions if hold(item.required, findings))
        return Drawn(identity, _encode(card)[:-1], tuple(offer for offer in offers if offer is not None))

    def compose(self, decision: Decision, drawn: Drawn, needless: Needless) -> Shown:
        """Put the card together without needless suggestions, and add its own to `needless`."""
        suggestions: list[bytes] = []
        changed: list[bytes] = []
        offered: list[str] = []  # added at the end, because alternatives in one card may be of the same drug
        first = ""
        for offer in drawn.offers:
            item = offer.suggestion
            if self._first_only and first not in ("", item.whole):
                break
            if needed := item.needed(needless):
                suggestions.append(item.json(offer, needed))
                offered += item.keys(needed)
                first = first or item.whole
                changed += [offer.changed_order] if offer.changed_order else []
        needless.offered.update(offered)
        parts = [drawn.head]
        if suggestions:
            parts += [b',"suggestions":[', b",".join(suggestions), self._selection]
        parts.append(self._tail)
        return Shown(drawn.uuid, decision.card.file.table[decision.row].indicator, b"".join(parts), decision, tuple(changed))

    def _renderer(self, decision: Decision, facts: Facts, safe: Callable[[str], str]) -> Render:
        """Return a function for the text of `{name.field}`, from the request or the evidence, cleaned by `safe`."""

        def render(name: str, field: str) -> str:
            if field == "reference":
                if name == "order" and decision.order is not None:
                    return decision.order.reference
                return f"Patient/{facts.patient.id}"
            if name == "order" and decision.order is not None:
                drug = decision.order.drug
                return safe(drug.text or ", ".join(drug.ingredients) if drug is not None else "") or self._card.file.checks
            return phrase(decision.findings[name], field, facts, safe, self._named[name], self._kinds)

        return render

    def _detail(self, decision: Decision, facts: Facts, *, opening: bool) -> str:
        """Write the detail in Markdown. `opening`: it begins with the whole summary, which was cut."""
        render = self._renderer(decision, facts, markdown)
        findings = decision.findings
        paragraphs = [f"**{self._card.summaries[decision.row].render(render)}**"] if opening else []
        lines = 0  # of the card's own paragraphs
        for required, same_line, template in self._card.paragraphs:
            if hold(required, findings):
                if same_line and lines:
                    paragraphs[-1] += f" {template.render(render)}"
                else:
                    paragraphs.append(template.render(render))
                    lines += 1
        notes = dict.fromkeys(
            with_words(finding.note, finding.words)
            for name in decision.unknown
            for member in self._card.members[name]  # a group's own note tells of one member only
            if (finding := findings[member]).cause not in ("", "not_recorded") and finding.note
        )
        if notes:
            paragraphs.append(f"**{self._labels.not_known}** {'; '.join(notes)}.")
        ignored = dict.fromkeys(one for one in self._ignored(findings, facts) if one not in notes)
        if ignored:
            paragraphs.append(f"**{self._labels.ignored_result}** {'; '.join(ignored)}.")
        return "\n\n".join(paragraphs)

    def _ignored(self, findings: Evaluator, facts: Facts) -> Iterator[str]:
        """Yield why results that are newer than the one that decided were not used."""
        unusable = {analyte: series.unusable for analyte, series in facts.labs.items() if series.unusable}
        evaluated = findings.evaluated(self._labs) if unusable else ()
        used = {item.analyte: item for _, one in evaluated for item in one.evidence if isinstance(item, Lab)}
        for analyte, lab in used.items():
            for bad in unusable.get(analyte, ()):
                if bad.effective is None or bad.effective.start >= lab.effective.start:
                    yield with_words(bad.explanation, bad.words)


def with_words(note: str, words: str) -> str:
    """Return `note` with the laboratory's words, escaped: "potassium of 2025-11-28 has no unit (“2.2”)"."""
    return f"{note} ({markdown(f'“{words}”')})" if words else note


def source_json(knowledge: Knowledge, url: str, code: str, display: str) -> msgspec.Raw:
    """Encode the `source` of a card; `code` and `display` are its topic."""
    labels = knowledge.labels
    topic = {"system": labels.topic_system, "code": code, "display": display}
    return msgspec.Raw(_encode({"label": labels.source_label, "url": url, "topic": topic}))


def named_drugs(knowledge: Knowledge) -> dict[str, frozenset[str]]:
    """Return the ingredients that each criterion, or a member of it, looks for; a card names only these of a combination."""
    named: dict[str, frozenset[str]] = {}
    for card in knowledge.cards:
        for name, members in card.members.items():
            if name not in named:
                named[name] = frozenset(drug for one in members for drug in _drugs_of(card.criteria[one], knowledge))
    return named


def _drugs_of(criterion: Criterion, knowledge: Knowledge) -> Iterator[str]:
    sought = criterion.drugs_sought
    yield from sought.ingredients
    for one in sought.classes:
        yield from knowledge.terminology.drugs_of(one)
