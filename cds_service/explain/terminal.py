"""Draw cards and reviews of cards as plain text for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any

from cds_service.explain.meanings import Meanings
from cds_service.explain.sentences import Sentences, unknown_policy
from cds_service.knowledge.knowledge import Card, Knowledge

WIDTH = 88
_MARK = {"info": "i INFO", "warning": "! WARNING", "critical": "!! CRITICAL"}
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+!|~>\-])")


def draw_cards(cards: Iterable[dict[str, Any]]) -> str:
    """Return CDS Hooks cards drawn as boxes, as an EHR might show them."""
    drawn = [_box(card) for card in cards]
    return "\n".join(drawn) if drawn else "No cards for this request.\n"


def _box(card: dict[str, Any]) -> str:
    lines = [f"[{_MARK[card['indicator']]}] {card['summary']}", ""]
    for paragraph in _plain(card["detail"]).split("\n\n"):
        lines += [line for part in paragraph.split("\n") for line in textwrap.wrap(part, WIDTH - 4) or [""]] + [""]
    for suggestion in card.get("suggestions", []):
        lines.append(f"[ {suggestion['label']} ]")
        lines += [f"    {action['type']}: {action['description']}" for action in suggestion["actions"]]
    if "overrideReasons" in card:
        lines += ["", *textwrap.wrap("Override: " + " / ".join(one["display"] for one in card["overrideReasons"]), WIDTH - 4)]
    lines += [f"-> {link['label']} {link['url']}" for link in card.get("links", [])]
    source = card["source"]
    lines.append(f"{source['label']} ({source['topic']['code']})")
    rule = "+" + "-" * (WIDTH - 2) + "+"
    body = [f"| {part.ljust(WIDTH - 4)} |" for line in lines for part in (textwrap.wrap(line, WIDTH - 4) or [""])]
    return "\n".join([rule, *body, rule, ""])


def _plain(markdown: str) -> str:
    text = _ESCAPE.sub(r"\1", markdown.replace("**", ""))
    return (
        text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#64;", "@")
        .replace("&#8203;", "")
        .replace("&#46;", ".")
        .replace("&amp;", "&")
    )


def draw_review(card: Card, knowledge: Knowledge) -> str:
    """Return one card as text for a reviewer.

    It tells when the card fires, what it says and what it does not see.
    """
    file = card.file
    say, meaning = Sentences(knowledge.criteria, knowledge.terminology), Meanings(knowledge)
    lines = [f"{file.title} ({file.id} {file.version}, {file.status})", f"Owner: {file.owner}"]
    lines.append(
        f"Reviewed: {file.reviewed_on or 'not yet'}   Review due: {file.review_due or 'not set'}   Content: {card.hash[:12]}"
    )
    lines += ["", *textwrap.wrap(file.why, WIDTH), "", f"Hooks: {', '.join(file.hooks)}"]
    if file.for_each:
        lines += textwrap.wrap(f"For each order: {say.of(file.for_each)}", WIDTH)
    lines += _section("Only when", [meaning.term(name) for name in file.fire_when])
    lines += _section("Never when", [meaning.term(name) for name in file.unless])
    rows = [
        f'{row.indicator.upper()}: "{row.summary}" [{", ".join(row.source)}] when: '
        f"{'; and '.join(meaning.all_of(row.when, row.unless)) or 'always'}"
        for row in file.table
    ]
    lines += _section("First row that holds", rows, numbered=True)
    lines += _section(
        "Says that it could not check when",
        [f"{' and '.join(say.of(name) for name in row.when)}: {row.because}" for row in file.not_checked],
    )
    lines += _section("Says", [_condition(say, item.when, item.unless) + item.text for item in file.detail])
    lines += _section(
        "Offers",
        [
            f"{_condition(say, item.when, item.unless)}{item.label}: {'; '.join(action.description for action in item.actions)}"
            for item in file.suggestions
        ],
    )
    lines += _section("On its page", [f"{item.text} [{', '.join(item.source)}]" for item in file.page])
    lines += _section("Reasons to override", [knowledge.overrides[code].display for code in file.overrides])
    lines += _section("Terms", [f"{name.replace('_', ' ')}: {meaning.expanded(name)}" for name in sorted(card.criteria)])
    lines += _section("Where something is unknown", unknown_policy(file))
    lines += _section("Gives way to cards about", file.gives_way_to)
    lines += _section("Gives way to warnings about", file.gives_way_to_warnings)
    lines += _section("Does not see", file.known_gaps)
    sources = [(name, knowledge.sources[name]) for name in file.sources]
    lines += _section("Sources", [f"{name}: {one.title} {one.url}. Says: {one.says}. Read: {one.read}." for name, one in sources])
    return "\n".join(lines) + "\n"


def _condition(say: Sentences, when: list[str], unless: list[str]) -> str:
    said = " and ".join(say.of(name) for name in when)
    said += "".join(f"{' and' if said or position else ''} not {say.of(name)}" for position, name in enumerate(unless))
    return f"(if {said}) " if said else ""


def _section(title: str, items: list[str], *, numbered: bool = False) -> list[str]:
    if not items:
        return []
    lines = ["", title]
    for number, item in enumerate(items, 1):
        mark = f"{number:>2}. " if numbered else "  - "
        lines += textwrap.wrap(item, WIDTH, initial_indent=mark, subsequent_indent="    ")
    return lines
