"""Judge one card about the patient or about one order: facts in, a frozen decision out. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cds_service.criteria.evaluator import Evaluator
from cds_service.criteria.facts import Order
from cds_service.criteria.findings import IS_MET, IS_UNKNOWN, IS_UNMET, Conditions, Finding, OnError, Truth
from cds_service.decide.decision import FIRED, NOT_FIRED, Decision, Outcome
from cds_service.decide.repeat_rule import about
from cds_service.knowledge.knowledge import Card

_NEVER_ARRIVED = ("not_obtained", "failed")


def judge_safely(card: Card, findings: Evaluator, order: Order | None, hook: str, on_error: OnError) -> Decision:
    """Decide one card; FAILED where that raises, which `on_error(card id, exception)` is told."""
    try:
        return judge_card(card, findings, order, hook)
    except Exception as error:  # noqa: BLE001 - one card that raises must not silence the others
        on_error(card.id, error)
        return Decision(card, Outcome.FAILED, findings, order, in_notice=True, error=type(error).__name__)


def judge_card(card: Card, findings: Evaluator, order: Order | None, hook: str) -> Decision:
    """Decide one card: the first row that holds under its common conditions.

    COULD_NOT_CHECK where an unknown criterion could change that.
    """
    file = card.file
    of_all = _Unsure(card, findings)
    common = of_all.hold(card.conditions)
    if common is IS_UNMET and not of_all.names:
        return Decision(card, NOT_FIRED, findings, order)
    rows = _Unsure(card, findings)
    row, best = _first_row(card.conditions_of_rows, rows)
    unknown = tuple(dict.fromkeys((*of_all.names, *rows.names)))
    if common is IS_MET and row >= 0:
        return Decision(card, FIRED, findings, order, row, unknown, about=about(card, row, findings, order))
    for item in file.not_checked:
        if common is IS_MET and all(findings[name].truth is IS_MET for name in item.when):
            return Decision(
                card,
                Outcome.COULD_NOT_CHECK,
                findings,
                order,
                unknown=unknown,
                reason=item.because,
                in_notice=hook == "order-sign",
            )
    # An unknown among the common conditions comes first: the card may not be about this patient at all.
    unsure = of_all if common is IS_UNKNOWN else rows
    if unsure.blocking is None or common is IS_UNMET or best is IS_UNMET:
        return Decision(card, NOT_FIRED, findings, order, unknown=unknown)
    finding = findings[unsure.blocking]
    return Decision(
        card,
        Outcome.COULD_NOT_CHECK,
        findings,
        order,
        unknown=unknown,
        reason=finding.note,
        words=finding.words,
        in_notice=unsure.says_so and _belongs_in_notice(card, findings, finding, hook),
    )


def _first_row(rows: Iterable[Conditions], unsure: _Unsure) -> tuple[int, Truth]:
    """Return (position of the first row whose conditions hold or -1, highest truth of any row)."""
    best = IS_UNMET
    for position, required in enumerate(rows):
        truth = unsure.hold(required)
        if truth is IS_MET:
            return position, truth
        if truth is IS_UNKNOWN:
            best = truth
    return -1, best


def _belongs_in_notice(card: Card, findings: Evaluator, finding: Finding, hook: str) -> bool:
    """Tell whether the notice lists an unknown that keeps a card from deciding.

    Always: data that did not arrive, and a possibly alarming result of a card with `chart_notice_when`. Other unusable data:
    at order-sign where a criterion of `notice_when` is met or its data did not arrive; at patient-view by `chart_notice_when`
    in the same way.
    """
    if _always_in_notice(card, finding):
        return True
    if hook == "order-sign":
        needs = [findings[name] for name in card.file.notice_when]
    elif hook == "patient-view" and card.file.chart_notice_when:
        needs = [findings[name] for name in card.file.chart_notice_when]
    else:
        return False
    return not needs or any(need.truth is IS_MET or need.cause in _NEVER_ARRIVED for need in needs)


def _always_in_notice(card: Card, finding: Finding) -> bool:
    return finding.cause in _NEVER_ARRIVED or (finding.alarming and bool(card.file.chart_notice_when))


class _Unsure:
    """Apply a card's policies for unknowns and remember which unknowns mattered."""

    __slots__ = ("_weight", "blocking", "card", "findings", "names", "says_so")

    def __init__(self, card: Card, findings: Evaluator) -> None:
        self.card = card
        self.findings = findings
        self.names: list[str] = []
        self.blocking: str | None = None  # the unknown that keeps the card from deciding
        self.says_so = False  # by its policy `say_so` the notice may list it
        self._weight = (False, False, False)

    def hold(self, required: Conditions) -> Truth:
        """Return Kleene's AND of conditions; `carry_on` counts an unknown as unmet."""
        findings = self.findings
        unknown: list[tuple[str, Truth]] = []
        for name, wanted in required:
            truth = findings[name].truth
            if truth is IS_UNKNOWN:
                unknown.append((name, wanted))
            elif truth is not wanted:
                return IS_UNMET
        result = IS_MET
        for name, wanted in unknown:
            if name not in self.names:
                self.names.append(name)
            policy = self.card.policy(name, missing=findings[name].cause == "not_recorded")
            if policy != "carry_on":
                result = min(result, IS_UNKNOWN)
                self._block(name, policy == "say_so")
            elif wanted is IS_MET:
                result = IS_UNMET
        return result

    def _block(self, name: str, says_so: bool) -> None:
        """Keep the most important of several unknowns: `say_so`, then always in the notice, then alarming."""
        finding = self.findings[name]
        weight = (says_so, _always_in_notice(self.card, finding), finding.alarming)
        if self.blocking is None or weight > self._weight:
            self.blocking, self.says_so, self._weight = name, says_so, weight
