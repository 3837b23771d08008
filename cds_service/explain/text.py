"""Draw an explanation as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import EvidenceRow
from cds_service.explain.explanation import CardExplanation, CriterionExplanation, Explanation
from cds_service.explain.terminal import WIDTH

OUTCOME_WORDS = {
    Outcome.FIRED: "fired",
    Outcome.NOT_FIRED: "did not fire",
    Outcome.COULD_NOT_CHECK: "could not check",
    Outcome.REPEATED: "fired, held back: shown before",
    Outcome.CAPPED: "fired, left out: enough other cards",
    Outcome.GAVE_WAY: "fired, gave way to another card",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.FAILED: "failed",
}
MOST_UNUSED = 40  # unused resources that are listed
_TRUTH = {"met": "met", "unmet": "not met", "unknown": "NOT KNOWN"}
_MARK = {"holds": "  ", "stops": "> ", "unsure": "? "}


def outcome_words(card: CardExplanation) -> str:
    """Return the outcome of a card in words: "fired", "did not fire", …"""
    said = OUTCOME_WORDS[card.outcome]
    return f"{said}, in shadow: not shown" if card.outcome is Outcome.FIRED and card.shadow else said


def draw_explanation(explanation: Explanation, only: str = "") -> str:
    """Return what was read, and why each card fired or did not.

    `only` limits it to one card, "" does not.
    """
    cards = [card for card in explanation.cards if only in ("", card.card)]
    lines = [f"At {explanation.hook}, {explanation.now:%Y-%m-%d %H:%M} UTC: {_counts(cards)}", ""]
    if not only:
        lines += ["What was read", *_read(explanation), ""]
        if explanation.unused:
            lines += ["What was sent and no card uses", *_unused(explanation), ""]
        lines += [f"  {card.card:28} {outcome_words(card)}{f', order {card.order}' if card.order else ''}" for card in cards]
        lines.append("")
    for card in cards:
        lines += [*_card(card), ""]
    if not only and explanation.elsewhere:
        lines.append("Cards of other hooks")
        lines += [f"  {name}: {', '.join(hooks) or 'retired'}" for name, hooks in explanation.elsewhere.items()]
        lines.append("")
    lines.append("> stops the card   ? leaves it unsure   A criterion after 'not' must be unmet.")
    return "\n".join(lines) + "\n"


def _counts(cards: Iterable[CardExplanation]) -> str:
    spoken = [outcome_words(card) for card in cards]
    return ", ".join(f"{spoken.count(one)} {one}" for one in dict.fromkeys(spoken)) or "no card has this hook"


def _read(explanation: Explanation) -> Iterator[str]:
    for name, source in explanation.sources.items():
        yield from _wrapped(f"{name}: {source.state}, from {source.origin}{f' ({source.note})' if source.note else ''}", "  ")
    for one in explanation.read:
        details = "; ".join(part for part in (one.meaning, one.code, one.reference) if part)
        yield from _wrapped(f"{one.kind}: {one.words}{f' [{details}]' if details else ''}", "    ")
    for bad in explanation.quarantined:
        yield from _wrapped(f"not readable: {bad.resource_type} at {bad.position} of {bad.source}: {bad.reason}", "    ")


def _unused(explanation: Explanation) -> Iterator[str]:
    for one in explanation.unused[:MOST_UNUSED]:
        code = f" [{one.code}]" if one.code else ""
        yield from _wrapped(f"{one.reference}: {one.text or 'no text'}{code}: {one.because}", "    ")
    if (more := len(explanation.unused) - MOST_UNUSED) > 0:
        yield f"    and {more} more; --json has them all"


def _card(card: CardExplanation) -> Iterator[str]:
    about = f", order {card.order}" if card.order else ""
    yield from _wrapped(f"{card.card}{about}: {outcome_words(card)}", "")
    verb = {Outcome.NOT_FIRED: "It did not fire", Outcome.FIRED: "It fired"}.get(card.outcome, "So")
    yield from _wrapped(f"{verb} because {card.because}", "  ")
    if card.shadow:
        yield from _wrapped(f"It runs in shadow ({card.shadow}): logged, never shown", "  ")
    if card.outcome is Outcome.COULD_NOT_CHECK:
        yield f"  The clinician {'gets a notice' if card.said else 'gets no notice'}"
    for criterion in card.conditions:
        yield from _criterion(criterion, "    ")
    for row in card.rows:
        decided = 0 < card.row < row.number
        yield f"    row {row.number} ({row.indicator}): {f'not needed, row {card.row} holds' if decided else _TRUTH[row.truth]}"
        for criterion in () if decided else row.criteria:
            yield from _criterion(criterion, "      ")
    for other in card.other_orders:
        yield from _wrapped(f"not for the order {other.order}: {other.because}", "    ")


def _criterion(criterion: CriterionExplanation, indent: str) -> Iterator[str]:
    negated = "not " if criterion.wanted == "unmet" else ""
    found = "" if criterion.members else ", ".join(_evidence(one) for one in criterion.evidence) or criterion.found
    found = f" ({found})" if found else ""
    policy = f" -> {criterion.policy}" if criterion.policy else ""
    yield from _wrapped(f"{_MARK[criterion.effect]}{negated}{criterion.says}: {_TRUTH[criterion.truth]}{found}{policy}", indent)
    for member in criterion.members:
        yield from _criterion(member, f"{indent}    ")


def _evidence(one: EvidenceRow) -> str:
    place = ", ".join(part for part in (one.code, one.source) if part)
    return f"{one.words} from {place}" if place else one.words


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ")
