"""msgspec tells where and why a conversion failed as text only: its texts are pinned here, and what is made of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from cds_service.files.conversion_errors import ConversionError, explained


class Cat(msgspec.Struct, tag="cat", tag_field="kind", forbid_unknown_fields=True):
    lives: Annotated[int, msgspec.Meta(ge=0)] = 9


class Dog(msgspec.Struct, tag="dog", tag_field="kind", forbid_unknown_fields=True):
    name: str


class House(msgspec.Struct, forbid_unknown_fields=True):
    colour: Literal["red", "green"]
    pets: list[Cat | Dog] = []
    rooms: dict[str, Literal["big", "small"]] = {}


# (the value, msgspec's text, what is made of it)
PINNED: list[tuple[dict[str, Any], str, ConversionError]] = [
    (
        {"colour": "red", "pest": []},
        "Object contains unknown field `pest`",
        ConversionError(("pest",), "unknown name `pest`; did you mean `pets`?"),
    ),
    (
        {"colour": "red", "pets": [{"kind": "dog", "nam": "Rex"}]},
        "Object contains unknown field `nam` - at `$.pets[0]`",
        ConversionError(("pets", 0, "nam"), "unknown name `nam`; did you mean `name`?"),
    ),
    ({}, "Object missing required field `colour`", ConversionError(("colour",), "Object missing required field `colour`", True)),
    (
        {"colour": "rot"},
        "Invalid enum value 'rot' - at `$.colour`",
        ConversionError(("colour",), "`rot` is not one of the allowed values; allowed are: red, green"),
    ),
    (
        {"colour": "red", "pets": [{"kind": "dgo"}]},
        "Invalid value 'dgo' - at `$.pets[0].kind`",
        ConversionError(("pets", 0, "kind"), "`dgo` is not one of the allowed values; did you mean `dog`?"),
    ),
    (
        {"colour": "red", "rooms": {"hall": "big", "loft": "smal"}},
        "Invalid enum value 'smal' - at `$.rooms[...]`",
        ConversionError(("rooms", "loft"), "`smal` is not one of the allowed values; did you mean `small`?"),
    ),
    (
        {"colour": "red", "pets": [{"kind": "cat", "lives": -1}]},
        "Expected `int` >= 0 - at `$.pets[0].lives`",
        ConversionError(("pets", 0, "lives"), "Expected `int` >= 0"),
    ),
    ({"colour": 1}, "Expected `str`, got `int` - at `$.colour`", ConversionError(("colour",), "Expected `str`, got `int`")),
]


@pytest.mark.parametrize(("value", "text", "made"), PINNED, ids=[text for _, text, _ in PINNED])
def test_each_text_of_msgspec_is_as_it_was_and_is_understood(value: dict[str, Any], text: str, made: ConversionError) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, House)
    assert str(caught.value) == text
    assert explained(caught.value, House, value) == made


def test_a_text_that_is_not_known_is_told_as_it_is() -> None:
    assert explained(msgspec.ValidationError("Something new"), House, {}) == ConversionError((), "Something new")
