"""Define every figure of the pages, once: its formula, what it counts, what it does not say."""

from __future__ import annotations

import msgspec


class Definition(msgspec.Struct, frozen=True):
    """One figure. `name` is its anchor on the page of definitions."""

    name: str
    title: str
    formula: str
    note: str = ""
    source: str = ""


_ALL = (
    Definition(
        "evaluation",
        "Evaluation",
        "One card, judged once for one call, or once for each order of the call where the card is about an order.",
        "Its outcome is one of: fired, repeated, gave way, capped (fired and was held back), not fired, not applicable, "
        "could not be checked, failed.",
    ),
    Definition(
        "card_shown",
        "Cards shown",
        "Cards of live mode that a response held, without those of a response that was withdrawn.",
        "A card that was returned is no proof of a card that was displayed: CDS Hooks does not report that. A call that was sent "
        "again counts once. The notice of what was not checked counts as a card.",
    ),
    Definition(
        "fire_rate",
        "Fire rate",
        "Evaluations that fired (also repeated, gave way, capped) / evaluations that fired or did not fire.",
        "Evaluations that were not applicable (no such order in the call) or could not be checked are in neither number.",
    ),
    Definition(
        "could_not_check",
        "Could not check",
        "Evaluations that could not be checked or failed / evaluations that fired, did not fire, could not be checked or failed.",
        "The causes are on the page Data: not recorded, not obtained, not readable, too old.",
    ),
    Definition(
        "per_100_orders",
        "Cards per 100 orders",
        "100 x cards shown about an order / distinct orders of the calls.",
        "An order is counted on the day on which it is first sent, so that picking and signing it counts once. A filter for a "
        "hook chooses cards and not orders: the rates of all hooks add up to the rate of the card.",
        "Orenstein and others, J Am Med Inform Assoc 2021; Simpao and others, 2015",
    ),
    Definition(
        "backtest",
        "Difference in a backtest",
        "(evaluations that fire only with the candidate - only as recorded) / all evaluations of the card that could be decided "
        "again, but for calls that it was not about (no such order). The same calls on both sides, so the interval is for pairs "
        "(Newcombe 1998, method 10).",
        "McNemar's exact p and the interval take calls as independent. Calls of one patient are not, so both are too sure where "
        "patients have many calls. Read the cases.",
        "Newcombe, Stat Med 1998;17:2635; McNemar, Psychometrika 1947",
    ),
    Definition(
        "coverage",
        "Feedback coverage",
        "Cards shown whose last feedback is accepted or overridden / cards shown.",
        "Feedback is voluntary in CDS Hooks, which has no word for an ignored card; one that an EHR reports as ignored counts as "
        "without feedback. Below 50 % every rate of outcomes is grey.",
        "CDS Hooks 2.0, Feedback",
    ),
    Definition(
        "acceptance",
        "Acceptance rate",
        "Cards shown whose last feedback is accepted / cards shown whose last feedback is accepted or overridden.",
        "The last feedback is the one with the latest outcomeTimestamp, without one the time of its receipt. A "
        "followed link is never reported as accepted.",
    ),
    Definition(
        "override",
        "Override, as an interval",
        "From overridden / cards shown, to (overridden + without feedback) / cards shown.",
        "A single override rate is only known where every card got feedback, so both bounds are given.",
    ),
    Definition(
        "reasoned",
        "Overrides with a reason",
        "Overridden cards whose last feedback gave a reason / overridden cards.",
        "A reason that stands in no list counts too: the log keeps it as 'other', without its words. Overriding without a reason "
        "is a sign of fatigue.",
    ),
    Definition(
        "commented",
        "Overrides with a comment",
        "Overridden cards whose last feedback came with a comment / overridden cards.",
        "Comments themselves are kept only where the site has given a key for them.",
    ),
    Definition(
        "failed",
        "Failed calls",
        "Calls that were answered with a status of 500 or more / calls.",
        "A response that was withdrawn counts as 503, which is what the client got.",
    ),
    Definition(
        "repeat",
        "Repeat rate",
        "Cards shown whose patient was shown the same card by the same client in the 24 hours before / cards shown.",
        "Where a card's repetition depends on what it is about (a drug, a value), only one about the same counts.",
        "Ancker and others, BMC Med Inform Decis Mak 2017",
    ),
    Definition(
        "concentration",
        "Top users",
        "Cards shown to the five per cent of users who saw most / cards shown to anybody named.",
        "Users are keyed hashes. The page names no person.",
    ),
    Definition(
        "latency",
        "Time of a response (p50, p95, p99)",
        "The smallest upper bound of a class of times that at least 50, 95 or 99 % of the calls do not exceed, in ms.",
        "From the receipt of the call until the response was handed to the server, on this side of the network. Where that is "
        "not recorded, as after a crash, until the record was handed to the log.",
    ),
    Definition(
        "laney",
        "Limits of a daily rate (Laney p-prime)",
        "The mean rate plus and minus three standard errors at the number of that day, times the spread seen from day to day.",
        "Ordinary limits of a proportion are too narrow where numbers are large and days differ by more than chance. They begin "
        "anew with each version of the card.",
        "Laney, Quality Engineering 2002",
    ),
    Definition(
        "wilson",
        "Interval of a rate",
        "The 95 % interval of Wilson for a proportion.",
        "It is about chance alone: calls of one patient are not independent, and what is not reported is not in it.",
        "Wilson, J Am Stat Assoc 1927",
    ),
    Definition(
        "not_a_call",
        "What never became a call",
        "Requests that were refused before a card could be judged, by status and reason.",
        "400: the body is no CDS Hooks request. 401: the caller is not known. 413: the body is too large. 503: too many at once.",
    ),
    Definition(
        "ppv",
        "Right to show it",
        "Shown cards judged appropriate / shown cards judged appropriate, inappropriate or a malfunction, each stratum weighted "
        "by its number of cases (positive predictive value).",
        "The interval is Wilson's with the effective sample size: what a simple random sample would have to hold to say as much. "
        "Cases of which the reviewer cannot tell, and those that two readers judge differently until a third has settled them, "
        "are in neither number.",
        "Korn and Graubard, Survey Methodology 1998; McCoy and others, J Am Med Inform Assoc 2012",
    ),
    Definition(
        "right_silence",
        "Right to stay silent",
        "Evaluations that did not fire, judged appropriate / those judged appropriate, inappropriate or a malfunction.",
        "The only figure that shows what a card misses. What it misses without being evaluated is not in it.",
    ),
    Definition(
        "response_appropriate",
        "Response appropriate",
        "Shown cards to which the clinician's response was judged appropriate / those whose response was judged appropriate, "
        "inappropriate or corrected later, weighted as above.",
        "An inappropriate card can be answered appropriately, so both are judged.",
        "McCoy and others, J Am Med Inform Assoc 2012",
    ),
    Definition(
        "wrong_override",
        "Inappropriate overrides",
        "Overridden cards whose response was judged inappropriate / overridden cards whose response was judged, weighted as "
        "above.",
    ),
    Definition(
        "kappa",
        "Agreement of two readers (Cohen's kappa)",
        "(agreement seen - agreement by chance) / (1 - agreement by chance), over the cases that two readers judged; of each "
        "counts the verdict before the other's could be seen.",
        "Undefined where chance alone explains all of it, as where both always give the same verdict: so the plain agreement "
        "stands beside it. At least 0.7 is aimed at.",
        "Cohen, Educational and Psychological Measurement 1960",
    ),
    Definition(
        "signals",
        "Signals",
        "Daily, by card and client: the fire rate lies beyond 3.72 standard deviations of the 56 days before (two-sided 0.0002, "
        "Laney p', exact chances of small counts), or a sum of such differences above 0.5 reaches 5 (CUSUM), or so many "
        "evaluations in a row did not fire; and the rate since a change lies as far from that before it, by a quarter at least. "
        "Hourly, by client: no call where the same hour of the week usually has 20; over 1 % of calls with a server error; over "
        "3 times the usual share not checked; over 5 % of calls slower than 500 ms. Weekly: codes and units that are new or come "
        "no more, prefetch keys sent less, acceptance that fell by 10 percentage points, one user with most of a card's "
        "firings, three angry comments.",
        "A new version of a card, a change of its content by the site, a new version of this service and another dialect of a "
        "client begin a new baseline. Fewer than seven days, no call, or a card that never fired: nothing can be said, and that "
        "is said.",
        "Laney 2002; Page 1954; Kassakian and others 2017; Aaron and others 2019; Wright and others 2018",
    ),
    Definition(
        "plan_coverage",
        "Plan read",
        "Cases of the plans that somebody has read / cases drawn.",
        "A stratum that nobody has read is in no share; how many cases lie in such strata is said beside each.",
    ),
)  # fmt: skip

DEFINITIONS = {one.name: one for one in _ALL}
