"""Decisions in, CDS Hooks cards out. Pure.

Texts come from the cards; strings that came from an EHR are cleaned, cut and escaped before they enter Markdown, because some
clients render raw HTML. No null or empty member is ever emitted (CDS Hooks 2.0, "HTTP status codes and JSON").

What is the same in every answer (override reasons, links, the resources of suggestions) is encoded once, when the cards load, for
each dialect (see `dialects`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha1
from typing import Any, Literal
from uuid import UUID

import msgspec

from cds_service.card_file import DialectFile, Resource
from cds_service.criteria import CountCriterion, Criterion, DrugCriterion, OrderCriterion
from cds_service.decide import Decision, Outcome, settle
from cds_service.dialects import PLAIN, Offer, creatable, narrowed, offers, shortened, topic_code
from cds_service.facts import Facts, Lab, Order
from cds_service.findings import IS_MET, IS_UNMET, Findings, OnError
from cds_service.knowledge import Card, Knowledge
from cds_service.patch import patched_order
from cds_service.say import cleaned, markdown, phrase
from cds_service.templates import Template

_NAMESPACE = UUID("5b0a6f4e-6c1f-5a53-9f5c-2f6b5f0a7c11").bytes
NOT_CHECKED = "not-checked"
LABEL_LIMIT = 80
_LOUDEST_FIRST = ("critical", "warning", "info")

_encode = msgspec.json.Encoder().encode
Say = Callable[[str, str], str]


class _CardJson(msgspec.Struct, gc=False, omit_defaults=True):
    """A CDS Hooks card; members that are not set are left out."""

    uuid: str
    summary: str
    detail: str
    indicator: str
    source: msgspec.Raw
    suggestions: list[msgspec.Raw] = []
    selectionBehavior: str = ""
    overrideReasons: msgspec.Raw = msgspec.Raw()
    links: msgspec.Raw = msgspec.Raw()


class Shown(msgspec.Struct, gc=False):
    """One card of the answer."""

    uuid: str
    indicator: Literal["info", "warning", "critical"]
    body: bytes  # the card's JSON
    decision: Decision | None = None  # None for the notice
    changed_orders: list[bytes] = []  # the JSON of the received order with each suggested change that the card holds


def derived_uuid(name: str) -> str:
    """A UUID (version 5) made from a name, so that the same name always gets the same one."""
    digest = sha1(_NAMESPACE + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def card_uuid(hook_instance: str, card_id: str, order_reference: str) -> str:
    """The same hook instance, card and order give the same uuid, so that repeats of a call are recognisable."""
    return derived_uuid(f"{hook_instance}|{card_id}|{order_reference}")


def suggestion_uuid(card: str, suggestion: str) -> str:
    """The uuid of a suggestion of the card with the uuid `card`."""
    return derived_uuid(f"{card}|{suggestion}")


class Presenter:
    """Draws the cards of one `Knowledge`."""

    def __init__(self, knowledge: Knowledge, public_url: str = "") -> None:
        """`public_url`: where EHRs reach the pages of the cards; "" where no card links to its page."""
        self._in = {name: _Dialect(dialect, knowledge, public_url) for name, dialect in knowledge.dialects.items()}
        self._in[""] = self._in[PLAIN]
        self._most = knowledge.labels.most_cards

    @property
    def dialects(self) -> frozenset[str]:
        """The names of the dialects in which it can present; "" is plain CDS Hooks."""
        return frozenset(self._in)

    def present(
        self, decisions: list[Decision], facts: Facts, hook_instance: str, on_error: OnError, dialect: str = ""
    ) -> tuple[list[Shown], list[Shown]]:
        """(what is shown, what cards in shadow would have): cards that fired; at most one notice ends the first.

        The loudest come first, as some EHRs draw only the first cards; those as loud as each other in the order of their ranks.

        A card that cannot be drawn becomes a decision that failed: `on_error(card id, exception)` is told, the others are shown,
        among them those that stood back for it.
        """
        spoken = self._in[dialect]
        while (drawn := spoken.draw(decisions, facts, hook_instance, on_error)) is None:
            settle(decisions, self._most)
        shown, shadows = drawn
        unchecked = [decision for decision in decisions if decision.say and decision.card.live]
        shown.sort(key=lambda card: _LOUDEST_FIRST.index(card.indicator))
        if unchecked:
            shown.append(spoken.notice(unchecked, hook_instance))
        return shown, shadows


class _Dialect:
    """Everything that can be shown, as one kind of EHR gets it."""

    def __init__(self, dialect: DialectFile, knowledge: Knowledge, public_url: str) -> None:
        self._knowledge = knowledge
        self._limit = dialect.summary_limit
        self.cards = {card.id: _Drawn(card, knowledge, dialect, public_url) for card in knowledge.cards}
        words = knowledge.notice
        self._notice_source = _source(knowledge, words.url, topic_code(NOT_CHECKED, dialect), words.title)

    def draw(
        self, decisions: list[Decision], facts: Facts, hook_instance: str, on_error: OnError
    ) -> tuple[list[Shown], list[Shown]] | None:
        """(cards that fired, those of them in shadow); None where one that is live could not be drawn."""
        drawn: tuple[list[Shown], list[Shown]] = ([], [])
        broke = False
        for decision in decisions:
            if decision.outcome is Outcome.FIRED:
                live = decision.card.live
                try:
                    drawn[0 if live else 1].append(self.cards[decision.card.id].draw(decision, facts, hook_instance))
                except Exception as error:  # noqa: BLE001 - law 5: one card that breaks must not silence the others
                    on_error(decision.card.id, error)
                    decision.outcome, decision.say, decision.error = Outcome.FAILED, True, type(error).__name__
                    broke |= live
        return None if broke else drawn

    def notice(self, decisions: list[Decision], hook_instance: str) -> Shown:
        """The one notice that lists all that could not be checked; never a warning, never "safe"."""
        words = self._knowledge.notice
        items: dict[str, None] = {}
        for decision in decisions:
            failed = decision.outcome is Outcome.FAILED
            reason = words.failed if failed else with_words(decision.reason, decision.words)
            items[words.item.format(checks=decision.card.file.checks, reason=reason)] = None
        checks = ", ".join(dict.fromkeys(decision.card.file.checks for decision in decisions))
        identity = card_uuid(hook_instance, NOT_CHECKED, "")
        card = _CardJson(
            uuid=identity,
            summary=shortened(words.summary.format(checks=checks), self._limit),  # the list in the detail is complete
            detail="\n".join([words.detail, "", *(f"- {item}" for item in items)]),
            indicator="info",
            source=self._notice_source,
        )
        return Shown(identity, "info", _encode(card))


class _Drawn:
    """One card with everything encoded that does not depend on the patient."""

    def __init__(self, card: Card, knowledge: Knowledge, dialect: DialectFile, public_url: str) -> None:
        file = card.file
        self._card = card
        self._labels = knowledge.labels
        self._limit = dialect.summary_limit
        self._source = _source(knowledge, knowledge.sources[file.links[0]].url, topic_code(file.id, dialect), file.title)
        self._overrides = _raw(
            {"code": code, "system": knowledge.labels.override_system, "display": knowledge.overrides[code].display}
            for code in file.overrides
        )
        links = [(knowledge.sources[name].title, knowledge.sources[name].url) for name in file.links]
        if public_url:
            links.insert(0, (knowledge.labels.page_label, f"{public_url}/cards/{file.id}/{file.version}"))
        self._links = _raw({"label": _cut(label, LABEL_LIMIT), "url": url, "type": "absolute"} for label, url in links)
        created = creatable(knowledge.orders, dialect)
        self._selection = "any" if dialect.any_only else file.selection
        self._first_only = narrowed(file, dialect)
        self._suggestions = [_Suggestion(offer, created, knowledge.orders) for offer in offers(file, knowledge.orders, dialect)]
        self._kinds = knowledge.terminology.drug_classes
        self._named = {
            name: named_drugs([card.criteria[one] for one in members], knowledge) for name, members in card.members.items()
        }
        self._labs = [name for name, criterion in card.criteria.items() if criterion.__struct_config__.tag == "lab"]

    def draw(self, decision: Decision, facts: Facts, hook_instance: str) -> Shown:
        file = self._card.file
        row = file.table[decision.row]
        identity = card_uuid(hook_instance, file.id, decision.order.key if decision.order is not None else "")
        plain = self._sayer(decision, facts, cleaned)
        summary = self._card.summaries[decision.row].render(plain)
        card = _CardJson(
            uuid=identity,
            summary=shortened(summary, self._limit),
            detail=self._detail(decision, facts, opening=len(summary) > self._limit),
            indicator=row.indicator,
            source=self._source,
            overrideReasons=self._overrides,
            links=self._links,
        )
        changed: list[bytes] = []
        first = ""
        for item in self._suggestions:
            if self._first_only and first not in ("", item.whole):
                break
            if holds(decision.findings, item.file.when, item.file.unless):
                own = item.change(decision.order)
                if (suggestion := item.draw(identity, plain, decision.order, own)) is not None:
                    card.suggestions.append(suggestion)
                    first = first or item.whole
                    changed += [own] if own else []
        if card.suggestions:
            card.selectionBehavior = self._selection
        return Shown(identity, row.indicator, _encode(card), decision, changed)

    def _sayer(self, decision: Decision, facts: Facts, safe: Callable[[str], str]) -> Say:
        """Says `{name.field}`: what the request or the evidence of a criterion holds, cleaned by `safe`."""

        def say(name: str, field: str) -> str:
            if field == "reference":
                if name == "order" and decision.order is not None:
                    return decision.order.reference
                return f"Patient/{facts.patient.id}"
            if name == "order" and decision.order is not None:
                drug = decision.order.drug
                return safe(drug.text or ", ".join(drug.ingredients) if drug is not None else "") or self._card.file.checks
            return phrase(decision.findings[name], field, facts, safe, self._named[name], self._kinds)

        return say

    def _detail(self, decision: Decision, facts: Facts, *, opening: bool) -> str:
        """`opening`: the summary was cut and begins the detail, whole."""
        say = self._sayer(decision, facts, markdown)
        findings = decision.findings
        paragraphs = [f"**{self._card.summaries[decision.row].render(say)}**"] if opening else []
        paragraphs += [
            template.render(say) for item, template in self._card.paragraphs if holds(findings, item.when, item.unless)
        ]
        notes = dict.fromkeys(
            with_words(finding.note, finding.words)
            for name in decision.unknown
            for member in self._card.members[name]  # a group's own note tells of one member only
            if (finding := findings[member]).cause not in ("", "not_recorded") and finding.note
        )
        if notes:
            paragraphs.append(f"**{self._labels.not_known}** {'; '.join(notes)}.")
        used = {item.analyte: item for _, one in findings.evaluated(self._labs) for item in one.evidence if isinstance(item, Lab)}
        ignored = [  # results that are newer than the one that decided
            with_words(bad.explanation, bad.words)
            for analyte, lab in used.items()
            if (series := facts.labs.get(analyte)) is not None
            for bad in series.unusable
            if with_words(bad.explanation, bad.words) not in notes
            and (bad.effective is None or bad.effective.start >= lab.effective.start)
        ]
        if ignored:
            paragraphs.append(f"**{self._labels.ignored_result}** {'; '.join(dict.fromkeys(ignored))}.")
        return "\n\n".join(paragraphs)


class _Suggestion:
    """One suggestion, its JSON a template; `cds-service cards check` checks that the resources in it are R4B."""

    def __init__(self, offer: Offer, created: Mapping[str, Resource], orders: Mapping[str, Resource]) -> None:
        self.file = item = offer.file
        self.whole = offer.whole
        self._update = next((orders[action.resource] for action in item.actions if action.type == "update"), None)
        self._deletes = any(action.type == "delete" for action in item.actions)
        suggestion: dict[str, Any] = {"label": _cut(item.label, LABEL_LIMIT), "uuid": "{suggestion.uuid}"}
        if item.recommended:
            suggestion["isRecommended"] = True
        suggestion["actions"] = actions = []
        for action in item.actions:
            built: dict[str, Any] = {"type": action.type, "description": action.description}
            match action.type:
                case "create":
                    built["resource"] = created[action.resource]
                case "delete":
                    built["resourceId"] = "{order.reference}"
                case "update":
                    built["resource"] = msgspec.Raw(b"{order.changed}")
            actions.append(built)
        self._json = Template(_encode(suggestion).decode())

    def change(self, order: Order | None) -> bytes:
        """The JSON of the order as this suggestion changes it; b"" where it changes none, or cannot."""
        if self._update is None or order is None:
            return b""
        return patched_order(order, self._update)

    def draw(self, card: str, say: Say, order: Order | None, changed: bytes) -> msgspec.Raw | None:
        """The suggestion's JSON, or None where the order does not allow it."""
        named = order is not None and order.reference  # an order without an id can't be named
        if (self._deletes and not named) or (self._update is not None and not changed):
            return None

        def say_json(name: str, field: str) -> str:
            if field == "uuid":
                return suggestion_uuid(card, self.file.id)
            if field == "changed":
                return changed.decode()
            return _encode(say(name, field))[1:-1].decode()

        return msgspec.Raw(self._json.render(say_json).encode())


def with_words(note: str, words: str) -> str:
    """`note` with what a laboratory wrote, cleaned and escaped: "potassium of 2025-11-28 has no unit (“2.2”)"."""
    return f"{note} ({markdown(f'“{words}”')})" if words else note


def holds(findings: Findings, when: list[str], unless: list[str]) -> bool:
    """Strict: an unknown criterion neither offers a suggestion nor shows a paragraph that depends on it."""
    for name in when:
        if findings[name].truth is not IS_MET:
            return False
    for name in unless:  # noqa: SIM110 - the two loops are one rule, and this is the hot path
        if findings[name].truth is not IS_UNMET:
            return False
    return True


def _source(knowledge: Knowledge, url: str, code: str, display: str) -> msgspec.Raw:
    labels = knowledge.labels
    topic = {"system": labels.topic_system, "code": code, "display": display}
    return msgspec.Raw(_encode({"label": labels.source_label, "url": url, "topic": topic}))


def named_drugs(criteria: Iterable[Criterion], knowledge: Knowledge) -> frozenset[str]:
    """The drugs that criteria look for: of a combination only these are named."""
    named: set[str] = set()
    for criterion in criteria:
        if isinstance(criterion, DrugCriterion | OrderCriterion) and criterion.ingredients:
            named.update(criterion.ingredients)
        elif isinstance(criterion, DrugCriterion | OrderCriterion | CountCriterion):
            named.update(name for one in criterion.classes for name in knowledge.terminology.drugs_of(one))
    return frozenset(named)


def _raw(items: Iterable[dict[str, Any]]) -> msgspec.Raw:
    return msgspec.Raw(_encode(list(items)))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
