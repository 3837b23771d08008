"""Refuse JSON that RFC 8259 permits but that two readers may understand differently.

Refused are: members that stand twice, text that is not Unicode or holds U+0000, numbers out of range, and deep nesting. Of two
members with one name, this decoder keeps the last, while another reader, such as a gateway, may keep the first; so the meaning of
that request is uncertain. In a body only the members that decide about the call are counted (`CountingDecoder`); feedback and
draft orders, which are small, are checked as a whole (`check_whole`).
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from typing import Any, Generic, TypeVar

import msgspec

from cds_service.fhir.resources import NOT_JSON
from cds_service.wire.errors import BadRequest

T = TypeVar("T")

MAX_DEPTH = 64  # arrays and objects inside each other; FHIR's deepest examples have some 20

_NULL = rb"\u0000"
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")


class Name(str):
    """Name of a member, or a string, that a `CountingDecoder` counts."""

    __slots__ = ()


class CountingDecoder(Generic[T]):
    """Decode JSON as `shape` and count every `Name` in it, also where a later member replaces an earlier one."""

    def __init__(self, shape: Any) -> None:
        self._count = 0
        self._decode = msgspec.json.Decoder(shape, dec_hook=self._counted).decode

    def decode(self, text: bytes | msgspec.Raw) -> tuple[T, int]:
        """Return the value and the number of names in it. Raises what msgspec raises (`NOT_JSON`, msgspec.ValidationError)."""
        self._count = 0
        value: T = self._decode(text)
        return value, self._count

    def _counted(self, _: type, text: Any) -> Name:
        if not isinstance(text, str):
            raise TypeError("Expected `str`")
        self._count += 1
        return Name(text)


_members: CountingDecoder[dict[Name, msgspec.Raw]] = CountingDecoder(dict[Name, msgspec.Raw])


def checked_text(body: bytes) -> bytes:
    """Return the JSON text in `body` without a byte order mark (RFC 8259, section 8.1).

    Raises BadRequest where `body` is empty, is not UTF-8 or holds U+0000.
    """
    body = body.removeprefix(BOM_UTF8)
    if not body:
        raise BadRequest("The body is empty", why="empty")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise not_json(error, body) from None
    if _holds_null(body):
        raise BadRequest("The body holds the character U+0000", why="null_character")
    return body


def members_of(text: bytes | msgspec.Raw, where: str) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, undecoded.

    Raises BadRequest where it is something else or a member stands twice.
    """
    try:
        members, count = _members.decode(text)
    except msgspec.ValidationError:
        raise BadRequest(f"{where[0].upper()}{where[1:]} must be a JSON object", why="not_an_object") from None
    except NOT_JSON as error:
        raise not_json(error, bytes(text), whole=isinstance(text, bytes)) from None
    if count != len(members):
        raise BadRequest(f"A member of {where} stands twice", why="member_twice")
    return {str(name): value for name, value in members.items()}


def check_whole(text: bytes | msgspec.Raw, where: str) -> None:
    """Refuse a text with a repeated member, a number out of range, or too deep nesting.

    Raises BadRequest. `where` names the text in the error.
    """
    whole = isinstance(text, bytes)
    text = bytes(text)
    try:
        value = msgspec.json.decode(text)
        if text.count(b"{") + text.count(b"[") > MAX_DEPTH:  # else it can't be deeper
            _refuse_deep(where, value)
        # msgspec does not show the members that it drops. Where no text has a backslash, each quote begins or ends a name or a
        # text, and a dropped member takes its quotes along. Else the standard library decodes once more.
        if b"\\" in text or text.count(b'"') != _encode(value).count(b'"'):
            _once_more.decode(text.decode())
    except _RepeatedError:
        raise BadRequest(f"A member of an object in {where} stands twice", why="member_twice") from None
    except msgspec.ValidationError:
        raise BadRequest(f"A number in {where} is out of range", why="number") from None
    except NOT_JSON as error:
        raise not_json(error, text, whole=whole) from None


def _refuse_deep(where: str, value: Any) -> None:
    if _is_deeper(value, MAX_DEPTH):
        raise BadRequest(f"{where} is nested more than {MAX_DEPTH} levels deep", why="depth")


class _RepeatedError(Exception):
    """A member stands twice in one object."""


def _refuse_repeated(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) != len(members):
        raise _RepeatedError


_encode = msgspec.json.Encoder().encode
_BYTE = re.compile(r" \(byte (\d+)\)")
_once_more = json.JSONDecoder(object_pairs_hook=_refuse_repeated, parse_int=str, parse_float=str)


def not_json(error: Exception, body: bytes = b"", *, whole: bool = True) -> BadRequest:
    """Return the error for a body that can't be decoded, with line and column where it is known, and without any content.

    `whole`: `body` is what the caller sent; else a part of it, in which a line and column would mislead.
    """
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply", why="depth")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest(f"The body holds text that is not UTF-8{_at(body, error.start) if whole else ''}", why="not_utf_8")
    if _HALF_PAIR.search(body):
        return BadRequest("The body holds half of a surrogate pair", why="not_utf_8")
    # msgspec names the kind of fault and the byte, never the content
    fault = str(error).removeprefix("JSON is malformed: ")
    if (place := _BYTE.search(fault)) is not None:
        fault = fault[: place.start()] + (_at(body, int(place[1])) if whole else "")
    elif whole:
        fault += _at(body, len(body))
    return BadRequest(f"The body is not JSON: {fault[:1].lower()}{fault[1:]}", why="not_json")


def _at(body: bytes, position: int) -> str:
    """Return " (line 2, column 7)" for the byte at `position`; columns count characters from 1, as editors do."""
    before = body[:position]
    line = before[before.rfind(b"\n") + 1 :].decode(errors="replace")
    return f" (line {before.count(10) + 1}, column {len(line) + 1})"


def _holds_null(body: bytes) -> bool:
    """Say whether U+0000 is written somewhere; two backslashes stand for one and do not start an escape."""
    # One byte is found a hundred times as fast as six, and most bodies have few backslashes, near each other in a narrative. The
    # six are searched from the end, which takes a third of the time: FHIR has fewer backslashes than zeros.
    first = body.find(b"\\")
    if first < 0 or body.rfind(_NULL, first, body.rfind(b"\\") + len(_NULL)) < 0:
        return False
    return _NULL in body.replace(rb"\\", b"..")


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return not levels or any(_is_deeper(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return not levels or any(_is_deeper(one, levels - 1) for one in value)
    return False
