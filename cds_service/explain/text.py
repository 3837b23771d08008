"""An explanation as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import Seen
from cds_service.explain.explanation import CardLook, Explanation, Look
from cds_service.explain.terminal import WIDTH

SPOKEN = {
    Outcome.FIRED: "fired",
    Outcome.NOT_FIRED: "did not fire",
    Outcome.COULD_NOT_CHECK: "could not check",
    Outcome.REPEATED: "fired, held back: shown before",
    Outcome.CAPPED: "fired, left out: enough other cards",
    Outcome.GAVE_WAY: "fired, gave way to another card",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.FAILED: "failed",
}
MOST_UNUSED = 40  # resources that are listed
_TRUTH = {"met": "met", "unmet": "not met", "unknown": "NOT KNOWN"}
_MARK = {"holds": "  ", "stops": "> ", "unsure": "? "}


def outcome_words(card: CardLook) -> str:
    """What became of a card, for people: "fired", "did not fire", …"""
    said = SPOKEN[card.outcome]
    return f"{said}, in shadow: not shown" if card.outcome is Outcome.FIRED and card.shadow else said


def draw_explanation(explanation: Explanation, only: str = "") -> str:
    """What was read, and why each card fired or did not; of the card `only` alone where that is given."""
    cards = [card for card in explanation.cards if only in ("", card.card)]
    lines = [f"At {explanation.hook}, {explanation.now:%Y-%m-%d %H:%M} UTC: {_counts(cards)}", ""]
    if not only:
        lines += ["What was read", *_read(explanation), ""]
        if explanation.unused:
            lines += ["What was sent and is used by no card", *_unused(explanation), ""]
        lines += [f"  {card.card:28} {outcome_words(card)}{f', order {card.order}' if card.order else ''}" for card in cards]
        lines.append("")
    for card in cards:
        lines += [*_card(card), ""]
    if not only and explanation.elsewhere:
        lines.append("Cards that do not speak at this hook")
        lines += [f"  {name}: {', '.join(hooks) or 'retired'}" for name, hooks in explanation.elsewhere.items()]
        lines.append("")
    lines.append("> stops the card   ? leaves it unsure   A criterion behind 'not' must be unmet.")
    return "\n".join(lines) + "\n"


def _counts(cards: Iterable[CardLook]) -> str:
    spoken = [outcome_words(card) for card in cards]
    return ", ".join(f"{spoken.count(one)} {one}" for one in dict.fromkeys(spoken)) or "no card speaks here"


def _read(explanation: Explanation) -> Iterator[str]:
    for name, source in explanation.sources.items():
        yield from _wrapped(f"{name}: {source.state}, from {source.origin}{f' ({source.note})' if source.note else ''}", "  ")
    for one in explanation.read:
        told = "; ".join(part for part in (one.meaning, one.code, one.reference) if part)
        yield from _wrapped(f"{one.kind}: {one.words}{f' [{told}]' if told else ''}", "    ")
    for bad in explanation.quarantined:
        yield from _wrapped(f"not readable: {bad.resource_type} at {bad.position} of {bad.source}: {bad.reason}", "    ")


def _unused(explanation: Explanation) -> Iterator[str]:
    for one in explanation.unused[:MOST_UNUSED]:
        code = f" [{one.code}]" if one.code else ""
        yield from _wrapped(f"{one.reference}: {one.text or 'no text'}{code}: {one.because}", "    ")
    if (more := len(explanation.unused) - MOST_UNUSED) > 0:
        yield f"    and {more} more; --json has them all"


def _card(card: CardLook) -> Iterator[str]:
    about = f", order {card.order}" if card.order else ""
    yield from _wrapped(f"{card.card}{about}: {outcome_words(card)}", "")
    verb = {Outcome.NOT_FIRED: "It did not fire", Outcome.FIRED: "It fired"}.get(card.outcome, "So")
    yield from _wrapped(f"{verb} because {card.because}", "  ")
    if card.shadow:
        yield from _wrapped(f"It runs in shadow ({card.shadow}): logged, never shown", "  ")
    if card.outcome is Outcome.COULD_NOT_CHECK:
        yield f"  The clinician is {'told so' if card.said else 'not told'}"
    for look in card.conditions:
        yield from _look(look, "    ")
    for row in card.rows:
        decided = 0 < card.row < row.number
        yield f"    row {row.number} ({row.indicator}): {f'not needed, row {card.row} holds' if decided else _TRUTH[row.truth]}"
        for look in () if decided else row.criteria:
            yield from _look(look, "      ")
    for other in card.other_orders:
        yield from _wrapped(f"not for the order {other.order}: {other.because}", "    ")


def _look(look: Look, indent: str) -> Iterator[str]:
    negated = "not " if look.wanted == "unmet" else ""
    found = "" if look.members else ", ".join(_evidence(one) for one in look.evidence) or look.found
    found = f" ({found})" if found else ""
    policy = f" -> {look.policy}" if look.policy else ""
    yield from _wrapped(f"{_MARK[look.effect]}{negated}{look.says}: {_TRUTH[look.truth]}{found}{policy}", indent)
    for member in look.members:
        yield from _look(member, f"{indent}    ")


def _evidence(one: Seen) -> str:
    place = ", ".join(part for part in (one.code, one.source) if part)
    return f"{one.words} from {place}" if place else one.words


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ")
