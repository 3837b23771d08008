"""Draw decisions as CDS Hooks cards, and compose the response of the chosen ones. Pure.

Everything that can fail happens in `Presenter.draw`; composing only joins encoded parts. Each dialect has its own templates, see
`knowledge.dialects`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cds_service.criteria.facts import ORDERS_NOT_SENT, Facts
from cds_service.criteria.findings import OnError
from cds_service.decide.decision import FIRED, NOT_CHECKED, Decision, Outcome
from cds_service.knowledge.card_file import DialectFile
from cds_service.knowledge.dialects import PLAIN, shortened, topic_code
from cds_service.knowledge.knowledge import Knowledge
from cds_service.present.card_template import (
    CardJson,
    CardTemplate,
    Drawn,
    Shown,
    card_uuid,
    named_drugs,
    source_json,
    with_words,
)
from cds_service.present.suggestions import Needless

_HELD_BACK = (Outcome.REPEATED, Outcome.GAVE_WAY, Outcome.CAPPED)
_BY_INDICATOR = ("critical", "warning", "info")

_encode = msgspec.json.Encoder().encode


class Presenter:
    """Draw the cards of one `Knowledge` in every dialect."""

    def __init__(self, knowledge: Knowledge, public_url: str = "") -> None:
        """Encode the templates of all cards.

        `public_url`: base URL of the pages of the cards; "" where cards do not link to them.
        """
        named = named_drugs(knowledge)
        self._in = {name: _Dialect(dialect, knowledge, public_url, named) for name, dialect in knowledge.dialects.items()}
        self._in[""] = self._in[PLAIN]

    @property
    def dialects(self) -> frozenset[str]:
        """Return the names of the dialects; "" is plain CDS Hooks."""
        return frozenset(self._in)

    def draw(
        self, decisions: Sequence[Decision], facts: Facts, session: str, on_error: OnError, dialect: str = ""
    ) -> tuple[list[Decision], list[Drawn | None]]:
        """Draw each card that fired; return (the decisions, the drawn card of each or None).

        The decision of a card that raises becomes FAILED, and `on_error(card id, exception)` is called.
        """
        return self._in[dialect].draw(decisions, facts, session, on_error)

    def compose(
        self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts, session: str, dialect: str = ""
    ) -> tuple[list[Shown], list[Shown]]:
        """Compose the response; return (shown cards, cards in shadow that would have been shown).

        `drawn`: from `draw`, in the order of `chosen`. Critical cards come first, then warnings, because some EHRs show only the
        first cards; within one indicator the order is that of the ranks. At most one notice ends the shown cards.
        """
        return self._in[dialect].compose(chosen, drawn, facts, session)

    def held_back(
        self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts, dialect: str = ""
    ) -> list[Shown]:
        """Compose the cards that fired and were held back, each as if it were the only one, for the log."""
        return self._in[dialect].held_back(chosen, drawn, facts)


class _Dialect:
    """All templates in the dialect of one kind of EHR."""

    def __init__(self, dialect: DialectFile, knowledge: Knowledge, public_url: str, named: Mapping[str, frozenset[str]]) -> None:
        self._knowledge = knowledge
        self._limit = dialect.summary_limit
        self.cards = {card.id: CardTemplate(card, knowledge, dialect, public_url, named) for card in knowledge.cards}
        words = knowledge.notice
        self._notice_source = source_json(knowledge, words.url, topic_code(NOT_CHECKED, dialect), words.title)

    def draw(
        self, decisions: Sequence[Decision], facts: Facts, session: str, on_error: OnError
    ) -> tuple[list[Decision], list[Drawn | None]]:
        after = list(decisions)
        drawn: list[Drawn | None] = [None] * len(after)
        for position, decision in enumerate(after):
            if decision.outcome is FIRED:
                try:
                    drawn[position] = self.cards[decision.card.id].draw(decision, facts, session)
                except Exception as error:  # noqa: BLE001 - one card that raises must not silence the others
                    on_error(decision.card.id, error)
                    failed = type(error).__name__
                    after[position] = msgspec.structs.replace(decision, outcome=Outcome.FAILED, in_notice=True, error=failed)
        return after, drawn

    def compose(
        self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts, session: str
    ) -> tuple[list[Shown], list[Shown]]:
        lately = self._knowledge.engineering.measured_lately.span
        live, shadows = Needless(facts, lately), Needless(facts, lately)
        shown: list[Shown] = []
        shown_in_shadow: list[Shown] = []
        both = zip(chosen, drawn, strict=True)
        fired = [(one, card) for one, card in both if card is not None and one.outcome is FIRED]
        fired.sort(key=lambda pair: _BY_INDICATOR.index(pair[0].indicator))
        for decision, card in fired:  # of several cards with the same offer the first one makes it
            template = self.cards[decision.card.id]
            if decision.card.live:
                shown.append(template.compose(decision, card, live))
            else:
                shown_in_shadow.append(template.compose(decision, card, shadows))
        if unchecked := [decision for decision in chosen if decision.in_notice and decision.card.live]:
            shown.append(self._notice(unchecked, session))
        return shown, shown_in_shadow

    def held_back(self, chosen: Sequence[Decision], drawn: Sequence[Drawn | None], facts: Facts) -> list[Shown]:
        lately = self._knowledge.engineering.measured_lately.span
        return [
            self.cards[one.card.id].compose(one, card, Needless(facts, lately))
            for one, card in zip(chosen, drawn, strict=True)
            if card is not None and one.outcome in _HELD_BACK
        ]

    def _notice(self, decisions: list[Decision], session: str) -> Shown:
        """Write the notice that lists what could not be checked; it never warns and never says "safe"."""
        words = self._knowledge.notice
        items: dict[str, None] = {}
        for decision in decisions:
            failed = decision.outcome is Outcome.FAILED
            reason = words.failed if failed else with_words(decision.reason, decision.words)
            items[words.item.format(checks=decision.card.file.checks, reason=reason)] = None
        checks = ", ".join(dict.fromkeys(decision.card.file.checks for decision in decisions))
        identity = card_uuid(session, NOT_CHECKED, "")
        card = CardJson(
            uuid=identity,
            summary=shortened(words.summary.format(checks=checks), self._limit),  # the list in the detail is complete
            detail="\n".join([words.detail, "", *(f"- {item}" for item in items)]),
            indicator="info",
            source=self._notice_source,
        )
        about = ORDERS_NOT_SENT if any(one.lacks_orders for one in decisions) else ""
        return Shown(identity, "info", _encode(card), about=about)
