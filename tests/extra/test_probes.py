"""The reviewers' patients (CDS_SHARED/probes): which cards each has to get, which it must not, and the words of the answer.

`python -m tests.extra.test_probes [word]` prints the table of all of them, or of those whose name holds the word.
"""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime
from functools import cache

import msgspec
import pytest

from cds_service.evaluate import Engine, evaluate_body
from tests.core import Country, knowledge, presenter
from tests.extra.test_real_records import SHARED

NOW = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)
FOLDER = SHARED / "probes"
NOTICE = "not-checked"


class Probe(msgspec.Struct, frozen=True):
    """One patient and what is wanted, as `expected.json` has it.

    `wanted` holds "card", "card:indicator|indicator", "ANYOF card card" or "NONE"; `says` and `never_says` are patterns that
    occur, or do not occur, anywhere in the answer.
    """

    file: str
    hook: str
    jurisdiction: Country
    wanted: list[str]
    unwanted: list[str]
    says: list[str]
    never_says: list[str]
    why: str = ""


PROBES = msgspec.json.decode((FOLDER / "expected.json").read_bytes(), type=list[Probe])


Card = tuple[str, str]  # id and indicator


@cache
def answer_to(file: str, jurisdiction: Country) -> tuple[list[Card], str]:
    """(the cards that are shown, the notice among them; the words of the answer)."""
    engine = Engine(knowledge(), presenter(knowledge()), jurisdiction)
    answer = asyncio.run(evaluate_body((FOLDER / file).read_bytes(), engine, NOW))
    shown: list[Card] = [(one.decision.card.id if one.decision is not None else NOTICE, one.indicator) for one in answer.shown]
    return shown, answer.body.decode()


def is_shown(wanted: str, shown: list[Card]) -> bool:
    """Whether "card" or "card:indicator|indicator" is among `shown`."""
    card, _, indicators = wanted.partition(":")
    return any(one == card and (not indicators or indicator in indicators.split("|")) for one, indicator in shown)


def mistakes(probe: Probe) -> list[str]:
    """What in the answer is not as wanted."""
    shown, words = answer_to(probe.file, probe.jurisdiction)
    found = []
    for wanted in probe.wanted:
        if wanted == "NONE":
            right = not shown
        elif wanted.startswith("ANYOF "):
            right = any(is_shown(one, shown) for one in wanted.split()[1:])
        else:
            right = is_shown(wanted, shown)
        if not right:
            found.append(f"wanted {wanted}")
    found += [f"unwanted {one}" for one in probe.unwanted if is_shown(one, shown)]
    found += [f"does not say {one!r}" for one in probe.says if not re.search(one, words)]
    found += [f"says {one!r}" for one in probe.never_says if re.search(one, words)]
    return found


@pytest.mark.parametrize("probe", PROBES, ids=[probe.file.removesuffix(".json") for probe in PROBES])
def test_a_patient_of_the_reviewers_gets_the_cards_that_are_wanted(probe: Probe) -> None:
    assert mistakes(probe) == []


def main(word: str = "") -> None:
    """Print one line for each patient: right or not, the cards that are shown, and what is not as wanted."""
    chosen = [probe for probe in PROBES if word in probe.file]
    right = 0
    for probe in chosen:
        found, (shown, _) = mistakes(probe), answer_to(probe.file, probe.jurisdiction)
        right += not found
        cards = ", ".join(f"{card}:{indicator}" for card, indicator in shown) or "none"
        print(f"{'right' if not found else 'WRONG'}  {probe.file.removesuffix('.json'):24} {cards}")
        for one in found:
            print(f"       {'':24} {one}")
    print(f"{right} of {len(chosen)} right")


if __name__ == "__main__":
    main(*sys.argv[1:2])
