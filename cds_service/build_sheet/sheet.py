"""Write a build sheet as Markdown, from the cards, the dialect of the EHR and the site's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from cds_service.build_sheet.ehrs import known_ehrs
from cds_service.explain.terminal import draw_cards
from cds_service.files.paths import fixtures_dir
from cds_service.knowledge.card_file import DialectFile
from cds_service.knowledge.dialects import offers, topic_code
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.knowledge.services import ServiceDefinition
from cds_service.settings import Settings

ADDRESS = "https://cds.hospital.example"  # where the site has not said its public address
_PICTURES = ("severe-potassium", "quinine-and-baclofen", "nothing-arrived")  # golden responses
_TYPE = re.compile(r"[A-Z][A-Za-z]+")


def build_sheet(name: str, knowledge: Knowledge, settings: Settings) -> str:
    """Return the sheet of the EHR `name` as Markdown. Raises KeyError for one without a sheet."""
    ehr = known_ehrs()[name]
    dialect = knowledge.dialects[ehr.dialect]
    services = [one for one in knowledge.services if one.hook in dialect.hooks]
    cards = [one for one in knowledge.cards if not set(one.file.hooks).isdisjoint(dialect.hooks)]
    pages = Environment(
        loader=PackageLoader("cds_service.build_sheet"),
        autoescape=False,  # noqa: S701 (Markdown, of our own texts; a page renders it with HTML switched off)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template("sheet.md").render(
        name=name,
        ehr=ehr,
        dialect=dialect,
        address=settings.public_url or ADDRESS,
        address_known=bool(settings.public_url),
        deadline_ms=settings.deadline_ms,
        services=services,
        keys=_keys(services),
        types=_types(services),
        cards=[_about(card, knowledge, dialect) for card in cards],
        reasons=_reasons(cards, knowledge),
        links=_links(cards, knowledge),
        pictures=[(one, drawn) for one in _PICTURES if (drawn := _picture(ehr.dialect, one))],
    )


def _keys(services: list[ServiceDefinition]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return each prefetch key with its queries, and the hooks that use each: most are the same at every hook."""
    found: dict[str, dict[str, list[str]]] = {}
    for service in services:
        for key, template in service.prefetch.items():
            found.setdefault(key, {}).setdefault(template, []).append(service.hook)
    return [*found.items()]


def _types(services: list[ServiceDefinition]) -> list[str]:
    """Return the resource types that the token must be allowed to read."""
    types = {_TYPE.match(template) for service in services for template in service.prefetch.values()}
    return sorted({one[0] for one in types if one} | {"Medication"})  # prescriptions may only refer to their medication


def _about(card: Card, knowledge: Knowledge, dialect: DialectFile) -> dict[str, Any]:
    """Return what an analyst maps for one card, and the suggestions that this EHR is not offered."""
    offered = {offer.whole for offer in offers(card.file, knowledge.orders, dialect)}
    return {
        "title": card.file.title,
        "id": card.id,
        "version": card.file.version,
        "topic": topic_code(card.id, dialect),
        "indicators": sorted({row.indicator for row in card.file.table}),
        "hooks": [hook for hook in card.file.hooks if hook in dialect.hooks],
        "left_out": [one.label for one in card.suggestions if one.id not in offered],
    }


def _reasons(cards: list[Card], knowledge: Knowledge) -> list[tuple[str, str, list[str]]]:
    """Return (code, display, ids of cards) for each override reason."""
    used: dict[str, list[str]] = {}
    for card in cards:
        for code in card.file.overrides:
            used.setdefault(code, []).append(card.id)
    return [(code, knowledge.overrides[code].display, ids) for code, ids in sorted(used.items())]


def _links(cards: list[Card], knowledge: Knowledge) -> list[tuple[str, str]]:
    """Return (title, URL) of each page that a card links to, once."""
    sources = {name: knowledge.sources[name] for card in cards for name in card.file.links}
    return sorted({(source.title, source.url) for source in sources.values() if source.url})


def _picture(dialect: str, example: str) -> str:
    """Return the cards of a golden response drawn as text; "" where this EHR gets none for the example."""
    file = Path(fixtures_dir(), "responses", dialect, f"{example}.json")
    return draw_cards(msgspec.json.decode(file.read_bytes())["cards"]) if file.exists() else ""
