"""Find the value that failed a msgspec conversion, and explain the error to people.

By hand, because msgspec gives its errors only as text: this module alone reads those texts, and its tests pin them.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, Union

import msgspec

Keys = tuple[str | int, ...]  # from the outermost value to an inner one


class ConversionError(NamedTuple):
    """An explained conversion error. `missing`: the required value at `keys` is absent."""

    keys: Keys
    text: str
    missing: bool = False


def explained(error: msgspec.ValidationError, kind: type, value: object) -> ConversionError:
    """Explain the `error` that `msgspec.convert(value, kind)` raised, with a suggestion for a misspelt name or word."""
    text, _, path = str(error).partition(" - at `$")
    keys = _place(kind, value, str(error), path)
    if unknown := re.search(r"unknown field `(.+?)`", text):
        return ConversionError((*keys, unknown[1]), f"unknown name{suggestion(unknown[1], _field_names(kind))}")
    if missing := re.search(r"missing required field `(.+?)`", text):
        return ConversionError((*keys, missing[1]), text, missing=True)
    if bad := re.search(r"Invalid (?:enum )?value '?(.+?)'?$", text):
        allowed = _allowed_at(kind, keys)
        close = difflib.get_close_matches(bad[1], allowed, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"allowed are: {', '.join(allowed)}"
        return ConversionError(keys, f"`{bad[1]}` is not one of the allowed values" + (f"; {hint}" if allowed else ""))
    return ConversionError(keys, text)


def _place(kind: type, value: Any, message: str, path: str) -> Keys:
    """Return the keys of the inner value at which the conversion to `kind` failed.

    msgspec writes `[...]` for a key of a mapping: it is found by converting each value on its own.
    """
    keys: Keys = ()
    here = value
    for part in re.findall(r"[A-Za-z_][\w-]*|\d+|\[\.\.\.\]", path):
        key: str | int = int(part) if part.isdigit() else part
        if part == "[...]":
            key = next((one for one in here if _fails(kind, _with(value, keys, {one: here[one]}), message)), part)
        keys = (*keys, key)
        try:
            here = here[key]
        except (LookupError, TypeError):
            break
    return keys


def _fails(kind: type, value: object, message: str) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error) == message
    return False


def _with(value: Any, keys: Keys, new: object) -> Any:
    """Return a copy of `value` with the inner value at `keys` replaced."""
    if not keys:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[keys[0]] = _with(value[keys[0]], keys[1:], new)
    return copy


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the name with "did you mean ...?" and the closest known name, or with a list of names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" `{name}`; did you mean `{close[0]}`?"
    return f" `{name}`; known are: {', '.join(names[:40])}" if names else f" `{name}`"


def _field_names(kind: object) -> set[str]:
    """Return the field names of a struct type and of the struct types inside it."""
    return {field.encode_name for struct in _inside(kind) if _is_struct(struct) for field in msgspec.structs.fields(struct)}


def _allowed_at(kind: object, keys: Keys) -> list[str]:
    """Return the words allowed at `keys` in a `kind`: those of `Literal`, and tags of struct types."""
    here, tags = _alternatives(kind), list[str]()
    for key in keys:
        below: list[object] = []
        tags = []
        for one in here:
            if _is_struct(one):
                below += [field.type for field in msgspec.structs.fields(one) if field.encode_name == key]
                tags += [str(one.__struct_config__.tag)] if one.__struct_config__.tag_field == key else []
            elif typing.get_origin(one) in (list, dict):
                below.append(typing.get_args(one)[-1])
        here = [one for part in below for one in _alternatives(part)]
    words = [word for one in here if typing.get_origin(one) is Literal for word in typing.get_args(one)]
    return list(dict.fromkeys(word for word in (*words, *tags) if isinstance(word, str)))


def _alternatives(kind: object) -> list[object]:
    """Return the members of a union, the type inside Annotated, or the type itself."""
    if typing.get_origin(kind) in (Union, types.UnionType, Annotated):
        return [one for member in getattr(kind, "__args__", ()) for one in _alternatives(member)]
    return [kind]


def _is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _inside(kind: object) -> set[object]:
    """Return a type and all types inside it, also the arguments of `Literal`."""
    found: set[object] = set()
    waiting: list[object] = [kind]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            fields = msgspec.structs.fields(current) if _is_struct(current) else ()
            waiting.extend([*(field.type for field in fields), *getattr(current, "__args__", ())])
    return found
