"""Explain why each card fired or did not, criterion by criterion with its evidence. Pure.

Made for integrators, from the facts and decisions of a response that is complete. Criteria that the decision did not need are
evaluated too, so that an integrator sees everything that a card waits for; what decided is marked (`effect` of a criterion,
`reached` of a row).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from cds_service.criteria.escaping import cleaned
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Facts, Order, PriorCard
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, Finding, Truth
from cds_service.criteria.group import AllCriterion, Composite
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.wording import name_of
from cds_service.decide.decision import Decision, Outcome
from cds_service.explain.evidence import evidence_row, evidence_rows
from cds_service.explain.explanation import (
    CardExplanation,
    CriterionExplanation,
    Effect,
    Explanation,
    OrderExplanation,
    RowExplanation,
    TruthWord,
)
from cds_service.explain.sentences import Sentences, notice_repeated, repeated
from cds_service.explain.unused import unused
from cds_service.fhir.gathered import Gathered
from cds_service.knowledge.knowledge import Card, Knowledge


def explain(
    facts: Facts, decisions: Sequence[Decision], knowledge: Knowledge, sent: Mapping[str, Gathered] | None = None
) -> Explanation:
    """Explain the decisions that were made from `facts` with `knowledge`. Never raises.

    `sent` holds the resources that the facts were read from, by prefetch key, to list those that no fact came from.
    """
    at_hook = knowledge.cards_at(facts.hook)
    explainer = _Explainer(facts, knowledge)
    return Explanation(
        hook=facts.hook,
        now=facts.now,
        sources=facts.sources,
        read=evidence_rows(facts, knowledge.terminology),
        quarantined=list(facts.quarantined),
        unused=unused(sent or {}, facts, knowledge.terminology),
        cards=[explainer.card(decision) for decision in decisions],
        elsewhere={
            card.id: list(card.file.hooks) if card.file.status != "retired" else []
            for card in knowledge.cards
            if card not in at_hook
        },
    )


class _Explainer:
    def __init__(self, facts: Facts, knowledge: Knowledge) -> None:
        self.facts = facts
        self.knowledge = knowledge
        self.sentences = Sentences(knowledge.criteria, knowledge.terminology)
        self._cache: dict[int, tuple[Evaluator, _CriterionExplainer]] = {}  # by the id of the evaluator, which is kept alive here

    def card(self, decision: Decision) -> CardExplanation:
        card, file, findings = decision.card, decision.card.file, decision.findings
        conditions = self._explained(card, findings, file.fire_when, file.unless)
        stopped = any(explained.effect == "stops" for explained in conditions)
        rows: list[RowExplanation] = []
        for number, row in enumerate(file.table, 1):
            criteria = self._explained(card, findings, row.when, row.unless)
            reached = not stopped and not any(one.truth == "met" for one in rows)
            rows.append(RowExplanation(number, row.indicator, row.summary, _truth(criteria), reached, criteria))
        because, stops = self._because(decision, conditions, rows)
        return CardExplanation(
            card=card.id,
            title=file.title,
            version=file.version,
            outcome=decision.outcome,
            because=because,
            order=_order_words(decision.order) if decision.order is not None else "",
            row=decision.row + 1,
            shadow=card.why_shadow,
            said=decision.in_notice and card.live,
            said_before=decision.said_before,
            stops=stops,
            conditions=conditions,
            rows=rows,
            other_orders=list(self._other_orders(decision)),
        )

    def _because(
        self, decision: Decision, conditions: list[CriterionExplanation], rows: list[RowExplanation]
    ) -> tuple[str, list[str]]:
        match decision.outcome:
            case Outcome.FIRED:
                return self._row_words(decision), []
            case Outcome.COULD_NOT_CHECK:
                unsure = [
                    explained
                    for explained in (*conditions, *(one for row in rows for one in row.criteria))
                    if explained.effect == "unsure"
                ]
                reason = decision.reason or "; ".join(explained.because for explained in unsure[:2])
                because = f"it could not be checked: {reason}" + self._said_before(decision)
                return because, list(dict.fromkeys(explained.name for explained in unsure))
            case Outcome.REPEATED:
                return repeated(decision.card.file, decision.indicator, self._prior(decision), self.facts.now), []
            case Outcome.CAPPED:
                most = self.knowledge.labels.most_cards
                return f"a response has at most {most} info cards, and others rank before it; warnings are always shown", []
            case Outcome.GAVE_WAY:
                return f"the card {decision.gave_way_to} covers the same subject", []
            case Outcome.NOT_APPLICABLE:
                return f"no card applies: {decision.reason}", []
            case Outcome.FAILED:
                return f"its evaluation failed with {decision.error}: a fault of the service, recorded in its log", []
        return _not_fired(conditions, rows)

    def _said_before(self, decision: Decision) -> str:
        """Return why the notice does not list the card again; "" where it was not said before."""
        if not decision.said_before:
            return ""
        counts = self.knowledge.engineering.answer_counts.span
        return f"; {notice_repeated(self._prior(decision), counts)}"

    def _prior(self, decision: Decision) -> PriorCard | None:
        return next((one for one in self.facts.prior_cards if one.uuid == decision.repeats), None)

    def _row_words(self, decision: Decision) -> str:
        table = decision.card.file.table
        place = "its only row" if len(table) == 1 else f"row {decision.row + 1} of {len(table)}"
        return f"{place} holds: {self.sentences.row(table[decision.row])}"

    def _explained(
        self, card: Card, findings: Evaluator, when: Iterable[str], unless: Iterable[str]
    ) -> list[CriterionExplanation]:
        criteria: list[CriterionExplanation] = []
        for names, wanted in ((when, True), (unless, False)):
            for name in names:
                explained = self._explainer_of(findings).explain(name, wanted=wanted)
                if explained.truth == "unknown":
                    policy = card.policy(name, missing=explained.cause == "not_recorded")
                    carried: Effect = "stops" if wanted else "holds"
                    effect = carried if policy == "carry_on" else explained.effect
                    explained = _with_members_held(replace(explained, policy=policy.replace("_", " "), effect=effect))
                criteria.append(explained)
        return criteria

    def _explainer_of(self, findings: Evaluator) -> _CriterionExplainer:
        if id(findings) not in self._cache:
            explainer = _CriterionExplainer(findings.detached(), self.facts, self.knowledge, self.sentences)
            self._cache[id(findings)] = findings, explainer
        return self._cache[id(findings)][1]

    def _other_orders(self, decision: Decision) -> Iterable[OrderExplanation]:
        """Yield the orders of the session that a card with `for_each` was not decided for."""
        name = decision.card.file.for_each
        if not name or decision.order is not None or decision.findings is not decision.findings.for_patient:
            return
        for order in self.facts.orders:
            if not order.selected:
                yield OrderExplanation(_order_words(order), "it is not among `context.selections`")
            else:
                explained = self._explainer_of(decision.findings.for_patient.for_order(order)).explain(name, wanted=True)
                yield OrderExplanation(_order_words(order), explained.because)


class _CriterionExplainer:
    """Explain criteria by one set of findings; cards share criteria, so each is explained once."""

    def __init__(self, findings: Evaluator, facts: Facts, knowledge: Knowledge, sentences: Sentences) -> None:
        self._findings = findings
        self._facts = facts
        self._criteria = knowledge.criteria
        self._terminology = knowledge.terminology
        self._sentences = sentences
        self._cache: dict[tuple[str, bool], CriterionExplanation] = {}

    def explain(self, name: str, *, wanted: bool) -> CriterionExplanation:
        """Explain the criterion `name`, which is `wanted` met (True) or unmet (False)."""
        key = (name, wanted)
        if key not in self._cache:
            self._cache[key] = _with_members_held(self._explained(name, wanted=wanted))
        return self._cache[key]

    def _explained(self, name: str, *, wanted: bool) -> CriterionExplanation:
        finding, criterion = self._findings[name], self._criteria[name]
        evidence = list(dict.fromkeys(evidence_row(item, self._facts, self._terminology) for item in finding.evidence))
        if isinstance(criterion, Composite):
            members = [self.explain(one, wanted=wanted) for one in criterion.of]
            members += [self.explain(one, wanted=not wanted) for one in criterion.none_of]
            unsure = next((one.found for one in members if one.truth == "unknown"), finding.note)
            found = unsure if finding.truth is IS_UNKNOWN else _group_words(criterion, members, finding.truth)
        else:
            members = []
            there = criterion.looked_through(self._facts)
            found = ", ".join(one.words for one in evidence) or there
            if finding.truth is IS_UNKNOWN:
                found = "; ".join(dict.fromkeys(part for part in (self._note(finding, criterion), there) if part))
        as_wanted = (finding.truth is IS_MET) is wanted
        return CriterionExplanation(
            name=name,
            says=self._sentences.of(name),
            wanted="met" if wanted else "unmet",
            truth="unknown" if finding.truth is IS_UNKNOWN else "met" if finding.truth is IS_MET else "unmet",
            effect="unsure" if finding.truth is IS_UNKNOWN else "holds" if as_wanted else "stops",
            found=found,
            cause=finding.cause,
            evidence=evidence,
            members=members,
            source=criterion.source or list(dict.fromkeys(one for member in members for one in member.source)),
        )

    def _note(self, finding: Finding, criterion: Criterion) -> str:
        """Return the note of a finding, with the name of a result.

        The finding itself has the id of the analyte.
        """
        if finding.cause == "not_recorded" and isinstance(criterion, LabCriterion):
            return finding.note.replace(criterion.analyte, self._terminology.analytes[criterion.analyte].name, 1)
        return finding.note


def _with_members_held(explained: CriterionExplanation) -> CriterionExplanation:
    """Return the explanation; where a group holds, its members hold too: none of them stops the card."""
    if not explained.members:
        return explained
    holds = explained.effect == "holds"
    return replace(
        explained, members=[_with_members_held(replace(one, effect="holds") if holds else one) for one in explained.members]
    )


def _truth(criteria: Iterable[CriterionExplanation]) -> TruthWord:
    """Return the truth of all criteria together (Kleene's AND over their effects)."""
    effects = {explained.effect for explained in criteria}
    return "unmet" if "stops" in effects else "unknown" if "unsure" in effects else "met"


def _not_fired(conditions: list[CriterionExplanation], rows: list[RowExplanation]) -> tuple[str, list[str]]:
    """Return why a card did not fire, and the criteria behind it.

    That is its common conditions, else the row that came closest.
    """
    if stopping := [explained for explained in conditions if explained.effect == "stops"]:
        return _several(stopping), [explained.name for explained in stopping]
    # Of equally close rows the last: tables begin with the rarest.
    closest = min(reversed(rows), key=lambda row: sum(explained.effect == "stops" for explained in row.criteria))
    stopping = [explained for explained in closest.criteria if explained.effect == "stops"]
    place = "its only row" if len(rows) == 1 else f"none of its {len(rows)} rows holds; row {closest.number} came closest and"
    lacks = "lacks" if len(rows) > 1 else "does not hold"
    return f"{place} {lacks}: {_several(stopping)}", [explained.name for explained in stopping]


def _several(criteria: list[CriterionExplanation]) -> str:
    return "; ".join(explained.because for explained in criteria)


def _group_words(criterion: Composite, members: list[CriterionExplanation], truth: Truth) -> str:
    """Return in words what decided a group.

    For an "any" its members that are met, for an "all" its members that are not as needed.
    """
    if isinstance(criterion, AllCriterion):
        needed = ["met"] * len(criterion.of) + ["unmet"] * len(criterion.none_of)
        lacking = [explained.says for explained, need in zip(members, needed, strict=True) if explained.truth != need]
        return f"all of its {len(members)} parts" if truth is IS_MET else f"of its parts not: {' / '.join(lacking)}"
    met = [explained.says for explained in members if explained.truth == "met"]
    return f"by: {' / '.join(met)}" if met else f"none of: {' / '.join(explained.says for explained in members)}"


def _order_words(order: Order) -> str:
    name = cleaned(name_of(order)) or "an order without a readable name"
    return f"{name}, which it stops" if order.action == "stop" else name
