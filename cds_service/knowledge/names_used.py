"""Find the criteria that cards and groups name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cds_service.criteria.kinds import Criterion
from cds_service.files.conversion_errors import Keys
from cds_service.knowledge.card_file import CardFile, Paragraph, Row, SuggestionFile


def criteria_named_in(card: CardFile) -> Iterator[tuple[Keys, list[str]]]:
    """Yield each place where a card names criteria: (its keys, names)."""
    if card.for_each:
        yield ("for_each",), [card.for_each]
    yield ("fire_when",), card.fire_when
    yield ("unless",), card.unless
    yield ("notice_when",), card.notice_when
    yield ("chart_notice_when",), card.chart_notice_when
    if card.repeat is not None:
        yield ("repeat", "about"), card.repeat.about
    for field, policies in (("on_unknown", card.on_unknown), ("on_missing", card.on_missing)):
        for name in policies:
            yield (field, name), [name]
    for position, row in enumerate(card.not_checked):
        yield ("not_checked", position, "when"), row.when
    conditional: tuple[tuple[str, Sequence[Row | Paragraph | SuggestionFile]], ...] = (
        ("table", card.table),
        ("detail", card.detail),
        ("suggestions", card.suggestions),
    )
    for field, items in conditional:
        for position, item in enumerate(items):
            yield (field, position, "when"), item.when
            yield (field, position, "unless"), item.unless


def named_in(card: CardFile) -> list[str]:
    """Return the criteria that a card names, each once, in the order of the file."""
    return list(dict.fromkeys(name for _, names in criteria_named_in(card) for name in names))


def with_children(names: Iterable[str], criteria: Mapping[str, Criterion]) -> list[str]:
    """Return the named criteria, with the members of each group before it."""
    found: dict[str, None] = {}
    for name in names:
        _add_with_children(name, criteria, found)
    return list(found)


def _add_with_children(name: str, criteria: Mapping[str, Criterion], found: dict[str, None]) -> None:
    criterion = criteria.get(name)
    if criterion is None or name in found:
        return
    for below in criterion.children:
        _add_with_children(below, criteria, found)
    found[name] = None


def cycle_in(criteria: Mapping[str, Criterion]) -> list[str]:
    """Return groups that are members of each other, the first again at the end; empty without a cycle."""
    done: set[str] = set()

    def look(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done and name in criteria:
            for below in criteria[name].children:
                if cycle := look(below, [*above, name]):
                    return cycle
            done.add(name)
        return []

    return next((cycle for name in criteria if (cycle := look(name, []))), [])
