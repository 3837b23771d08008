"""Compute what the verdicts on a plan's cases say about a card, weighted by the size of each stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from cds_service.review.plans import Plan, PlanStratum, Sample
from cds_service.review.sampling import SHOWN
from cds_service.review.statistics import Agreement, Proportion, Stratum, cohen_kappa, stratified
from cds_service.review.verdicts import VERDICTS, disputed, settled

_DECIDED = ("appropriate", "inappropriate", "malfunction")  # "cannot tell" is counted beside, and in no share
_OVERRIDDEN = ("overridden_critical", "overridden_reason", "overridden_bare")
_RESPONSES = ("appropriate", "inappropriate", "later_corrected")


class StratumResult(msgspec.Struct, frozen=True):
    """What was judged of one stratum of one plan. `verdicts`: cases by settled verdict."""

    plan: int
    card: str
    month: int
    stratum: str
    title: str
    size: int
    drawn: int
    read: int
    disputed: int
    verdicts: dict[str, int]
    responses: dict[str, int]

    def of_verdicts(self) -> Stratum:
        """Return how many cases were decided, and were found appropriate."""
        return Stratum(self.size, sum(self.verdicts[name] for name in _DECIDED), self.verdicts["appropriate"])

    def of_responses(self, positive: str) -> Stratum:
        """Return on how many cases the clinician's response was decided, and was `positive`."""
        return Stratum(self.size, sum(self.responses.get(name, 0) for name in _RESPONSES), self.responses.get(positive, 0))


class Result(msgspec.Struct, frozen=True):
    """What the verdicts on the cases of one card, or of all, say.

    `value`: the share of shown cards that were appropriate (positive predictive value); `silence`: of the evaluations that did
    not fire, the share that was right; `response`: of shown cards, the share answered appropriately; `wrong_overrides`: of
    overridden cards, the share of responses that were inappropriate. Each is None where nothing was judged.
    """

    card: str
    drawn: int
    read: int
    disputed: int
    verdicts: dict[str, int]
    value: Proportion | None
    silence: Proportion | None
    response: Proportion | None
    wrong_overrides: Proportion | None
    agreement: Agreement


def stratum_results(plan: Plan, samples: Sequence[Sample]) -> list[StratumResult]:
    """Return the results of each stratum of a plan. `samples`: its cases."""
    return [_stratum_result(plan, stratum, [one for one in samples if one.stratum == stratum.name]) for stratum in plan.strata]


def _stratum_result(plan: Plan, stratum: PlanStratum, samples: Sequence[Sample]) -> StratumResult:
    standing = [one.opinion for sample in samples if (one := settled(sample.readings)) is not None]
    verdicts = Counter(one.verdict for one in standing)
    return StratumResult(
        plan=plan.id,
        card=plan.card,
        month=plan.month,
        stratum=stratum.name,
        title=stratum.title,
        size=stratum.size,
        drawn=stratum.drawn,
        read=sum(bool(one.readings) for one in samples),
        disputed=sum(disputed(one.readings) for one in samples),
        verdicts={name: verdicts[name] for name in VERDICTS},
        responses=dict(Counter(one.response for one in standing if one.response)),
    )


def result(card: str, strata: Sequence[StratumResult], samples: Iterable[Sample]) -> Result:
    """Sum up the strata of one card or of all. `samples`: the cases of their plans."""
    shown = [one for one in strata if one.stratum in SHOWN]
    overridden = [one for one in strata if one.stratum in _OVERRIDDEN]
    pairs = [(one.readings[0].blind, one.readings[1].blind) for one in samples if len(one.readings) > 1]
    return Result(
        card=card,
        drawn=sum(one.drawn for one in strata),
        read=sum(one.read for one in strata),
        disputed=sum(one.disputed for one in strata),
        verdicts={name: sum(one.verdicts[name] for one in strata) for name in VERDICTS},
        value=stratified(one.of_verdicts() for one in shown),
        silence=stratified(one.of_verdicts() for one in strata if one.stratum == "not_fired"),
        response=stratified(one.of_responses("appropriate") for one in shown),
        wrong_overrides=stratified(one.of_responses("inappropriate") for one in overridden),
        agreement=cohen_kappa(pairs),
    )
