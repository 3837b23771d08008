"""Read and write the local RxNorm lookup: the ingredients and the name of each product code.

The lookup is one file, which `rxnorm_load` writes from a release that the site downloaded. The service reads it once, at start.
It is MessagePack after two lines of text, because at run time a dictionary is all that is needed. Of products without an
ingredient of the value sets only the codes are kept in memory: they prove that a drug is another drug. The file does not depend
on the value sets, so a drug added there needs no new load.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_service.files.yaml_file import KnowledgeError, Problem

SCHEMA = 1  # incremented when the content changes; a file of another schema has to be loaded again
_MAGIC = b"cds-service rxnorm "


class Input(msgspec.Struct, frozen=True):
    """A file of the release that was read: name, SHA-256 and number of rows."""

    name: str
    sha256: str
    rows: int


class Release(msgspec.Struct, frozen=True):
    """The origin of a lookup. `release`: date of the release; `counts`: products by RxNorm term type."""

    release: str
    inputs: tuple[Input, ...]
    counts: dict[str, int]


class _Content(msgspec.Struct, frozen=True):
    about: Release
    products: dict[str, msgspec.Raw]  # RXCUI of an ingredient -> {RXCUI of a product with it: name of the product}


class Product(NamedTuple):
    """A product. `ingredients`: RXCUIs among those requested; `name`: as in RxNorm, with form and so route."""

    ingredients: tuple[str, ...]
    name: str


class Products(NamedTuple):
    """The products by RXCUI, their origin, the hash of the file, and all its RXCUIs."""

    by_code: dict[str, Product]
    about: Release
    content_hash: str
    codes: frozenset[str]


def write(path: Path, about: Release, products: dict[str, dict[str, str]]) -> None:
    """Write the lookup to `path` atomically and make its folder where missing. Raises OSError.

    `products`: RXCUI of an ingredient -> {RXCUI of a product: name}. The same release gives the same bytes.
    """
    content = msgspec.msgpack.encode({"about": about, "products": products})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(_MAGIC + b"%d\n" % SCHEMA + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read(path: Path, ingredients: Collection[str]) -> Products:
    """Read the products in `path` that contain one of `ingredients` (RXCUIs).

    Raises KnowledgeError for a damaged file, another schema or another kind of file; OSError.
    """
    data = path.read_bytes()
    first, _, rest = data.partition(b"\n")
    if not first.startswith(_MAGIC):
        raise _wrong(path, "is not an RxNorm lookup")
    schema = first.removeprefix(_MAGIC).decode("ascii", "replace")
    if schema != str(SCHEMA):
        raise _wrong(path, f"has schema {schema}, this version of the service reads schema {SCHEMA}")
    digest, _, content = rest.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise _wrong(path, "is damaged: its content does not match the hash in its second line")
    try:
        decoded = msgspec.msgpack.decode(content, type=_Content)
        found: dict[str, Product] = {}
        codes = set(decoded.products)
        for ingredient in sorted(decoded.products):
            products = msgspec.msgpack.decode(decoded.products[ingredient], type=dict[str, str])
            codes.update(products)
            if ingredient in ingredients:
                for code, name in products.items():
                    known = found.get(code)
                    found[code] = Product((*known.ingredients, ingredient) if known else (ingredient,), name)
    except msgspec.MsgspecError as error:
        raise _wrong(path, f"does not have the shape of an RxNorm lookup: {error}") from error
    return Products(found, decoded.about, digest.decode(), frozenset(codes))


def _wrong(path: Path, message: str) -> KnowledgeError:
    advice = "write it again with `cds-service terminology load`, or remove it to work without"
    return KnowledgeError([Problem(str(path), 1, "", f"{message}; {advice}")])
