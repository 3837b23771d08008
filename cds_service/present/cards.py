"""Draw decisions as CDS Hooks cards, and compose the answer of those that are chosen. Pure.

Texts come from the cards; strings that came from an EHR are cleaned, cut and escaped before they enter Markdown, because some
clients render raw HTML. No null or empty member is ever emitted (CDS Hooks 2.0, "HTTP status codes and JSON").

What is the same in every answer (override reasons, links, the resources of suggestions) is encoded once, when the cards load, for
each dialect (see `dialects`). Everything that can fail happens in `Presenter.draw`; composing only puts encoded pieces together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from cds_service.criteria.escaping import cleaned, markdown
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Facts, Lab
from cds_service.criteria.findings import IS_MET, IS_UNMET, OnError
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.wording import phrase
from cds_service.decide.decision import Decision, Outcome
from cds_service.knowledge.card_file import DialectFile
from cds_service.knowledge.dialects import PLAIN, creatable, narrowed, offers, shortened, topic_code
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.present.suggestions import DrawnSuggestion, Needless, Say, Suggestion, cut, derived_uuid

NOT_CHECKED = "not-checked"
_LOUDEST_FIRST = ("critical", "warning", "info")

_encode = msgspec.json.Encoder().encode


class _CardJson(msgspec.Struct, gc=False):
    """The members of a CDS Hooks card up to its suggestions."""

    uuid: str
    summary: str
    detail: str
    indicator: str
    source: msgspec.Raw


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A card as it could be shown, encoded but for the choice among its suggestions."""

    uuid: str
    head: bytes  # the card's JSON up to the suggestions
    offers: tuple[DrawnSuggestion, ...]


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One card of the answer."""

    uuid: str
    indicator: Literal["info", "warning", "critical"]
    body: bytes  # the card's JSON
    decision: Decision | None = None  # None for the notice
    changed_orders: tuple[bytes, ...] = ()  # the JSON of the received order with each suggested change that the card holds

    @property
    def is_notice(self) -> bool:
        """Say whether this is the notice on data that could not be checked, and not a card of the knowledge."""
        return self.decision is None


def card_uuid(hook_instance: str, card_id: str, order_reference: str) -> str:
    """The same hook instance, card and order give the same uuid, so that repeats of a call are recognisable."""
    return derived_uuid(f"{hook_instance}|{card_id}|{order_reference}")


class Presenter:
    """Draws the cards of one `Knowledge`."""

    def __init__(self, knowledge: Knowledge, public_url: str = "") -> None:
        """`public_url`: where EHRs reach the pages of the cards; "" where no card links to its page."""
        self._in = {name: _Dialect(dialect, knowledge, public_url) for name, dialect in knowledge.dialects.items()}
        self._in[""] = self._in[PLAIN]

    @property
    def dialects(self) -> frozenset[str]:
        """The names of the dialects in which it can present; "" is plain CDS Hooks."""
        return frozenset(self._in)

    def draw(
        self, decisions: Sequence[Decision], facts: Facts, hook_instance: str, on_error: OnError, dialect: str = ""
    ) -> tuple[list[Decision], list[Drawn | None]]:
        """Draw each card that fired: (the decisions, beside each the card as it could be shown).

        A card that cannot be drawn becomes a decision that failed: `on_error(card id, exception)` is told.
        """
        return self._in[dialect].draw(decisions, facts, hook_instance, on_error)

    def compose(
        self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts, hook_instance: str, dialect: str = ""
    ) -> tuple[list[Shown], list[Shown]]:
        """Compose the answer: (what is shown, what cards in shadow would have shown); at most one notice ends the first.

        `drawn` is what `draw` returned beside the decisions that `chosen` was made of. The loudest come first, as some EHRs draw
        only the first cards; those as loud as each other in the order of their ranks.
        """
        return self._in[dialect].compose(chosen, drawn, facts, hook_instance)


class _Dialect:
    """Everything that can be shown, as one kind of EHR gets it."""

    def __init__(self, dialect: DialectFile, knowledge: Knowledge, public_url: str) -> None:
        self._knowledge = knowledge
        self._limit = dialect.summary_limit
        self.cards = {card.id: CardTemplate(card, knowledge, dialect, public_url) for card in knowledge.cards}
        words = knowledge.notice
        self._notice_source = _source(knowledge, words.url, topic_code(NOT_CHECKED, dialect), words.title)

    def draw(
        self, decisions: Sequence[Decision], facts: Facts, hook_instance: str, on_error: OnError
    ) -> tuple[list[Decision], list[Drawn | None]]:
        after = list(decisions)
        drawn: list[Drawn | None] = [None] * len(after)
        for position, decision in enumerate(after):
            if decision.outcome is Outcome.FIRED:
                try:
                    drawn[position] = self.cards[decision.card.id].draw(decision, facts, hook_instance)
                except Exception as error:  # noqa: BLE001 - law 5: one card that breaks must not silence the others
                    on_error(decision.card.id, error)
                    failed = type(error).__name__
                    after[position] = msgspec.structs.replace(decision, outcome=Outcome.FAILED, in_notice=True, error=failed)
        return after, drawn

    def compose(
        self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts, hook_instance: str
    ) -> tuple[list[Shown], list[Shown]]:
        lately = self._knowledge.engineering.measured_lately.span
        live, shadows = Needless(facts, lately), Needless(facts, lately)
        shown: list[Shown] = []
        shown_in_shadow: list[Shown] = []
        both = zip(chosen, drawn, strict=True)
        fired = [(one, card) for one, card in both if card is not None and one.outcome is Outcome.FIRED]
        fired.sort(key=lambda pair: _LOUDEST_FIRST.index(pair[0].indicator))
        for decision, card in fired:  # what several cards offer, the loudest offers
            template = self.cards[decision.card.id]
            if decision.card.live:
                shown.append(template.compose(decision, card, live))
            else:
                shown_in_shadow.append(template.compose(decision, card, shadows))
        if unchecked := [decision for decision in chosen if decision.in_notice and decision.card.live]:
            shown.append(self._notice(unchecked, hook_instance))
        return shown, shown_in_shadow

    def _notice(self, decisions: list[Decision], hook_instance: str) -> Shown:
        """Write the one notice that lists all that could not be checked; never a warning, never "safe"."""
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


class CardTemplate:
    """One card with everything encoded that does not depend on the patient."""

    def __init__(self, card: Card, knowledge: Knowledge, dialect: DialectFile, public_url: str) -> None:
        file = card.file
        self.id = card.id
        self._card = card
        self._labels = knowledge.labels
        self._limit = dialect.summary_limit
        self._source = _source(knowledge, knowledge.sources[file.links[0]].url, topic_code(file.id, dialect), file.title)
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
        self._named = {
            name: named_drugs([card.criteria[one] for one in members], knowledge) for name, members in card.members.items()
        }
        self._labs = [name for name, criterion in card.criteria.items() if criterion.__struct_config__.tag == "lab"]

    def draw(self, decision: Decision, facts: Facts, hook_instance: str) -> Drawn:
        """Draw the card with all that it could offer. Whatever can fail fails here."""
        file = self._card.file
        identity = card_uuid(hook_instance, file.id, decision.order.key if decision.order is not None else "")
        plain = self._sayer(decision, facts, cleaned)
        summary = self._card.summaries[decision.row].render(plain)
        card = _CardJson(
            uuid=identity,
            summary=shortened(summary, self._limit),
            detail=self._detail(decision, facts, opening=len(summary) > self._limit),
            indicator=decision.indicator,
            source=self._source,
        )
        findings = decision.findings
        offers = (
            item.draw(identity, plain, decision.order)
            for item in self._suggestions
            if holds(findings, item.file.when, item.file.unless)
        )
        return Drawn(identity, _encode(card)[:-1], tuple(offer for offer in offers if offer is not None))

    def compose(self, decision: Decision, drawn: Drawn, needless: Needless) -> Shown:
        """Put the card together without what is needless to offer, and add to `needless` what it offers."""
        suggestions: list[bytes] = []
        changed: list[bytes] = []
        offered: list[str] = []  # added at the end: alternatives of one card may be of one drug
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
