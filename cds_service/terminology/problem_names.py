"""Find the problem sets of a diagnosis by its codes and names.

Built once from `cards/value_sets/problems/` (one file per set) and `problem_text.yaml`. A name is read whatever code stands
beside it: it can add a set and never removes one that a code means, so that "history of heart failure" beside the code of heart
failure still warns. The exceptions stand in the data: `text_decides` for a set that excuses (malaria excuses quinine),
`not_codes` for codes that must not count for the set, with any name. Names are English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cds_service.terminology.code_systems import Known
from cds_service.terminology.value_sets import ProblemCode, ProblemFile, ProblemText, ProblemTextFile, pattern, read, wrong

FOLDER = "problems"
TEXT_FILE = "problem_text.yaml"
_NOT_ICD10 = re.compile(r"[^A-Z0-9]+")  # the dot, and the dagger and asterisk of the WHO and German editions
_TAG = re.compile(r"\s*\((?:disorder|finding|situation|event|procedure|observable entity)\)\s*$", re.IGNORECASE)
READ = 300  # characters of a name that are searched: some patterns are slow on long and odd names
_CUT = " ; "  # in place of text that was cut out: the end of a clause


class ProblemRecognition(msgspec.Struct, frozen=True, gc=False):
    """The result of recognising a diagnosis; without a match `sets` is empty."""

    sets: frozenset[str] = frozenset()
    code: str = ""  # "system|code" of the first coding in a set
    week: int | None = None  # of the pregnancy, on the day of the code


class _Text(msgspec.Struct, frozen=True, gc=False):
    match: re.Pattern[str]
    but_not: tuple[re.Pattern[str], ...]
    kept: frozenset[str]  # general cuts that are not made for this set
    decides: bool


_NOTHING = ProblemRecognition()
_ByCode = dict[tuple[str, str], list[str]]


class ProblemIndex:
    """Look up diagnoses. `displays`: the name of each set for people."""

    def __init__(self, crossed_out: dict[str, re.Pattern[str]]) -> None:
        self.displays: dict[str, str] = {}
        self.from_week: dict[str, int] = {}  # set -> the first week of pregnancy that belongs to it
        self._crossed_out = crossed_out
        self._exact: _ByCode = {}
        self._prefixes: _ByCode = {}
        self._not_exact: _ByCode = {}
        self._not_prefixes: _ByCode = {}
        self._lengths: list[int] = []
        self._weeks: dict[tuple[str, str], int] = {}
        self._texts: dict[str, _Text] = {}

    def recognise(self, codes: Iterable[Known], names: tuple[str, ...]) -> ProblemRecognition:
        """Recognise a diagnosis by `codes` of known systems and `names`: the text and every display."""
        coded: set[str] = set()
        denied: set[str] = set()
        by, week = "", None
        for system, sent, whole in codes:
            code = plain(system, sent)
            said = self._by_code(system, code, self._exact, self._prefixes)
            never = self._by_code(system, code, self._not_exact, self._not_prefixes)
            said -= never
            denied |= never
            coded |= said
            if said and not by:
                by = whole
            week = self._weeks.get((system, code), week)
        named = self._by_name(names) - denied if names else set()
        for excuse in [one for one in coded - named if one in self._texts and self._texts[one].decides]:
            if any(self._texts[excuse].match.search(name) for name in names):  # named, but only in text that was cut out
                coded.discard(excuse)
        sets = coded | named
        return ProblemRecognition(frozenset(sets), by if coded else "", week) if sets else _NOTHING

    def add(self, name: str, file: ProblemFile) -> None:
        """Add the set `name`. Raises KnowledgeError for invalid patterns and unknown names in `kept`."""
        self.displays[name] = file.display
        self._exact["site", name] = [name]
        for entry in file.codes:
            _enter(entry, name, self._exact, self._prefixes)
            if entry.week is not None:
                self._weeks[entry.system, plain(entry.system, entry.code)] = entry.week
                self.from_week[name] = min(self.from_week.get(name, entry.week), entry.week)
        for entry in file.not_codes:
            _enter(entry, name, self._not_exact, self._not_prefixes)
        self._lengths = sorted({len(code) for _, code in (*self._prefixes, *self._not_prefixes)})
        if file.text is not None:
            self._texts[name] = self._text(f"{FOLDER}/{name}.yaml", file.text, file.text_decides)

    def _text(self, shown_as: str, text: ProblemText, decides: bool) -> _Text:
        if strange := sorted(set(text.kept) - self._crossed_out.keys()):
            raise wrong(shown_as, "text.kept", f"not among the cuts of {TEXT_FILE}: {', '.join(strange)}")
        but_not = tuple(pattern(shown_as, "text.not", one) for one in text.but_not)
        return _Text(pattern(shown_as, "text.match", text.match), but_not, frozenset(text.kept), decides)

    def _by_code(self, system: str, code: str, exact: _ByCode, prefixes: _ByCode) -> set[str]:
        found = set(exact.get((system, code), ()))
        if system == "icd10":
            for length in self._lengths:
                found.update(prefixes.get((system, code[:length]), ()))
        return found

    def _by_name(self, names: tuple[str, ...]) -> set[str]:
        found: set[str] = set()
        for name in dict.fromkeys(names):
            said = _TAG.sub("", name[:READ])
            left: dict[frozenset[str], str] = {}
            for set_id, text in self._texts.items():
                if set_id in found or text.match.search(said) is None:  # as nearly always
                    continue
                if text.kept not in left:
                    left[text.kept] = self._without(said, text.kept)
                rest = left[text.kept]
                for one in text.but_not:
                    rest = one.sub(_CUT, rest)
                if text.match.search(rest) is not None:
                    found.add(set_id)
        return found

    def _without(self, said: str, kept: frozenset[str]) -> str:
        for name, one in self._crossed_out.items():
            if name not in kept:
                said = one.sub(_CUT, said)
        return said


def load(folder: Path) -> ProblemIndex:
    """Read the sets under `folder` (`cards/value_sets`). Raises KnowledgeError with file and reason."""
    file = read(folder, TEXT_FILE, ProblemTextFile)
    index = ProblemIndex({name: pattern(TEXT_FILE, f"crossed_out.{name}", one) for name, one in file.crossed_out.items()})
    for path in sorted((folder / FOLDER).glob("*.yaml")):
        index.add(path.stem, read(folder, f"{FOLDER}/{path.name}", ProblemFile))
    return index


def plain(system: str, code: str) -> str:
    """Return a code as it is compared: of ICD-10 in capitals, without dot and marks."""
    return _NOT_ICD10.sub("", code.upper()) if system == "icd10" else code


def _enter(entry: ProblemCode, name: str, exact: _ByCode, prefixes: _ByCode) -> None:
    table = exact if entry.match == "exact" else prefixes
    table.setdefault((entry.system, plain(entry.system, entry.code)), []).append(name)
