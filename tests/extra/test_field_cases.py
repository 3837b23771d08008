"""Requests after public reports of what EHRs really send (CDS_SHARED/field), each with what its answer must hold.

The rows stand in `field_cases.yaml`: case → file → expectations. An expectation is one of
`card:<id>` or `card:<id>:<indicator>` (shown), `said` (the notice is there) or `said:<checks>` (and names it), `silent` (no card
and no notice), `refused` (answered with an error); alternatives are joined with " or ", and `never ` in front turns it around.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml

from cds_service.evaluate import Engine, evaluate_request
from cds_service.wire.errors import CdsError
from cds_service.wire.hook_request import decode_request
from cds_service.wire.refusal import RequestRefusedError
from tests.core import Json, knowledge, presenter
from tests.extra.test_real_records import SHARED

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)  # the reports' requests are dated to the day before
REQUESTS = SHARED / "field" / "requests"
ROWS = yaml.safe_load(Path(__file__).with_name("field_cases.yaml").read_text(encoding="utf-8"))


def rows() -> Iterator[tuple[str, str]]:
    for case, files in ROWS.items():
        for file, expectations in files.items():
            for one in [expectations] if isinstance(expectations, str) else expectations:
                yield case if file == "only" else f"{case}_{file}", one


@pytest.mark.parametrize(("file", "expected"), list(rows()))
def test_the_answer_holds_what_it_must(file: str, expected: str) -> None:
    shown = answered((REQUESTS / f"{file}.json").read_bytes())
    wanted = expected.removeprefix("never ")
    fits = any(holds(shown, one) for one in wanted.split(" or "))
    assert fits is (wanted == expected), [told(card) for card in shown] if shown is not None else "refused"


def answered(body: bytes) -> list[Json] | None:
    """The cards of the answer to one request at NOW; None where it was refused."""
    known = knowledge()
    hook = msgspec.json.decode(body)["hook"]
    try:
        answer = asyncio.run(evaluate_request(decode_request(body, hook), Engine(known, presenter(known)), NOW))
    except (CdsError, RequestRefusedError):
        return None
    assert not any(decision.error for decision in answer.decisions)
    cards: list[Json] = msgspec.json.decode(answer.body)["cards"]
    return cards


def holds(shown: list[Json] | None, expectation: str) -> bool:
    """Whether an answer is as one expectation says."""
    if expectation == "refused" or shown is None:
        return expectation == "refused" and shown is None
    kind, _, rest = expectation.partition(":")
    match kind:
        case "silent":
            return not shown
        case "said":
            return any(topic(card) == "not-checked" and f"**{rest}" in card["detail"] for card in shown)
        case "card":
            name, _, indicator = rest.partition(":")
            return any(topic(card) == name and indicator in ("", card["indicator"]) for card in shown)
    raise ValueError(f"no expectation: {expectation}")


def topic(card: Json) -> str:
    return str(card["source"]["topic"]["code"])


def told(card: Json) -> str:
    return f"{topic(card)}:{card['indicator']} {card['summary']}"
