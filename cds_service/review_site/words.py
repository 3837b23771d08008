"""Write parts of cards and cases for web pages, in HTML and English."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from cds_service.authoring.cases import CaseFile, Fires
from cds_service.explain.sentences import Sentences
from cds_service.knowledge.templates import Template

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


@cache
def _markdown() -> MarkdownIt:
    """Return what draws Markdown without HTML, images and other than https links.

    A card must not make a page run or fetch anything. Imported for the first page, as a start has no use for it.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    markdown.validateLink = lambda url: url.startswith("https://")  # type: ignore[method-assign]
    return markdown


def html(markdown: str) -> Markup:
    """Render the Markdown of a card as an EHR would draw it."""
    return Markup(_markdown().render(markdown))  # noqa: S704 (markdown-it escapes all HTML in it)


def template(text: str) -> Markup:
    """Render a text of a card file, each placeholder as its name."""
    return Markup(Template(_markdown().renderInline(text)).render(_slot))  # noqa: S704 (as above; a slot is escaped)


def _slot(name: str, field: str) -> str:
    return Markup('<span class="slot">[{}: {}]</span>').format(name.replace("_", " "), field.replace("_", " "))


def conditions(sentences: Sentences, when: Sequence[str], unless: Sequence[str]) -> list[str]:
    """Return what must hold, a phrase for each condition; empty where it always holds."""
    return [*(sentences.of(name) for name in when), *(f"not: {sentences.of(name)}" for name in unless)]


def sentence(text: str) -> str:
    """Return `text` with a capital letter first; a name with its own spelling (eGFR) stays."""
    return text if text[1:2].isupper() else f"{text[:1].upper()}{text[1:]}"


def given(case: CaseFile) -> list[str]:
    """Return the patient of a case, one line for each thing given."""
    lines = [_line(one) for one in case.given]
    if case.jurisdiction != "US":
        lines.append(f"the site is in {case.jurisdiction}")
    return lines + [f"{card} was shown on {day}" for card, day in case.prior.items()]


def _line(one: str | dict[str, object]) -> str:
    if isinstance(one, str):
        return one
    if "resourceType" in one:
        return f"a {one['resourceType']} written as FHIR, see the case"
    return ", ".join(f"{name}: {value}" for name, value in one.items())  # `- patient: male` without quotes is a mapping


def expected(case: CaseFile) -> list[str]:
    """Return what the case expects, one line for each card."""
    expect = case.expect
    lines = [expect] if not isinstance(expect, Fires) else _fires(expect)
    return lines + [f"{card}: {state}" for card, state in case.others.items()]


def _fires(expect: Fires) -> list[str]:
    parts = (
        ("says", [f"“{text}”" for text in expect.says]),
        ("does not say", [f"“{text}”" for text in expect.never_says]),
        ("offers", expect.offers),
        ("does not offer", expect.never_offers),
    )
    return [expect.indicator, *(f"{verb} {', '.join(items)}" for verb, items in parts if items)]
