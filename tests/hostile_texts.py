"""Texts that try to be more than text where a card is drawn: Markdown, HTML, addresses, and characters that nobody sees."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from cds_service.authoring.shorthand import request_from_case
from tests.core import NOW, Json

_PIECES: list[str] = msgspec.json.Decoder(str).decode_lines(Path(__file__).with_suffix(".jsonl").read_bytes())
UNSEEN = re.compile(
    "[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# How the service itself breaks what would look like an address: a reference to U+200B (ZERO WIDTH SPACE).
BREAK = "&#8203;"


def hostile_texts(count: int, seed: int = 1) -> Iterator[str]:
    """Each piece alone, then random sequences of them."""
    chance = random.Random(seed)
    for number in range(count):
        if number < len(_PIECES):
            yield _PIECES[number]
        else:
            yield "".join(chance.choice(_PIECES) for _ in range(chance.randint(2, 9)))


def request_with(text: str) -> Json:
    """A call whose cards name a drug, a problem, an allergy, a reaction and an order, each of which is called `text`."""
    request = request_from_case(
        [
            "takes: RXNORM#197696 ondansetron",
            "problem: ICD10#D69.6",
            "allergy: quinine, reaction rash",
            "order: RXNORM#997010 quinine, id one",
        ],
        "order-sign",
        NOW,
    )
    prefetch = request["prefetch"]
    prefetch["problems"]["entry"][0]["resource"]["code"]["text"] = text
    allergy = prefetch["allergies"]["entry"][0]["resource"]
    allergy["reaction"][0]["manifestation"][0]["text"] = text
    allergy["code"]["coding"] = [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "9071", "display": text}]
    request["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"]["text"] = text
    return request
