"""Why each card fired or did not, criterion by criterion with the evidence: for the integrator who asks. Pure.

It is made after the fact from the facts and decisions of an answer. Criteria that the decision did not need are looked at too,
because who asks wants to see all that a card waits for; what decided is marked (`Look.effect`, `RowLook.reached`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from cds_service.criteria.escaping import cleaned
from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Facts, Order
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, Finding, Truth
from cds_service.criteria.group import AllCriterion, Composite
from cds_service.criteria.kinds import Criterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.wording import name_of
from cds_service.decide.decision import Decision, Outcome
from cds_service.explain.evidence import all_seen, seen
from cds_service.explain.explanation import CardLook, Effect, Explanation, Look, OrderLook, RowLook, TruthWord
from cds_service.explain.sentences import Sentences, repetition
from cds_service.explain.unused import unused
from cds_service.fhir.bundles import Gathered
from cds_service.knowledge.knowledge import Card, Knowledge


def explain(
    facts: Facts, decisions: Sequence[Decision], knowledge: Knowledge, sent: Mapping[str, Gathered] | None = None
) -> Explanation:
    """Explains the decisions that were made from `facts` with `knowledge`, whose findings it completes. Never raises.

    `sent` is what the facts were read from, to tell what of it is in none of them.
    """
    at_hook = knowledge.cards_at(facts.hook)
    explainer = _Explainer(facts, knowledge)
    return Explanation(
        hook=facts.hook,
        now=facts.now,
        sources=facts.sources,
        read=all_seen(facts, knowledge.terminology),
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
        self.say = Sentences(knowledge.criteria, knowledge.terminology)
        self._made: dict[int, _Looks] = {}  # by the identity of the findings, which `_Looks` keeps alive

    def card(self, decision: Decision) -> CardLook:
        card, file, findings = decision.card, decision.card.file, decision.findings
        conditions = self._looks(card, findings, file.fire_when, file.unless)
        stopped = any(look.effect == "stops" for look in conditions)
        rows: list[RowLook] = []
        for number, row in enumerate(file.table, 1):
            looks = self._looks(card, findings, row.when, row.unless)
            reached = not stopped and not any(one.truth == "met" for one in rows)
            rows.append(RowLook(number, row.indicator, row.summary, _truth(looks), reached, looks))
        because, stops = self._because(decision, conditions, rows)
        return CardLook(
            card=card.id,
            title=file.title,
            version=file.version,
            outcome=decision.outcome,
            because=because,
            order=_order_words(decision.order) if decision.order is not None else "",
            row=decision.row + 1,
            shadow=card.why_shadow,
            said=decision.in_notice and card.live,
            stops=stops,
            conditions=conditions,
            rows=rows,
            other_orders=list(self._other_orders(decision)),
        )

    def _because(self, decision: Decision, conditions: list[Look], rows: list[RowLook]) -> tuple[str, list[str]]:
        match decision.outcome:
            case Outcome.FIRED:
                return self._row_words(decision), []
            case Outcome.COULD_NOT_CHECK:
                unsure = [
                    look for look in (*conditions, *(one for row in rows for one in row.criteria)) if look.effect == "unsure"
                ]
                reason = decision.reason or "; ".join(look.because for look in unsure[:2])
                return f"it could not be checked: {reason}", list(dict.fromkeys(look.name for look in unsure))
            case Outcome.REPEATED:
                day = next((f" on {one.shown_at:%Y-%m-%d}" for one in self.facts.prior_cards if one.uuid == decision.repeats), "")
                rule = repetition(decision.card.file) or "what was answered when the order was picked is not shown again"
                return f"it was shown{day} and has nothing new to say ({rule})", []
            case Outcome.CAPPED:
                most = self.knowledge.labels.most_cards
                return f"an answer informs with at most {most} cards, and others came first; warnings are always shown", []
            case Outcome.GAVE_WAY:
                return f"the card {decision.gave_way_to} speaks about the same", []
            case Outcome.NOT_APPLICABLE:
                return f"no card speaks here: {decision.reason}", []
            case Outcome.FAILED:
                return f"its evaluation failed with {decision.error}: a fault of the service, which its log names", []
        return _not_fired(conditions, rows)

    def _row_words(self, decision: Decision) -> str:
        table = decision.card.file.table
        place = "its only row" if len(table) == 1 else f"row {decision.row + 1} of {len(table)}"
        return f"{place} holds: {self.say.row(table[decision.row])}"

    def _looks(self, card: Card, findings: Evaluator, when: Iterable[str], unless: Iterable[str]) -> list[Look]:
        looks: list[Look] = []
        for names, wanted in ((when, True), (unless, False)):
            for name in names:
                look = self._of(findings).at(name, wanted=wanted)
                if look.truth == "unknown":
                    policy = card.policy(name, missing=look.cause == "not_recorded")
                    carried: Effect = "stops" if wanted else "holds"
                    effect = carried if policy == "carry_on" else look.effect
                    look = _settled(replace(look, policy=policy.replace("_", " "), effect=effect))
                looks.append(look)
        return looks

    def _of(self, findings: Evaluator) -> _Looks:
        if id(findings) not in self._made:
            self._made[id(findings)] = _Looks(findings, self.facts, self.knowledge, self.say)
        return self._made[id(findings)]

    def _other_orders(self, decision: Decision) -> Iterable[OrderLook]:
        """The orders of the session that a card which looks at each of its orders was not decided for."""
        name = decision.card.file.for_each
        if not name or decision.order is not None or decision.findings is not decision.findings.for_patient:
            return
        for order in self.facts.orders:
            if not order.selected:
                yield OrderLook(_order_words(order), "it is not among `context.selections`")
            else:
                look = self._of(decision.findings.for_patient.for_order(order)).at(name, wanted=True)
                yield OrderLook(_order_words(order), look.because)


class _Looks:
    """The looks at criteria in one set of findings: cards share criteria, so each look is made once."""

    def __init__(self, findings: Evaluator, facts: Facts, knowledge: Knowledge, say: Sentences) -> None:
        self._findings = findings
        self._facts = facts
        self._criteria = knowledge.criteria
        self._terminology = knowledge.terminology
        self._say = say
        self._made: dict[tuple[str, bool], Look] = {}

    def at(self, name: str, *, wanted: bool) -> Look:
        """Look at the criterion `name`, which is `wanted` met (True) or unmet (False)."""
        key = (name, wanted)
        if key not in self._made:
            self._made[key] = _settled(self._look(name, wanted=wanted))
        return self._made[key]

    def _look(self, name: str, *, wanted: bool) -> Look:
        finding, criterion = self._findings[name], self._criteria[name]
        evidence = list(dict.fromkeys(seen(item, self._facts, self._terminology) for item in finding.evidence))
        if isinstance(criterion, Composite):
            members = [self.at(one, wanted=wanted) for one in criterion.of]
            members += [self.at(one, wanted=not wanted) for one in criterion.none_of]
            unsure = next((one.found for one in members if one.truth == "unknown"), finding.note)
            found = unsure if finding.truth is IS_UNKNOWN else _group_words(criterion, members, finding.truth)
        else:
            members = []
            there = criterion.looked_through(self._facts)
            found = ", ".join(one.words for one in evidence) or there
            if finding.truth is IS_UNKNOWN:
                found = "; ".join(dict.fromkeys(part for part in (self._note(finding, criterion), there) if part))
        as_wanted = (finding.truth is IS_MET) is wanted
        return Look(
            name=name,
            says=self._say.of(name),
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
        """The note of a finding, in which a result is called as people call it and not by its id."""
        if finding.cause == "not_recorded" and isinstance(criterion, LabCriterion):
            return finding.note.replace(criterion.analyte, self._terminology.analytes[criterion.analyte].name, 1)
        return finding.note


def _settled(look: Look) -> Look:
    """The look, where none of its parts stops anything if the whole holds."""
    if not look.members:
        return look
    holds = look.effect == "holds"
    return replace(look, members=[_settled(replace(one, effect="holds") if holds else one) for one in look.members])


def _truth(looks: Iterable[Look]) -> TruthWord:
    """Kleene's AND over what each leaves of the whole."""
    effects = {look.effect for look in looks}
    return "unmet" if "stops" in effects else "unknown" if "unsure" in effects else "met"


def _not_fired(conditions: list[Look], rows: list[RowLook]) -> tuple[str, list[str]]:
    """Why a card is silent: its common conditions, else the row that came closest."""
    if stopping := [look for look in conditions if look.effect == "stops"]:
        return _several(stopping), [look.name for look in stopping]
    # Of rows as close the last: tables begin with what is rarest.
    closest = min(reversed(rows), key=lambda row: sum(look.effect == "stops" for look in row.criteria))
    stopping = [look for look in closest.criteria if look.effect == "stops"]
    place = "its only row" if len(rows) == 1 else f"none of its {len(rows)} rows holds; row {closest.number} came closest and"
    lacks = "lacks" if len(rows) > 1 else "does not hold"
    return f"{place} {lacks}: {_several(stopping)}", [look.name for look in stopping]


def _several(looks: list[Look]) -> str:
    return "; ".join(look.because for look in looks)


def _group_words(criterion: Composite, members: list[Look], truth: Truth) -> str:
    """What decided about a group: the parts of an "any" that are met, the parts of an "all" that are not as it needs them."""
    if isinstance(criterion, AllCriterion):
        needed = ["met"] * len(criterion.of) + ["unmet"] * len(criterion.none_of)
        lacking = [look.says for look, need in zip(members, needed, strict=True) if look.truth != need]
        return f"all of its {len(members)} parts" if truth is IS_MET else f"of its parts not: {' / '.join(lacking)}"
    met = [look.says for look in members if look.truth == "met"]
    return f"by: {' / '.join(met)}" if met else f"none of: {' / '.join(look.says for look in members)}"


def _order_words(order: Order) -> str:
    name = cleaned(name_of(order)) or "an order without a readable name"
    return f"{name}, which it stops" if order.action == "stop" else name
