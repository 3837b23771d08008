"""Keep the last calls of a process in memory, with what is needed to explain them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from cds_service.evaluate import Evaluation
from cds_service.explain.explain import explain
from cds_service.explain.explanation import Explanation
from cds_service.knowledge.knowledge import Knowledge

MOST_CALLS = 32  # kept by each process; the oldest is dropped first
MOST_BYTES = 32 * 1024 * 1024  # of all kept calls together
LARGEST_BODY = 2 * 1024 * 1024  # a longer one is not kept
_DECODED = 5  # times the bytes of a request is what its facts take until it is explained

_TOKEN = re.compile(rb'("access_token"\s*:\s*)"(?:[^"\\]|\\.)*"')
_NO_TOKEN = rb'\1"(not kept)"'


class KeptFeedback(msgspec.Struct):
    """Hold one body of feedback and the response to it."""

    cards: frozenset[str]  # uuids
    words: str
    request: bytes
    status: int
    response: bytes


class KeptCall(msgspec.Struct):
    """Hold one call and its response.

    Bodies are as they were on the wire, without the token for the FHIR server; times are in ms.
    """

    id: str
    title: str
    at: datetime
    service: str
    sender: str  # who called, as its headers say; "" for this page
    base_url: str  # without a slash at the end
    request: bytes
    status: int
    response: bytes
    total_ms: float
    phases: dict[str, float] = {}
    evaluation: Evaluation | None = None  # None where the call was refused, or where it has been explained
    explanation: Explanation | None = None
    said: str = ""  # what it got, in words
    notes: list[str] = []  # on how the request came about, or what of it was not kept
    feedback: list[KeptFeedback] = []

    @property
    def url(self) -> str:
        return f"{self.base_url}/cds-services/{self.service}"

    @property
    def cards(self) -> list[dict[str, Any]]:
        """Return the cards of the response; none where the call was refused."""
        return list(msgspec.json.decode(self.response)["cards"]) if self.status == 200 and self.response else []

    @property
    def complete(self) -> bool:
        """Tell whether the request can be sent once more: it is kept, and had no token."""
        return bool(self.request) and _NO_TOKEN[2:] not in self.request

    @property
    def size(self) -> int:
        """Return about how many bytes it takes."""
        decoded = _DECODED * len(self.request) if self.evaluation is not None else 0
        return decoded + len(self.request) + len(self.response) + sum(len(one.request) for one in self.feedback)

    def explained(self, knowledge: Knowledge) -> Explanation | None:
        """Return why each card fired or did not, made at the first question; None where the call was refused."""
        if self.evaluation is not None:
            found = self.evaluation
            self.explanation = explain(found.facts, found.decisions, knowledge, found.sources)
            self.evaluation = None
        return self.explanation


class KeptCalls:
    """The last calls, bounded in number and in bytes."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, KeptCall] = OrderedDict()

    def __iter__(self) -> Iterator[KeptCall]:
        """Yield the calls, the newest first."""
        return reversed(self._calls.values())

    def get(self, call_id: str) -> KeptCall | None:
        return self._calls.get(call_id)

    def add(self, call: KeptCall) -> None:
        """Keep a call, without bodies that are too long and without its token, and drop the oldest beyond the limits."""
        for name in ("request", "response"):
            if (length := len(getattr(call, name))) > LARGEST_BODY:
                setattr(call, name, b"")
                call.notes = [*call.notes, f"The {name} of {length:,} bytes is too long to be kept here."]
        call.request = _TOKEN.sub(_NO_TOKEN, call.request)
        self._calls[call.id] = call
        while len(self._calls) > MOST_CALLS or (len(self._calls) > 1 and sum(one.size for one in self) > MOST_BYTES):
            self._calls.popitem(last=False)

    def with_card(self, uuids: frozenset[str]) -> KeptCall | None:
        """Return the newest call whose response has one of these cards."""
        return next((call for call in self if any(card.get("uuid") in uuids for card in call.cards)), None)
