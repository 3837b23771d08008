"""Write the parts of a case as rows for people: evidence, what was missing, criteria in the words of the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from cds_service.criteria.facts import Facts
from cds_service.criteria.group import Composite
from cds_service.decide.decision import Outcome
from cds_service.explain.evidence import evidence_rows
from cds_service.explain.sentences import Sentences
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.review.case import TRUTHS, Case, Row

_CAUSES = {
    "not_recorded": "not recorded",
    "not_readable": "could not be read",
    "not_obtained": "did not arrive",
    "failed": "the evaluation failed",
}
_SYSTEMS = {
    "http://loinc.org": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://snomed.info/sct": "SNOMED CT",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://www.whocc.no/atc": "ATC",
}
NOT_LOOKED_AT = "not looked at"


class Datum(msgspec.Struct, frozen=True):
    """One piece of evidence; "" for what the record does not have."""

    datum: str
    value: str = ""
    unit: str = ""
    time: str = ""  # as it was sent
    age: str = ""  # at the evaluation
    code: str = ""
    path: str = ""  # where it stood in the request
    source: str = ""
    reference: str = ""  # keyed hash
    used_by: Sequence[str] = ()  # criteria


class Missing(msgspec.Struct, frozen=True):
    """What was unknown and mattered."""

    datum: str  # the criterion in words
    state: str
    why: str
    allowed: str = ""  # age
    found: str = ""  # age


class Criterion(msgspec.Struct, frozen=True):
    """One criterion of the card with its truth then."""

    name: str
    says: str
    truth: str  # met, unmet, unknown, "not looked at"
    negated: bool = False  # the card wants it not met
    members: Sequence[Criterion] = ()

    @property
    def holds(self) -> bool:
        """Whether it is as the card wants it."""
        return self.truth == ("unmet" if self.negated else "met")


class TableRow(msgspec.Struct, frozen=True):
    """One row of the card's table."""

    number: int  # from 1
    indicator: str
    summary: str
    chosen: bool
    unknown: bool  # it was passed over for what was not known, not for what was known: it could have held
    criteria: Sequence[Criterion]


class Criteria(msgspec.Struct, frozen=True):
    """What the card asks for, and what was found."""

    conditions: Sequence[Criterion]
    table: Sequence[TableRow] = ()


def evidence(case: Case, known: Knowledge | None) -> list[Datum]:
    """Return the evidence that the evaluation used; of one that did not fire, everything that the call knew.

    A silent evaluation singles nothing out, so nothing is left out either. `known` gives names; None where it is not there.
    """
    if case.evaluation is not None and "evidence" in case.evaluation:
        return [_recorded(one, known) for one in case.evaluation["evidence"]]
    facts = case.body.decoded_facts()
    return [] if facts is None or known is None else _of_facts(facts, known)


def _recorded(one: Row, known: Knowledge | None) -> Datum:
    value, _, unit = str(one.get("reported", "")).partition(" ")
    details = [str(one[name]) for name in ("action", "route", "reaction") if one.get(name)]
    name = str(one.get("drug") or one.get("text") or _analyte(one, known) or ("order" if "order_key" in one else one["source"]))
    if "mg_per_day" in one:
        value, unit = str(one["mg_per_day"]), "mg/day"
    return Datum(
        datum=f"{name} ({', '.join(details)})" if details else name,
        value=value,
        unit=unit or str(one.get("unit", "")),
        time=str(one.get("effective", one.get("onset", ""))),
        age=age_words(one["age_s"]) if "age_s" in one else "",
        code=code_words(str(one.get("code", ""))),
        path=str(one.get("path", "")),
        source=str(one.get("source", "")),
        reference=str(one.get("ref", one.get("order_key", ""))),
        used_by=[str(name).replace("_", " ") for name in one.get("criteria", ())],
    )


def _analyte(one: Row, known: Knowledge | None) -> str:
    analyte = str(one.get("analyte", ""))
    found = known.terminology.analytes.get(analyte) if known is not None else None
    return found.name if found is not None else analyte


def _of_facts(facts: Facts, known: Knowledge) -> list[Datum]:
    return [
        Datum(
            datum=f"{one.text} ({one.meaning})" if one.meaning else one.text,
            value=one.value,
            unit=one.unit,
            time=one.date,
            age=_age_of(one.date, facts.now),
            code=code_words(one.code),
            source=one.source,
            reference=one.reference,
        )
        for one in evidence_rows(facts, known.terminology)
    ]


def missing(case: Case, known: Knowledge | None) -> list[Missing]:
    """Return what was unknown and mattered for the evaluation."""
    rows = case.evaluation.get("missing", []) if case.evaluation is not None else []
    return [
        Missing(
            datum=_says(str(one["name"]), known),
            state=_CAUSES.get(one["cause"], str(one["cause"]).replace("_", " ")),
            why=str(one["note"]),
            allowed=f"{one['allowed_days']} d" if "allowed_days" in one else "",
            found=age_words(one["found_age_s"]) if "found_age_s" in one else "",
        )
        for one in rows
    ]


def criteria(case: Case, known: Knowledge | None) -> Criteria:
    """Return the criteria of the card in its order, with the truths that were recorded.

    Without the knowledge of that time they are the recorded names alone.
    """
    if case.evaluation is None:
        return Criteria([])
    truths = truths_of(case)
    card = known.card(case.id.card) if known is not None else None
    if known is None or card is None:
        return Criteria([Criterion(name, name.replace("_", " "), truth) for name, truth in truths.items()])
    words = _Words(known, card, truths)
    row = int(case.evaluation.get("row", -1))
    table = []
    for number, one in enumerate(card.file.table, 1):
        looked, chosen = words.of(one.when, one.unless), number == row + 1
        passed_over = row < 0 or number <= row
        table.append(TableRow(number, one.indicator, one.summary, chosen, passed_over and _undecided(looked), looked))
    about = [card.file.for_each] if card.file.for_each else []
    return Criteria(words.of([*about, *card.file.fire_when], card.file.unless), table)


def _undecided(row: Iterable[Criterion]) -> bool:
    """Return whether a row of the table could have held: nothing in it is known to be against it, and something is unknown."""
    left = [one for one in row if not one.holds]
    return bool(left) and all(one.truth == "unknown" for one in left)


def truths_of(case: Case) -> dict[str, str]:
    """Return the recorded truth of each criterion for the patient and the order of the case."""
    found: dict[str, str] = {}
    for one in case.body.evaluations:
        if one["card"] == TRUTHS and one["order_key"] in ("", case.order_key):
            found |= one["criteria"]
    return found


class _Words:
    """Write criteria of one card with their truths."""

    def __init__(self, known: Knowledge, card: Card, truths: Mapping[str, str]) -> None:
        self._known = known
        self._sentences = Sentences(known.criteria, known.terminology)
        self._truths = truths

    def of(self, when: Iterable[str], unless: Iterable[str]) -> list[Criterion]:
        return [self._one(name, negated=False) for name in when] + [self._one(name, negated=True) for name in unless]

    def _one(self, name: str, *, negated: bool) -> Criterion:
        criterion = self._known.criteria[name]
        members: list[Criterion] = []
        if isinstance(criterion, Composite):
            members = self.of(criterion.of, criterion.none_of)
        return Criterion(name, self._sentences.of(name), self._truths.get(name, NOT_LOOKED_AT), negated, members)


def _says(name: str, known: Knowledge | None) -> str:
    if known is None or name not in known.criteria:
        return name.replace("_", " ")
    return Sentences(known.criteria, known.terminology).of(name)


def code_words(code: str) -> str:
    """Return "LOINC 2823-3" for "http://loinc.org|2823-3"; a code of another system as it was sent."""
    system, _, plain = code.rpartition("|")
    return f"{_SYSTEMS[system]} {plain}" if system in _SYSTEMS else code


def age_words(seconds: float) -> str:
    """Return an age in the largest unit of which it has two: "3 d", "5 h", "40 min"; "in the future" for a negative one."""
    if seconds < 0:
        return "in the future"
    for unit, length in (("y", 365.25 * 86_400), ("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def _age_of(text: str, now: datetime) -> str:
    """Return the age of a date as it was sent; "" for a partial one or none."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return age_words((now - (then if then.tzinfo is not None else then.replace(tzinfo=now.tzinfo))).total_seconds())


def stood_back(case: Case) -> list[dict[str, Any]]:
    """Return the other evaluations of the call that gave way to this card."""
    return [
        {"card": one["card"], "version": one["version"], "outcome": one["outcome"]}
        for one in case.body.evaluations
        if one.get("gave_way_to") == case.id.card
    ]


def others(case: Case) -> list[dict[str, Any]]:
    """Return the other evaluations of the call, also those that did not fire, with which of their card each is, from 1."""
    seen: Counter[str] = Counter()
    found = []
    for one in case.body.evaluations:
        if one["card"] == TRUTHS:
            continue
        seen[one["card"]] += 1
        if (one["card"], seen[one["card"]]) != (case.id.card, case.id.nth):
            outcome = one["outcome"] if one.get("applies", True) else Outcome.NOT_APPLICABLE
            found.append({"card": one["card"], "nth": seen[one["card"]], "version": one.get("version", ""), "outcome": outcome})
    return found


def not_checked(case: Case) -> list[dict[str, Any]]:
    """Return the evaluations of the call that could not be checked, for the notice that speaks of them."""
    if case.evaluation is not None:
        return []
    seen: Counter[str] = Counter()
    found = []
    for one in case.body.evaluations:
        seen[one["card"]] += 1
        if one.get("outcome") in (Outcome.COULD_NOT_CHECK, Outcome.FAILED):
            found.append({"card": one["card"], "nth": seen[one["card"]], "reason": one.get("reason", "")})
    return found
