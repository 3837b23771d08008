"""Load and run the cases of cards, through the same code as a real request.

A case gives a patient in shorthand and what the card must do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from html import unescape
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cds_service.authoring.shorthand import ShorthandError, request_from_case
from cds_service.criteria.facts import Facts, PriorCard
from cds_service.decide.decision import NOT_CHECKED, Decision, Outcome
from cds_service.evaluate import Engine, Evaluation, evaluate_request
from cds_service.files.conversion_errors import Keys
from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.knowledge.card_file import File, Hook, Indicator
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.present.card_template import Shown
from cds_service.present.cards import Presenter
from cds_service.present.suggestions import suggestion_uuid
from cds_service.wire.hook_request import decode_request


class Fires(File, frozen=True, kw_only=True):
    """Expect a card that fires: what it says and offers.

    Texts are compared without Markdown emphasis and escapes.
    """

    indicator: Indicator
    says: list[str] = []
    never_says: list[str] = []
    offers: list[str] = []  # ids of suggestions
    never_offers: list[str] = []


class CaseFile(File, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=10)]
    hook: Hook
    given: list[str | dict[str, object]]
    expect: Fires | Literal["silent", "not checked"]  # of the card in whose folder the case stands
    now: datetime = datetime.fromisoformat("2025-12-01T09:00:00+00:00")
    jurisdiction: Literal["US", "GB"] = "US"
    vignette: str = ""  # the case in the reviewers' collection that it was made from
    prior: dict[str, date] = {}  # cards shown before with the same subject, and the day
    others: dict[str, Literal["silent", "shown"]] = {}  # what other cards do for the same patient


class Case(msgspec.Struct, frozen=True):
    """Hold one case and its place in the files."""

    card: Card
    file: CaseFile
    source: YamlFile
    position: int

    @property
    def of_site(self) -> bool:
        """Return whether the overlay added or changed it."""
        return not self.source.places[self.position,].file.startswith("cards/")

    def problem(self, message: str) -> Problem:
        keys: Keys = (self.position,) if self.of_site else (self.position, "name")
        return self.source.problem(keys, f"{self.file.name}: {message}")


class Run(msgspec.Struct):
    """Hold the result of one case; `problems` is empty where it passed."""

    case: Case
    problems: list[Problem]
    evaluation: Evaluation | None = None

    @property
    def decisions(self) -> list[Decision]:
        """Return the decisions of the card that the case is about."""
        return [one for one in self.evaluation.decisions if one.card is self.case.card] if self.evaluation is not None else []

    @property
    def own(self) -> list[Shown]:
        """Return the drawn cards that the case is about, also those of a draft card."""
        drawn = [*self.evaluation.shown, *self.evaluation.shadows] if self.evaluation is not None else []
        return [one for one in drawn if one.decision is not None and one.decision.card is self.case.card]


def load_cases(folder: Path, knowledge: Knowledge) -> list[Case]:
    """Return all cases in `folder` (`cards/`), without those of retired cards.

    Where the overlay changes cases, those of the overlay are returned.

    Raises KnowledgeError for files that cannot be read.
    """
    cases: list[Case] = []
    problems: list[Problem] = []
    for card in knowledge.cards:
        if card.file.status == "retired":
            continue
        shown_as = f"cards/{card.id}/cases.yaml"
        try:
            source = YamlFile(folder / card.id / "cases.yaml", shown_as)
            if knowledge.overlay is not None:
                source = knowledge.overlay.over(source, f"{card.id}/cases.yaml")
            files = [source.convert(CaseFile, data, (position,)) for position, data in enumerate(source.data or [])]
            if not files:
                problems.append(
                    source.problem((), "has no case; a card needs cases in which it fires and cases in which it is silent")
                )
            cases.extend(Case(card, file, source, position) for position, file in enumerate(files))
        except KnowledgeError as error:
            problems.extend(error.problems)
    if problems:
        raise KnowledgeError(problems)
    return cases


def run_cases(cases: Iterable[Case], knowledge: Knowledge) -> Iterator[Run]:
    """Run each case; a case that cannot be expanded has that as its problem."""
    presenter = Presenter(knowledge)
    for case in cases:
        try:
            evaluation = asyncio.run(_evaluated(case, knowledge, presenter))
        except ShorthandError as error:
            yield Run(case, [case.problem(str(error))])
            continue
        yield Run(case, [case.problem(message) for message in _mistakes(case, evaluation, knowledge)], evaluation)


async def _evaluated(case: Case, knowledge: Knowledge, presenter: Presenter) -> Evaluation:
    file = case.file

    async def shown_before(decisions: Sequence[Decision], _: Facts) -> tuple[PriorCard, ...]:
        """Return the cards that the case names as shown before, with today's content.

        A card that does not fire now cannot be a repeat.
        """
        fired = {decision.card.id: decision for decision in decisions if decision.row >= 0}
        return tuple(
            PriorCard(name, datetime.combine(day, time(), UTC), fired[name].about, fired[name].indicator)
            for name, day in file.prior.items()
            if name in fired
        )

    call = decode_request(msgspec.json.encode(request_from_case(file.given, file.hook, file.now)), file.hook)
    engine = Engine(knowledge, presenter, file.jurisdiction)
    return await evaluate_request(call, engine, file.now, shown_before=shown_before)


def _mistakes(case: Case, evaluation: Evaluation, knowledge: Knowledge) -> Iterator[str]:
    shown = {one.decision.card.id: one for one in evaluation.shown if one.decision is not None}
    own = [one for one in evaluation.decisions if one.card is case.card]
    expect = case.file.expect
    shadows = {one.decision.card.id: one for one in evaluation.shadows if one.decision is not None}
    one = shown.get(case.card.id) or shadows.get(case.card.id)  # the cases of a draft card are run before it is shown
    for decision in own:
        if decision.outcome is Outcome.FAILED:
            yield f"the evaluation failed with {decision.error}"
    if isinstance(expect, Fires):
        if one is None:
            yield f"must show the card, and it is {', '.join(decision.outcome for decision in own) or 'not evaluated'}"
        else:
            yield from _wrong_words(expect, one.body)
    else:
        if one is not None:
            yield f"must be {expect}, and the card is shown as {one.indicator}"
        in_notice = any(decision.in_notice for decision in own)
        notice = any(other.is_notice for other in evaluation.shown)
        if (expect == "not checked") != in_notice or (in_notice and case.card.live and not notice):
            yield f"must be {expect}, and the notice '{NOT_CHECKED}' is {'given' if in_notice else 'not given'}"
    for name, wanted in case.file.others.items():
        # A card whose folder was deleted cannot be shown; that must not break another card's cases.
        if knowledge.card(name) is not None and (name in shown) != (wanted == "shown"):
            yield f"the card {name} must be {wanted}"


def _wrong_words(expect: Fires, body: bytes) -> Iterator[str]:
    card = msgspec.json.decode(body)
    if card["indicator"] != expect.indicator:
        yield f"indicator is {card['indicator']}, not {expect.indicator}"
    words = unescape(f"{card['summary']}\n{card['detail']}".replace("**", "").replace("\\", ""))
    yield from (f"does not say {text!r}" for text in expect.says if text not in words)
    yield from (f"says {text!r}" for text in expect.never_says if text in words)
    offered = {suggestion["uuid"] for suggestion in card.get("suggestions", [])}
    for name, wanted in [*((name, True) for name in expect.offers), *((name, False) for name in expect.never_offers)]:
        if (suggestion_uuid(card["uuid"], name) in offered) != wanted:
            yield f"{'does not offer' if wanted else 'offers'} {name}"
