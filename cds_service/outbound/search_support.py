"""Learn which searches a FHIR server supports: parameters it refuses or requires, types it lacks.

FHIR lets a server choose which parameters it supports, and refuse a search. A quirk is one such choice. `repairs` finds the
quirks in a refusal, so that the search can be sent once more in an adapted form; quirks that helped are kept in `Quirks`, and the
next search is adapted from the start. Pure: the clock is passed in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from cds_service.fhir.resources import NOT_JSON

KEPT_SECONDS = 3600.0  # then a quirk is learned again: servers are upgraded, and a mistake must not last
MAX_QUIRKS = 64  # of one server
MOST_REPAIRS = 4  # of one search; a server that objects to more does not support what is asked for
REFUSALS = frozenset({400, 404, 405, 413, 414, 422, 431, 501})  # statuses that may mean an unsupported form of a search
TOO_LONG = frozenset({413, 414, 431})  # statuses about the length of the URL

Kind = Literal["without", "with", "by subject", "lacks", "by form", "one by one"]

# What is added where a server requires it. US Core: "category" is a parameter of Observation and Condition, MedicationRequest is
# searched by patient and intent ("order,plan").
REQUIRED = {
    ("Observation", "category"): "laboratory",
    ("MedicationRequest", "intent"): "order,plan",
    ("Condition", "category"): "problem-list-item,encounter-diagnosis,health-concern",
}
# What a required category leaves out: pregnancy status and measured ECGs.
_LEFT_OUT = {("Observation", "category"): "social-history,procedure,exam,vital-signs"}
_OPTIONAL = ("_sort", "_count", "_include")  # without these a search finds the same
_DROPPED = (*_OPTIONAL, "status", "code")  # without these it finds more, and readers select
_REQUIRES = re.compile(r"\b(?:requir\w*|mandatory|missing|must|needs?|at least one|specif(?:y|ied)|provided?)\b", re.IGNORECASE)
# Servers that refuse a parameter like to list those that they know.
_LIST = re.compile(
    r"\b(?:valid|known|supported|allowed|available)\b[^.;]{0,40}\b(?:parameters?|values?)\b[^.;]{0,30}(?:are|:).*",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG = re.compile(r"\btoo (?:long|large)\b|\b(?:exceeds?|maximum)\b[^.;]{0,40}\blength\b", re.IGNORECASE)
_NO_TYPE = re.compile(
    r"\b(?:unknown|unsupported|not supported|not implemented|does not support|no such)\b[^.;]{0,40}\b(?:resource|type|endpoint)\b"
    r"|\b(?:resource|type)\b[^.;]{0,60}\b(?:unknown|unsupported|not supported|not implemented|not available)\b",
    re.IGNORECASE,
)


class Quirk(NamedTuple):
    """One quirk of a server: how searches of a resource type must be adapted."""

    kind: Kind
    type: str
    parameter: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "lacks":
                return f"has no {self.type}"
            case "by form":
                return f"{self.type} by POST _search"
            case "one by one":
                return f"{self.type} one by one"
            case "by subject":
                return f"{self.type} by subject"
        return f"{self.type} {self.kind} {self.parameter}"


class Issue(NamedTuple):
    """One issue of an error response: its code (FHIR's issue types, or "") and all its texts."""

    code: str
    text: str


class Quirks:
    """Remember the quirks learned of one server, each for an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[Quirk, float] = {}

    def keep(self, quirks: Iterable[Quirk]) -> None:
        """Remember quirks that helped."""
        for quirk in quirks:
            self._until.pop(quirk, None)
            self._until[quirk] = self._clock() + KEPT_SECONDS
        while len(self._until) > MAX_QUIRKS:
            del self._until[next(iter(self._until))]

    def of(self, query: str) -> tuple[Quirk, ...]:
        """Return the known quirks for searches like `query`; none for a read of one resource."""
        if not self._until or "?" not in query:
            return ()
        kind, now = type_of(query), self._clock()
        return tuple(quirk for quirk, until in self._until.items() if quirk.type == kind and until > now)


def type_of(query: str) -> str:
    """Return the resource type of "Type?…" or "Type/id"."""
    return re.split(r"[?/]", query, maxsplit=1)[0]


def adapted(query: str, quirks: Iterable[Quirk]) -> str:
    """Return `query` as a server with these quirks accepts it."""
    kind, _, rest = query.partition("?")
    parts = rest.split("&") if rest else []
    for quirk in quirks:
        if quirk.kind == "without":
            parts = [part for part in parts if _name(part) != quirk.parameter]
        elif quirk.kind == "with" and quirk.parameter not in map(_name, parts):
            parts.append(f"{quirk.parameter}={REQUIRED[kind, quirk.parameter]}")
        elif quirk.kind == "by subject":
            parts = [re.sub(r"^patient=(?:Patient(?:/|%2F))?", "subject=Patient/", part) for part in parts]
    return f"{kind}?{'&'.join(parts)}" if parts else kind


def left_out(query: str, quirks: Iterable[Quirk]) -> str | None:
    """Return the search for what a required category leaves out, or None where it leaves out nothing."""
    for quirk in quirks:
        if quirk.kind == "with" and quirk.type == type_of(query) and (value := _LEFT_OUT.get((quirk.type, quirk.parameter))):
            return f"{query}&{quirk.parameter}={value}"
    return None


def repairs(query: str, status: int, issues: Iterable[Issue]) -> tuple[Quirk, ...]:
    """Return the quirks that a refusal of `query` reveals; none where that would be a guess.

    A single quirk "lacks" means that another request is useless: the server has no resources of this type.
    """
    if status not in REFUSALS or "?" not in query:
        return ()
    kind, _, rest = query.partition("?")
    issues = list(issues)
    if status in TOO_LONG or any(_TOO_LONG.search(issue.text) for issue in issues):
        return (Quirk("by form", kind),)
    sent = [_name(part) for part in rest.split("&")]
    if any(_lacks_type(kind, sent, status, issue) for issue in issues):
        return (Quirk("lacks", kind),)
    if status == 404:
        return ()
    found = dict.fromkeys(quirk for issue in issues for quirk in _named(kind, sent, issue))
    if found:
        return tuple(found)[:MOST_REPAIRS]
    return tuple(Quirk("without", kind, name) for name in _OPTIONAL if name in sent)


def issues_of(body: bytes) -> tuple[Issue, ...]:
    """Return the issues of an OperationOutcome, or one issue with all the texts of other JSON."""
    try:
        value = msgspec.json.decode(body)
    except NOT_JSON:
        return ()
    if isinstance(value, dict) and value.get("resourceType") == "OperationOutcome":
        listed = value.get("issue")
        issues = listed if isinstance(listed, list) else [listed]
        return tuple(Issue(str(one.get("code", "")), " ; ".join(_texts(one))) for one in issues if isinstance(one, dict))
    return (Issue("", " ; ".join(_texts(value))),)


def _texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))


def _lacks_type(kind: str, sent: list[str], status: int, issue: Issue) -> bool:
    """Say whether the server states that it has no such type. "Resource not found" and a bare 404 do not state that."""
    if status == 404 and issue.code == "not-supported":
        return True
    if _NO_TYPE.search(issue.text) is None:
        return False
    words = set(re.findall(r"[\w-]+", issue.text.lower()))
    return status == 404 or (kind.lower() in words and words.isdisjoint(["parameter", "parameters", *sent]))


def _named(kind: str, sent: list[str], issue: Issue) -> Iterator[Quirk]:
    """Find the quirks that an issue names: parameters required and not sent, else parameters sent and refused."""
    for clause in re.split(r"[;\n]|\.\s", _LIST.sub("", issue.text)):
        requires = issue.code == "required" or _REQUIRES.search(clause) is not None
        missing = [
            name for of, name in REQUIRED if of == kind and name not in sent and re.search(rf"\b{name}\b", clause, re.IGNORECASE)
        ]
        if requires and missing:
            yield from (Quirk("with", kind, name) for name in missing)
        elif requires and "patient" in sent and re.search(r"\bsubject\b", clause, re.IGNORECASE):
            yield Quirk("by subject", kind)
        else:
            refused = [name for name in sent if _is_parameter(name, clause)]
            yield from (Quirk("without", kind, name) for name in refused if name in _DROPPED)
            if "patient" in refused and not requires:
                yield Quirk("by subject", kind)


def _is_parameter(name: str, clause: str) -> bool:
    """Say whether a clause names the parameter; an ordinary word ("code", "status") must be marked as one."""
    if name.startswith("_"):
        return re.search(rf"(?<![\w-]){name}(?![\w-])", clause) is not None
    marked = rf"['\"`\[]{name}['\"`\]]|\bparameters?\s*:?\s*\(?{name}\b|\b{name}\b (?:search )?parameter|\.{name}\b"
    return re.search(marked, clause, re.IGNORECASE) is not None


def _name(part: str) -> str:
    return part.partition("=")[0].partition(":")[0]
