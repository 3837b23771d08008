"""Search texts for the patterns of `text.yaml`: reasons, haemolysis, results that were not made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

from cds_service.terminology.value_sets import PatternEntry, TextFile, pattern

_MARK = "\ue000"  # a private character of Unicode
_MARKED = re.compile(f"{_MARK}([a-z_ ]*){_MARK}")
_CAPITAL = re.compile(r"\\.|[A-Z]")  # in a pattern; not a capital that names a class, as in `\W`


class TextPatterns:
    """Match texts against the patterns of `text.yaml`, each outside its exceptions."""

    def __init__(self, file: TextFile) -> None:
        """Compile the patterns. Raises KnowledgeError for an invalid one."""
        self.by_id = MappingProxyType({name: _compiled(f"patterns.{name}", entry) for name, entry in file.patterns.items()})
        reasons = {name: match.pattern for name, (match, _) in self.by_id.items() if name.endswith("_reason")}
        self._reasons = {name: _in_lower_case(expression) for name, expression in reasons.items()}
        self._any_reason = _in_lower_case("|".join(f"(?:{expression})" for expression in reasons.values()))

    def matches(self, pattern_id: str, text: str) -> bool:
        """Tell whether `text` matches a pattern outside its exceptions. Raises KeyError for an unknown id."""
        match, but_not = self.by_id[pattern_id]
        if match.search(text) is None:
            return False
        return but_not is None or match.search(but_not.sub(" ; ", text)) is not None

    def reasons_in(self, text: str) -> frozenset[str]:
        """Return the ids of all patterns for reasons (`..._reason` in `text.yaml`) that `text` matches."""
        if not text.isascii():
            return frozenset(name for name in self._reasons if self.matches(name, text))
        lowered = text.lower()
        if self._any_reason.search(lowered) is None:  # as nearly always
            return frozenset()
        return frozenset(name for name, reason in self._reasons.items() if reason.search(lowered) and self.matches(name, text))

    @property
    def expressions(self) -> tuple[str, ...]:
        """Return all that a text is searched for."""
        return tuple(
            f"{name}: {match.pattern} but not {but_not.pattern if but_not is not None else ''}"
            for name, (match, but_not) in self.by_id.items()
        )

    def found_in(self, texts: Iterable[str]) -> list[str]:
        """Return the ids of the patterns that any of the texts matches."""
        said = [text for text in texts if text]
        return [name for name in self.by_id if any(self.matches(name, text) for text in said)]


class MarkedTexts(TextPatterns):
    """Match texts some of which were replaced by a mark, the ids of the patterns that they matched."""

    def __init__(self, patterns: TextPatterns) -> None:
        """Take over compiled patterns."""
        self.__dict__.update(patterns.__dict__)

    def matches(self, pattern_id: str, text: str) -> bool:
        """Tell whether `text` matches a pattern, or has a mark of it."""
        if (marked := _MARKED.search(text)) is not None:
            return pattern_id in marked[1].split()
        return super().matches(pattern_id, text)

    def reasons_in(self, text: str) -> frozenset[str]:
        """Return the ids of the patterns for reasons: those of a mark where there is one."""
        if (marked := _MARKED.search(text)) is not None:
            return frozenset(marked[1].split())
        return super().reasons_in(text)


def mark(pattern_ids: Iterable[str]) -> str:
    """Return what stands in a chart in place of a text that is not kept."""
    return f"{_MARK}{' '.join(sorted(pattern_ids))}{_MARK}"


def _in_lower_case(expression: str) -> re.Pattern[str]:
    """Compile a pattern for texts in lower case, which takes a third of the time of a case-insensitive search."""
    return re.compile(_CAPITAL.sub(lambda found: found[0].lower() if found[0].isalpha() else found[0], expression))


def _compiled(path: str, entry: PatternEntry) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    """Return (the pattern, its exceptions as one pattern or None)."""
    match = pattern("text.yaml", path, entry.match)
    for exception in entry.but_not:
        pattern("text.yaml", path, exception)  # each by itself, so that the error shows the wrong one
    joined = "|".join(f"(?:{exception})" for exception in entry.but_not)
    return match, pattern("text.yaml", path, joined) if joined else None
