"""Sound requests made unsound: types, values, nesting, sizes, encodings and the states of prefetch keys.

The same seed gives the same mutations. What was planted (`CANARY`) is deleted or replaced and never moved to another place, so
that a place that is stored on purpose (the name of a drug) never holds it.
"""

from __future__ import annotations

import copy
import gzip
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tests.core import Json
from tests.hostile_texts import hostile_texts

CANARY = "cAnArY"
_ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e308,
        -0.0,
        2**53 + 1,
        10**30,
        10**41,
        "",
        " ",
        "null",
        "0",
        [],
        {},
        [[]],
        [None],
        {"": None},
    ),
    *("9" * 300, "x" * 3000, "y" * 30_000, "2025-13-45", "0000-00-00T99:99:99Z", "urn:uuid:", "#", "/", "//", "Patient/", "../x"),
    *("Patient/somebody-else", "https://other.example/fhir/Patient/1", "http://loinc.org", {"reference": "#x"}, {"reference": 5}),
    *({"resourceType": "Bundle"}, {"resourceType": "Zaphod"}, {"resourceType": ["Bundle"]}, {"resource": {"resource": {}}}),
]
_STATES: list[Any] = [
    *(None, [], {}, "text", 5, {"resourceType": "Bundle", "entry": []}, {"resourceType": "Bundle", "total": 7}),
    {"resourceType": "Bundle", "entry": None},
    {"resourceType": "Bundle", "entry": [{}, None, {"resource": None}, {"resource": {}}, 1]},
    {"resourceType": "Bundle", "entry": [], "link": [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]},
    {"resourceType": "Bundle", "entry": [], "link": [{"relation": "next", "url": "https://elsewhere.example/"}]},
    {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]},
    {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"}]},
    {"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "entry": []}},
]
_HEADERS = [
    *(
        (b"content-type", kind)
        for kind in (b"application/json", b"text/plain", b"application/fhir+json; charset=utf-8", b"", b"\xff")
    ),
    *((b"content-encoding", kind) for kind in (b"gzip", b"identity", b"br, gzip", b"")),
    *((b"content-length", length) for length in (b"0", b"-5", b"5", b"99999999999999999999", b"x", b"1e3")),
    *((b"expect", b"100-continue"), (b"origin", b"https://x.example"), (b"x-forwarded-for", b"\x00")),
]


class Mutator:
    """Makes one request after another."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._texts = list(hostile_texts(400))

    def request(self, sound: Json) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """A body made of `sound` (which is left as it is), and more headers."""
        chance = self.chance
        request = copy.deepcopy(sound)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
            chance.choice((self.value, self.value, self.value, self.structure, self.size, self.prefetch, self.top))(request)
        body = self._encoded(request)
        if chance.random() < 0.25:
            body = chance.choice(_BYTES)(chance, body)
        headers = [chance.choice(_HEADERS)] if chance.random() < 0.1 else []
        if headers and headers[0] == (b"content-encoding", b"gzip") and chance.random() < 0.5:
            body = gzip.compress(body)
        return body, headers

    def value(self, request: Json) -> None:
        """Something in place of a value."""
        holder, key = self._place(request)
        old = holder[key]
        if isinstance(old, str) and self.chance.random() < 0.4 and CANARY not in old:
            at = self.chance.randint(0, len(old))
            holder[key] = old[:at] + self.chance.choice(self._texts) + old[at:]
        else:
            holder[key] = copy.deepcopy(self.chance.choice(_ODD))

    def structure(self, request: Json) -> None:
        """A member less, an array more or less, another name."""
        holder, key = self._place(request)
        match self.chance.randrange(5):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2:
                holder[key] = {"resource": holder[key]}
            case 3 if isinstance(holder[key], list) and holder[key]:
                holder[key] = holder[key][0]
            case _ if isinstance(holder, dict):
                holder[key[::-1] or "x"] = holder.pop(key)

    def size(self, request: Json) -> None:
        """Many of what there is one of, or deep where it was flat."""
        holder, key = self._place(request)
        value = holder[key]
        if isinstance(value, list) and value:
            holder[key] = value * self.chance.choice((2, 10, 60, 300))
        elif self.chance.random() < 0.3:
            for _ in range(self.chance.choice((5, 70, 400))):
                value = [value] if self.chance.random() < 0.5 else {"a": value}
            holder[key] = value

    def prefetch(self, request: Json) -> None:
        """Another state of a prefetch key, or the value of another one."""
        prefetch = request.get("prefetch")
        if not isinstance(prefetch, dict) or not prefetch:
            request["prefetch"] = copy.deepcopy(self.chance.choice(_STATES))
            return
        key = self.chance.choice(list(prefetch))
        if self.chance.random() < 0.3:
            prefetch.pop(key)
        elif self.chance.random() < 0.2:
            prefetch[key] = prefetch[self.chance.choice(list(prefetch))]
        else:
            prefetch[key] = copy.deepcopy(self.chance.choice(_STATES))

    def top(self, request: Json) -> None:
        """What a call says of itself."""
        name = self.chance.choice(("hook", "hookInstance", "fhirServer", "fhirAuthorization", "context", "extension"))
        request[name] = copy.deepcopy(self.chance.choice(_ODD))

    def _place(self, request: Json) -> tuple[Any, Any]:
        """A random container and a key or position in it; deep ones as likely as shallow ones."""
        places = list(_places(request))
        return self.chance.choice(places) if places else (request, request.setdefault("hook", None) or "hook")

    def _encoded(self, request: Json) -> bytes:
        body = msgspec.json.encode(request)
        style = self.chance.randrange(8)
        if style == 0:
            return msgspec.json.format(body)
        if style == 1:  # everything that is not ASCII as an escape
            return body.decode("utf-8", "surrogatepass").encode("ascii", "backslashreplace").replace(b"\\x", b"\\u00")
        return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        items = iter(list(value.items()))
    elif isinstance(value, list):
        items = iter(list(enumerate(value[:20])))
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _at(chance: random.Random, body: bytes, after: bytes) -> int:
    """A random place behind one of the bytes `after`; 0 where there is none."""
    places = [at + 1 for at, byte in enumerate(body[:20_000]) if byte in after]
    return chance.choice(places) if places else 0


def _inserted(piece: bytes, after: bytes) -> Callable[[random.Random, bytes], bytes]:
    def insert(chance: random.Random, body: bytes) -> bytes:
        at = _at(chance, body, after)
        return body[:at] + piece + body[at:]

    return insert


def _flipped(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body or b"x")
    for _ in range(chance.choice((1, 3, 20))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_VALUES = (b"NaN,", b"Infinity", b"1e999", b"9" * 5000, b"-", b"[" * 2000, b'{"a":' * 1200, b"\x00")
_MEMBERS = (b'"id":"x",', b'"hook":"x",', b'"resourceType":"Bundle",', b'"":1,', b'"patientId":"x",')
_IN_TEXTS = (
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"\\",
    b"\xff",
    b"\xed\xa0\x80",
    b'"',
    b"\\u202e",
    b"\\u0041",
    b"\n",
    b"\\n" * 2000,
)
_BYTES: list[Callable[[random.Random, bytes], bytes]] = [
    lambda chance, body: body[: chance.randrange(len(body) + 1)],
    lambda _, body: body + b"x",
    lambda _, body: body + body,
    lambda _, body: b"\xef\xbb\xbf" + body,
    lambda _, body: body.decode("utf-8", "replace").encode("utf-16"),
    lambda _, body: b"[" + body + b"]",
    lambda _, __: b"",
    lambda chance, _: chance.randbytes(200),
    _flipped,
    *(_inserted(piece, b":[") for piece in _VALUES),
    *(_inserted(piece, b"{") for piece in _MEMBERS),
    *(_inserted(piece, _LETTERS) for piece in _IN_TEXTS),
]
