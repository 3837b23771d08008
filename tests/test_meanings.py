"""What is there in an unusual form is read, or the answer says that it was not: no card goes missing without a word.

Takes a case of a card that speaks, rewrites the datum that decided (see `meanings`), and looks for the card again.
`CDS_MEANINGS=50000` for the long form, `CDS_SEED=7` for other choices. A failure names its case, datum, form and seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from random import Random
from typing import Literal

import msgspec
import pytest

from cds_service.authoring.cases import load_cases
from cds_service.authoring.shorthand import request_from_case
from cds_service.criteria.facts import Allergy, Drug, Lab, Order, Problem
from cds_service.criteria.findings import Evidence, Truth
from cds_service.criteria.lab import LabCriterion
from cds_service.decide.decision import Decision, Outcome
from cds_service.evaluate import Evaluation
from cds_service.files.paths import cards_dir
from cds_service.knowledge.names_used import with_children
from cds_service.wire.refusal import RequestRefusedError
from tests import proofs
from tests.core import Json, answer_to, knowledge
from tests.meanings import FORMS, group, places, rewritten
from tests.unsaid import SPOKE, Told

REWRITINGS = proofs.examples("CDS_MEANINGS", 400, 3000)
SEED = int(os.environ.get("CDS_SEED", "1"))
KNOWN = knowledge()

ONE_ALONE = {
    "subject",
    "in a component of a panel",
    "contained in a report",
    "a member of a panel that was not sent",
    "panels in panels",
}  # which move what others rewrite

Verdict = Literal["same", "said", "recorded", "silent"]


class Base(msgspec.Struct):
    """A case in which cards speak, and the resources that decided it."""

    name: str
    request: Json
    now: datetime
    country: Literal["US", "GB"]
    answer: Evaluation
    data: dict[tuple[str, int], set[str]]  # (prefetch key, position) → ids of the cards that it decided


def answered(request: Json, base_now: datetime, country: Literal["US", "GB"]) -> Evaluation:
    return answer_to(request, known=KNOWN, country=country, now=base_now)


def reference(item: Evidence) -> str:
    match item:
        case Lab() | Drug() | Problem() | Allergy() | Order():
            return item.reference
        case _:
            return ""


def decided_by(decision: Decision) -> set[str]:
    """References of the evidence without which the card would not have spoken so."""
    row = decision.card.file.table[decision.row]
    names = (*decision.card.file.fire_when, *row.when)
    return {reference(item) for name in names for item in decision.findings[name].evidence} - {""}


@cache
def bases() -> list[Base]:
    found = []
    for case in load_cases(cards_dir(), KNOWN):
        request = request_from_case(case.file.given, case.file.hook, case.file.now)
        answer = answered(request, case.file.now, case.file.jurisdiction)
        by_reference: dict[str, set[str]] = {}
        for decision in answer.decisions:
            if decision.outcome in SPOKE and decision.card.live:
                for one in decided_by(decision):
                    by_reference.setdefault(one, set()).add(decision.card.id)
        data = {}
        for place in places(request):
            if cards := by_reference.get(f"{place.resource['resourceType']}/{place.resource['id']}"):
                data[place.key, place.position] = cards
        if data:
            found.append(Base(f"{case.card.id}: {case.file.name}", request, case.file.now, case.file.jurisdiction, answer, data))
    return found


def unusable_now(base: Base, answer: Evaluation) -> set[str]:
    """What the answer may say of results that can't be used any more."""
    before = {bad.explanation for series in base.answer.facts.labs.values() for bad in series.unusable}
    return {bad.explanation for series in answer.facts.labs.values() for bad in series.unusable} - before


def verdict(card: str, base: Base, answer: Evaluation, told: Told) -> Verdict:
    """What became of a card that spoke before one of its data was rewritten."""
    decisions = [one for one in answer.decisions if one.card.id == card]
    if any(one.outcome in SPOKE for one in decisions):
        return "same"
    if told.names(decisions[0].card) or any(words in told.text for words in unusable_now(base, answer)):
        return "said"
    # What the card's own data say of an unknown (`on_unknown`: stay silent, carry on) holds, and stands in the log.
    if any(one.outcome is Outcome.COULD_NOT_CHECK or one.unknown for one in decisions):
        return "recorded"
    return "silent"


# Forms that leave nothing by which a result could alarm: no number, no time at which it was, or nobody whose it is.
WITHOUT_ALARM = {
    "subject: urn that nothing resolves",
    "value: text without a number",
    "time: none",
    "name: in another language, a local code",
    "name: a short one, a local code",
    "a member of a panel that was not sent",
}


def must_be_said(base: Base, card: str, key: str, position: int, names: list[str]) -> bool:
    """Whether a card rested on a severe result that still alarms: then silence at the chart is not enough.

    Else a card that could not be checked keeps to what its data say about notices, see `test_nothing_unsaid`.
    """
    severe = {"potassium_severe", "magnesium_severe"}
    place = next(one for one in places(base.request) if (one.key, one.position) == (key, position))
    own = f"{place.resource['resourceType']}/{place.resource['id']}"
    met = {
        reference(item)
        for one in base.answer.decisions
        if one.card.id == card
        for name in severe & one.findings.keys()
        if one.findings[name].truth is Truth.MET
        for item in one.findings[name].evidence
    }
    return own in met and WITHOUT_ALARM.isdisjoint(names)


def does_not_count(card: str, base: Base, answer: Evaluation) -> bool:
    """Whether the card spoke of a result that is not confirmed now and therefore does not count.

    By its criteria a mild one does not, and none does beside a confirmed one of the same moment.
    """
    spoke = [one for one in base.answer.decisions if one.card.id == card and one.row >= 0]
    decisive = with_children([name for one in spoke for name in one.card.file.table[one.row].when], KNOWN.criteria)
    for criterion in (KNOWN.criteria[name] for name in decisive):
        if isinstance(criterion, LabCriterion):
            labs = results(answer, criterion.analyte)
            confirmed = {lab.effective.start for lab in labs if not lab.preliminary}
            if any(lab.preliminary and (criterion.preliminary == "ignored" or lab.effective.start in confirmed) for lab in labs):
                return True
    return False


def results(answer: Evaluation, analyte: str) -> tuple[Lab, ...]:
    series = answer.facts.labs.get(analyte)
    return series.results if series is not None else ()


def tried(base: Base, key: str, position: int, names: list[str], random: Random) -> tuple[Json, Evaluation] | None:
    request: Json | None = base.request
    for name in names:
        request = rewritten(request, key, position, name, random) if request is not None else None
    if request is None:
        return None
    return request, answered(request, base.now, base.country)


def rewritings(count: int, seed: int) -> Iterator[tuple[Base, str, int, list[str], int]]:
    """(case, prefetch key, position, names of forms, seed), drawn evenly over forms, so that rare ones come too."""
    random = Random(seed)
    for _ in range(count):
        base = random.choice(bases())
        key, position = random.choice(list(base.data))
        chosen = [random.choice(FORMS).name]
        second = random.choice(FORMS).name
        if random.random() < 0.2 and ONE_ALONE.isdisjoint(map(group, (*chosen, second))) and group(second) != group(chosen[0]):
            chosen.append(second)
        yield base, key, position, chosen, random.randrange(2**32)


@pytest.mark.proof
def test_no_datum_in_an_unusual_form_is_taken_for_absent() -> None:
    verdicts: Counter[tuple[str, Verdict]] = Counter()
    wrong: list[str] = []
    for base, key, position, names, seed in rewritings(REWRITINGS, SEED):
        try:
            found = tried(base, key, position, names, Random(seed))
        except RequestRefusedError:
            wrong.append(f"{names} {base.name!r} {key}[{position}] seed {seed}: refused as another patient's")
            continue
        if found is None:
            continue
        _, answer = found
        told = Told(answer.body, base.request["hookInstance"], "", KNOWN)
        for card in base.data[key, position]:
            got = verdict(card, base, answer, told)
            if got == "silent" and does_not_count(card, base, answer):
                got = "recorded"
            verdicts[names[-1], got] += 1
            if got == "silent" or (got == "recorded" and must_be_said(base, card, key, position, names)):
                wrong.append(f"{names} {base.name!r} {key}[{position}] seed {seed}: {card} is {got}")
    if os.environ.get("CDS_MEANINGS"):
        for (name, got), count in sorted(verdicts.items()):
            print(f"{name:60} {got:9} {count}")
    assert verdicts, "nothing was rewritten"
    assert wrong == [], f"{len(wrong)} of {sum(verdicts.values())}"


@pytest.mark.parametrize("name", [one.name for one in FORMS])
def test_every_form_is_tried(name: str) -> None:
    random = Random(SEED)
    assert any(
        rewritten(base.request, key, position, name, random) is not None for base in bases() for key, position in base.data
    )
