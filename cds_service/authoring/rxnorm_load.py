"""Make the local RxNorm lookup from RXNCONSO.RRF and RXNREL.RRF of NLM's Current Prescribable Content.

Source of the columns and of the direction: RxNorm Technical Documentation, 12.4 (RXNCONSO), 12.7 (RXNREL) and Appendix 1. A row
of RXNREL says what the second concept has to the first: `1191||CUI|RO|315431||CUI|has_ingredient` is "315431 has_ingredient
1191". Files are read line by line; only names and relations of RxNorm's own concepts are kept, not those of other sources.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from cds_service.authoring.progress import Progress
from cds_service.files.yaml_file import KnowledgeError, Problem
from cds_service.terminology import rxnorm
from cds_service.terminology.rxnorm import Input, Release

_INGREDIENTS = frozenset({"IN", "PIN"})
_BRAND_NAME = "BN"
_PRODUCTS = frozenset(
    {"SCD", "SCDC", "SCDF", "SCDFP", "SCDG", "SCDGP", "GPCK", "MIN"}
    | {"SBD", "SBDC", "SBDF", "SBDFP", "SBDG", "BPCK", _BRAND_NAME}
)

# From a product towards its ingredients. "tradename_of" is brand -> generic, "isa" drug -> form, "form_of" salt -> ingredient.
_DOWN = frozenset(
    {"has_ingredient", "has_ingredients", "has_precise_ingredient", "has_part", "has_boss", "consists_of", "contains"}
    | {"tradename_of", "isa", "form_of", "quantified_form_of"}
)
# The same relations, as written in the other row of each pair.
_UP = frozenset(
    {"ingredient_of", "ingredients_of", "precise_ingredient_of", "part_of", "boss_of", "constitutes", "contained_in"}
    | {"has_tradename", "inverse_isa", "has_form", "has_quantified_form"}
)
# N; E: a name without quantity, not prescribed as such; O: an old code, which records still hold. Y: rejected by an editor.
_NAMES_KEPT = frozenset({"", "N", "E", "O"})
_RELATIONS_KEPT = frozenset({"", "N", "E"})

_CONSO_COLUMNS, _REL_COLUMNS = 18, 16
_DATE = re.compile(r"(?<![0-9])([01][0-9])([0-3][0-9])(20[0-9]{2})(?![0-9])")  # 09022025, as in the names of NLM's files
_ISO = re.compile(r"(20[0-9]{2})-([01][0-9])-([0-3][0-9])")


def load(conso: Path, rel: Path, to: Path, release: str, progress: Progress) -> Release:
    """Read the two files and write the lookup to the file `to`.

    `release` is its ISO date (see `release_of`).

    Raises KnowledgeError with file, line and what is wrong there, and OSError.
    """
    names, types, conso_input = _names(conso, progress)
    below, rel_input = _relations(rel, types, progress)
    products: dict[str, dict[str, str]] = defaultdict(dict)
    counts: Counter[str] = Counter()
    for code, name in names.items():
        found = _ingredients(code, below, types)
        counts[types[code] if found else "without ingredient"] += 1
        for ingredient in sorted(found):
            products[ingredient][code] = name
    if not products:
        raise _wrong(rel, 1, "no product leads to an ingredient; are both files of one release?")
    about = Release(release, (conso_input, rel_input), dict(sorted(counts.items())))
    rxnorm.write(to, about, dict(sorted(products.items())))
    return about


def release_of(conso: Path, given: str | None) -> str:
    """Return the ISO date of the release.

    It is `given` (2025-09-02 or 09022025), else found in file names around `conso`.

    Raises KnowledgeError where neither gives a date.
    """
    if given is not None:
        found = _day(given)
        if found is None:
            raise _wrong(conso, 1, "--release must be a date, such as 2025-09-02 or 09022025")
        return found
    folders = conso.resolve().parents
    readmes = [path.name for folder in folders[:2] for path in sorted(folder.glob("Readme_*.txt"))]
    for name in (conso.name, *(folder.name for folder in folders), *readmes):
        if (found := _day(name)) is not None:
            return found
    raise _wrong(conso, 1, "no file or folder name gives the release; give it with --release 2025-09-02")


def _day(text: str) -> str | None:
    if (written := _DATE.search(text)) is not None:
        month, day, year = written.groups()
    elif (written := _ISO.search(text)) is not None:
        year, month, day = written.groups()
    else:
        return None
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


def _names(path: Path, progress: Progress) -> tuple[dict[str, str], dict[str, str], Input]:
    """Return the names of products, and term types of products and ingredients, by RXCUI."""
    names: dict[str, str] = {}
    types: dict[str, str] = {}
    rows = _Rows(path, _CONSO_COLUMNS, progress)
    for row in rows:
        code, source, kind, suppress = row[0], row[11], row[12], row[16]
        if source != "RXNORM" or suppress not in _NAMES_KEPT or (suppress == "O" and code in types):
            continue
        if kind in _INGREDIENTS:
            types[code] = kind
        elif kind in _PRODUCTS:
            types[code] = kind
            names[code] = row[14]
        else:
            continue
        if not code.isascii() or not code.isdigit():
            raise _wrong(path, rows.line, "RXCUI must be a number")
    if not types:
        raise _wrong(path, 1, "no product or ingredient of RxNorm itself (SAB RXNORM); is this RXNCONSO.RRF?")
    return names, types, rows.input()


def _relations(path: Path, types: dict[str, str], progress: Progress) -> tuple[dict[str, list[str]], Input]:
    """Return the concepts directly below each concept on the way to its ingredients."""
    below: dict[str, list[str]] = defaultdict(list)
    shared = {code: code for code in types}  # one string per code, not one per row
    rows = _Rows(path, _REL_COLUMNS, progress)
    for row in rows:
        first, second, relation = row[0], row[4], row[7]
        if row[10] != "RXNORM" or row[14] not in _RELATIONS_KEPT:
            continue
        if relation in _UP:
            first, second = second, first
        elif relation not in _DOWN:
            continue
        upper, lower = shared.get(second), shared.get(first)
        if upper is not None and lower is not None and lower not in below[upper]:
            below[upper].append(lower)
    return below, rows.input()


def _ingredients(code: str, below: dict[str, list[str]], types: dict[str, str]) -> set[str]:
    """Return the ingredients, and their salts, that a product leads to.

    A brand name stands for a family of products, so it is followed only where nothing more exact leads to an ingredient.
    """
    return _walk(code, below, types, through_brands=False) or _walk(code, below, types, through_brands=True)


def _walk(code: str, below: dict[str, list[str]], types: dict[str, str], *, through_brands: bool) -> set[str]:
    found: set[str] = set()
    visited = {code}
    waiting = [code]
    while waiting:
        for one in below.get(waiting.pop(), ()):
            kind = types[one]
            if one in visited or (kind == _BRAND_NAME and not through_brands):
                continue
            visited.add(one)
            if kind in _INGREDIENTS:
                found.add(one)
            if kind != "IN":
                waiting.append(one)
    return found


class _Rows:
    """Iterate over the rows of an RRF file as lists of texts.

    `line` is the number of the last row read.
    """

    def __init__(self, path: Path, columns: int, progress: Progress) -> None:
        self.path, self.columns, self.progress = path, columns, progress
        self.line = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[list[str]]:
        read = 0
        with self.path.open("rb") as file, self.progress.of(self.path.name, self.path.stat().st_size) as progress:
            for self.line, raw in enumerate(file, 1):
                self.digest.update(raw)
                read += len(raw)
                progress.advance(read, self.line)
                try:
                    row = raw.decode("utf-8").rstrip("\r\n").split("|")
                except UnicodeDecodeError:
                    raise _wrong(self.path, self.line, "is not UTF-8") from None
                if len(row) != self.columns + 1:  # each row ends with a separator
                    raise _wrong(
                        self.path, self.line, f"{len(row) - 1} columns where {self.columns} are expected, each ended by '|'"
                    )
                yield row

    def input(self) -> Input:
        return Input(self.path.name, self.digest.hexdigest(), self.line)


def _wrong(path: Path, line: int, message: str) -> KnowledgeError:
    return KnowledgeError([Problem(str(path), line, "", message)])
