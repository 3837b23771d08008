"""Compare what was decided again with what a record holds, byte for byte but for one substitution.

The substitution, the same on both sides, is of what no record keeps:

- In cards, each uuid and each keyed hash of an id becomes its number in the order of first appearance. A card's uuid is made of
  the draft order's id, and its patient is hashed together with the word "Patient/".
- In cards, a laboratory's unreadable words are left out: ` (“insufficient material”)`.
- In evaluations, the type of resource in the path of evidence, which is read off its reference, becomes "*".

Two other things that facts do not hold are taken from the record's cards beforehand: the address of the cards' pages, and whether
a draft order could be changed as suggested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cds_service.replay.again import CHANGEABLE, KEPT_CHANGE, UNCHANGEABLE

_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:Patient/)?k[0-9]+:[0-9a-f]{32}")
_WORDS = re.compile(" \\(“.*?”\\)".encode())
_TYPE = re.compile(rb"\.ofType\([^)]*\)")
_PAGE = re.compile(rb'"links":\[\{"label":"[^"]*","url":"([^"]*)/cards/[a-z0-9-]+/[0-9]+\.[0-9]+\.[0-9]+"')


def comparable_cards(cards: Iterable[bytes]) -> bytes:
    """Return the cards' JSON, one a line, after the substitution."""
    numbers: dict[bytes, bytes] = {}
    joined = b"\n".join(cards)
    if "“".encode() in joined:
        joined = _WORDS.sub(b"", joined)
    return _ID.sub(lambda found: numbers.setdefault(found[0], b"#%d" % len(numbers)), joined)


def comparable_evaluations(evaluations: bytes) -> bytes:
    """Return the evaluations after the substitution."""
    return _TYPE.sub(b".ofType(*)", evaluations)


def address_in(cards: Iterable[bytes]) -> str:
    """Return the base URL of the pages that recorded cards link to; "" where they link to none."""
    for card in cards:
        if (found := _PAGE.search(card)) is not None:
            return found[1].decode()
    return ""


def stand_in_for(cards: Iterable[bytes]) -> bytes:
    """Return a stand-in for draft orders, which can be changed exactly where a recorded card holds a changed order."""
    return CHANGEABLE if any(KEPT_CHANGE in card for card in cards) else UNCHANGEABLE
