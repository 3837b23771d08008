"""List the texts of a card, fill in their numbers and find invalid placeholders.

Evidence (`{potassium_low.value}`) is filled in for each patient. The numbers of a criterion (`{potassium_low.below}`, its
`unit`), the dose that a suggestion offers (`{offered.dose}`) and the repeat rule (`{repeat.after_days}`) are filled in once, so
that texts change with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from cds_service.criteria.kinds import Criterion
from cds_service.criteria.numbers import number_texts
from cds_service.files.conversion_errors import Keys, suggestion
from cds_service.knowledge.card_file import CardFile, Resource, SuggestionFile
from cds_service.knowledge.templates import REQUEST_FIELDS, Template

OFFERED = "offered"
REPEAT = "repeat"
_TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times"}
_PERIODS = {"d": "daily", "wk": "weekly", "mo": "monthly"}


class CardText(NamedTuple):
    """One text of a card."""

    keys: Keys  # its place in the card's file
    text: str
    offers: tuple[str, ...] = ()  # the orders (by name) of the suggestion that it belongs to
    of_patient: bool = True  # it may have placeholders for evidence
    quoted: tuple[str, ...] = ()  # numbers in it from a source, which no criterion changes


def texts_of(card: CardFile) -> Iterator[CardText]:
    """Yield all texts of a card that can hold placeholders."""
    for position, row in enumerate(card.table):
        yield CardText(("table", position, "summary"), row.summary, quoted=tuple(row.quoted))
    for position, paragraph in enumerate(card.detail):
        yield CardText(("detail", position, "text"), paragraph.text, quoted=tuple(paragraph.quoted))
    for position, item in enumerate(card.suggestions):
        offers, quoted = _offers(item), tuple(item.quoted)
        yield CardText(("suggestions", position, "label"), item.label, offers, quoted=quoted)
        for number, action in enumerate(item.actions):
            keys: Keys = ("suggestions", position, "actions", number, "description")
            yield CardText(keys, action.description, offers, quoted=quoted)
    for position, unchecked in enumerate(card.not_checked):
        yield CardText(("not_checked", position, "because"), unchecked.because, of_patient=False)
    yield CardText(("why",), card.why, of_patient=False)
    for position, gap in enumerate(card.known_gaps):
        yield CardText(("known_gaps", position), gap, of_patient=False)
    for position, passage in enumerate(card.page):
        yield CardText(("page", position, "text"), passage.text, of_patient=False, quoted=tuple(passage.quoted))


def _offers(item: SuggestionFile) -> tuple[str, ...]:
    return tuple(action.resource for action in item.actions if action.resource)


def offered_texts(orders: Iterable[Resource]) -> dict[str, str]:
    """Return the texts of `{offered.dose}` and `{offered.frequency}`: "20 mEq", "twice daily".

    From the first order that has one.
    """
    texts: dict[str, str] = {}
    for order in orders:
        for dosage in order.get("dosageInstruction", [])[:1]:
            for dose in dosage.get("doseAndRate", [])[:1]:
                if "doseQuantity" in dose:
                    texts.setdefault("dose", f"{dose['doseQuantity']['value']} {dose['doseQuantity']['unit']}")
            repeat = dosage.get("timing", {}).get("repeat", {})
            times, period = _TIMES.get(repeat.get("frequency", 0)), _PERIODS.get(repeat.get("periodUnit", ""))
            if times and period and repeat.get("period") == 1:
                texts.setdefault("frequency", f"{times} {period}")
    return texts


def filler(criteria: Mapping[str, Criterion], after_days: int | None) -> Callable[[str, Mapping[str, str]], str]:
    """Return a function that fills numbers into a text: of criteria, the repeat rule and the offer.

    Other placeholders stay as they are.
    """
    repeat = {} if after_days is None else {"after_days": str(after_days)}

    def fill(text: str, offered: Mapping[str, str]) -> str:
        def number_for(name: str, field: str) -> str:
            if name in criteria:
                known: Mapping[str, str] = number_texts(name, criteria)
            else:
                known = {OFFERED: offered, REPEAT: repeat}.get(name, {})
            return known.get(field, f"{{{name}.{field}}}")

        return Template(text).render(number_for)

    return fill


def with_numbers(card: CardFile, criteria: Mapping[str, Criterion], orders: Mapping[str, Resource]) -> CardFile:
    """Return the card with all numbers in its texts, so that they follow the logic."""
    fill = filler(criteria, card.repeat.after_days if card.repeat is not None else None)

    def offering(item: SuggestionFile) -> SuggestionFile:
        offered = offered_texts(orders[name] for name in _offers(item))
        actions = [msgspec.structs.replace(one, description=fill(one.description, offered)) for one in item.actions]
        return msgspec.structs.replace(item, label=fill(item.label, offered), actions=actions)

    return msgspec.structs.replace(
        card,
        why=fill(card.why, {}),
        known_gaps=[fill(gap, {}) for gap in card.known_gaps],
        table=[msgspec.structs.replace(row, summary=fill(row.summary, {})) for row in card.table],
        detail=[msgspec.structs.replace(item, text=fill(item.text, {})) for item in card.detail],
        suggestions=[offering(item) for item in card.suggestions],
        not_checked=[msgspec.structs.replace(item, because=fill(item.because, {})) for item in card.not_checked],
        page=[msgspec.structs.replace(item, text=fill(item.text, {})) for item in card.page],
    )


def content_with_numbers(
    card: Mapping[str, Any], criteria: Mapping[str, Criterion], orders: Mapping[str, Resource]
) -> dict[str, Any]:
    """Return a card in YAML form with all numbers in its texts, without the `quoted` members."""
    fill = filler(criteria, card["repeat"]["after_days"] if card.get("repeat") else None)

    def walk(value: Any, offered: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            return fill(value, offered)
        if isinstance(value, list):
            return [walk(one, offered) for one in value]
        if isinstance(value, dict):
            if "actions" in value:
                resources = [action.get("resource") for action in value["actions"]]
                offered = offered_texts(orders[name] for name in resources if name in orders)
            return {key: walk(one, offered) for key, one in value.items() if key != "quoted"}
        return value

    return {key: walk(value, {}) for key, value in card.items()}


def placeholder_problems(
    card: CardFile, used: Iterable[str], criteria: Mapping[str, Criterion], orders: Mapping[str, Resource]
) -> Iterator[tuple[Keys, str]]:
    """Yield (keys of the place, error) of invalid placeholders and of texts that look like HTML.

    `used`: the criteria that the card names, with their members.
    """
    known = list(used)
    for one in texts_of(card):
        if "<" in one.text:
            yield one.keys, "holds `<`: some clients show HTML, write it in words"
        for name, field in Template(one.text).placeholders:
            if f"{name}.{field}" in REQUEST_FIELDS:
                if name == "order" and not card.for_each:
                    yield one.keys, "placeholder names the order, and the card has no `for_each`"
                continue
            if name == OFFERED:
                if field not in (offered := offered_texts(orders[offer] for offer in one.offers if offer in orders)):
                    yield one.keys, f"the offered orders have no{suggestion(field, offered)}"
                continue
            if name == REPEAT:
                if field != "after_days" or card.repeat is None:
                    yield one.keys, "the card has no `repeat` rule with this field; `repeat` has `after_days`"
                continue
            if name not in known:
                yield one.keys, f"placeholder names an unknown criterion{suggestion(name, known)}"
                continue
            kind = str(criteria[name].__struct_config__.tag)
            allowed = {*number_texts(name, criteria), *(criteria[name].placeholders if one.of_patient else ())}
            if field not in allowed:
                yield one.keys, f"a {kind} criterion has no field{suggestion(field, sorted(allowed))}"
