"""Decisions in, CDS Hooks cards out. Pure.

Texts come from the cards; strings that came from an EHR are cleaned, cut and escaped before they enter Markdown, because some
clients render raw HTML. No null or empty member is ever emitted (CDS Hooks 2.0, "HTTP status codes and JSON").

What is the same in every answer (override reasons, links, the resources of suggestions) is encoded once, when the cards load, for
each dialect (see `dialects`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from cds_service.card_file import DialectFile
from cds_service.criteria.escaping import cleaned, markdown
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Facts, Lab
from cds_service.criteria.findings import IS_MET, IS_UNMET, OnError
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.wording import phrase
from cds_service.decide import settle
from cds_service.decision import Decision, Outcome
from cds_service.dialects import PLAIN, creatable, narrowed, offers, shortened, topic_code
from cds_service.knowledge import Card, Knowledge
from cds_service.suggestions import Needless, Say, Suggestion, cut, derived_uuid

NOT_CHECKED = "not-checked"
_LOUDEST_FIRST = ("critical", "warning", "info")

_encode = msgspec.json.Encoder().encode


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


def card_uuid(hook_instance: str, card_id: str, order_reference: str) -> str:
    """The same hook instance, card and order give the same uuid, so that repeats of a call are recognisable."""
    return derived_uuid(f"{hook_instance}|{card_id}|{order_reference}")


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
        lately = self._knowledge.engineering.measured_lately.span
        needless, of_shadows = Needless(facts, lately), Needless(facts, lately)
        broke = False
        # What several cards offer, the loudest offers.
        for decision in sorted(decisions, key=_loudness):
            if decision.outcome is Outcome.FIRED:
                live = decision.card.live
                try:
                    shown = self.cards[decision.card.id].draw(decision, facts, hook_instance, needless if live else of_shadows)
                    drawn[0 if live else 1].append(shown)
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
        self._links = _raw({"label": cut(label), "url": url, "type": "absolute"} for label, url in links)
        created = creatable(knowledge.orders, dialect)
        self._selection = "any" if dialect.any_only else file.selection
        self._first_only = narrowed(file, dialect)
        self._suggestions = [
            Suggestion(offer, created, knowledge.orders, knowledge.terminology)
            for offer in offers(file, knowledge.orders, dialect)
        ]
        self._kinds = knowledge.terminology.drug_classes
        self._named = {
            name: named_drugs([card.criteria[one] for one in members], knowledge) for name, members in card.members.items()
        }
        self._labs = [name for name, criterion in card.criteria.items() if criterion.__struct_config__.tag == "lab"]

    def draw(self, decision: Decision, facts: Facts, hook_instance: str, needless: Needless) -> Shown:
        """The card as it is shown; tells `needless` what it offers."""
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
        offered: list[str] = []  # alternatives of one card may be of one drug
        for item in self._suggestions:
            if self._first_only and first not in ("", item.whole):
                break
            if holds(decision.findings, item.file.when, item.file.unless) and (needed := item.needed(needless)):
                own = item.change(decision.order)
                if (suggestion := item.draw(identity, plain, decision.order, own, needed)) is not None:
                    card.suggestions.append(suggestion)
                    offered += item.keys(needed)
                    first = first or item.whole
                    changed += [own] if own else []
        needless.offered.update(offered)
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
        lines = 0  # of the card's own paragraphs
        for item, template in self._card.paragraphs:
            if holds(findings, item.when, item.unless):
                if item.same_line and lines:
                    paragraphs[-1] += f" {template.render(say)}"
                else:
                    paragraphs.append(template.render(say))
                    lines += 1
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


def _loudness(decision: Decision) -> int:
    return _LOUDEST_FIRST.index(decision.card.file.table[decision.row].indicator) if decision.row >= 0 else len(_LOUDEST_FIRST)


def with_words(note: str, words: str) -> str:
    """`note` with what a laboratory wrote, cleaned and escaped: "potassium of 2025-11-28 has no unit (“2.2”)"."""
    return f"{note} ({markdown(f'“{words}”')})" if words else note


def holds(findings: Evaluator, when: list[str], unless: list[str]) -> bool:
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
    """Return the ingredients that criteria look for: of a combination only these are named."""
    named: set[str] = set()
    for criterion in criteria:
        sought = criterion.drugs_sought
        named.update(sought.ingredients)
        named.update(name for one in sought.classes for name in knowledge.terminology.drugs_of(one))
    return frozenset(named)


def _raw(items: Iterable[dict[str, Any]]) -> msgspec.Raw:
    return msgspec.Raw(_encode(list(items)))
