"""Run `cds-service replay --verify` and `cds-service backtest`: decide the log's records again, with their cards or others."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service.settings import load_settings

if TYPE_CHECKING:
    from cds_service.replay.backtest import Backtest, Part, Result
    from cds_service.replay.compare import CardCounts
    from cds_service.replay.verify import Verified

_LOW_PRIORITY = 10  # nice: calls that the service answers come first
_LISTED = 100  # differences; more of them rarely tell more


def add_replay_command(
    commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime], at_least_one: Callable[[str], int]
) -> None:
    """Add `replay` to `commands`; `instant` and `at_least_one` read a time and a number from an argument."""
    replay = commands.add_parser("replay", help="decide the log's records again with the cards of their time")
    replay.add_argument(
        "--verify", action="store_true", required=True, help="list the records that come out differently, status 1 if any"
    )
    replay.add_argument("--since", type=instant, help="only calls from this ISO time on, UTC where no zone is given")
    replay.add_argument("--processes", type=at_least_one, metavar="N", help="default: one for each core")
    replay.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from cds_service.alert_log import micros
    from cds_service.alert_log.compression import CompressionError
    from cds_service.authoring.progress import Progress
    from cds_service.database import DatabaseError
    from cds_service.replay.processes import usable_cores
    from cds_service.replay.records import NewerRecordError
    from cds_service.replay.verify import verify

    settings = load_settings()
    parts = 1000  # of the bar
    since = 0 if options.since is None else micros(options.since)
    try:
        with Progress(sys.stderr, every=1, what="records").of("replayed", parts) as shown:
            found = verify(
                settings,
                since,
                options.processes or usable_cores(),
                lambda done, of: shown.advance(done * parts // max(of, 1), done),
            )
    except (DatabaseError, CompressionError, NewerRecordError, msgspec.DecodeError) as error:
        print(f"the log can't be replayed: {error}", file=sys.stderr)
        return 1
    return _say(found)


def _say(found: Verified) -> int:
    from cds_service.alert_log.instants import iso, uuid_text
    from cds_service.replay.verify import WHY

    for one in found.different[:_LISTED]:
        where = f"{one.hook} of {one.client}, written by {one.service_version}" if one.client else one.hook
        print(
            f"{iso(one.received_at)} {uuid_text(bytes.fromhex(one.call_id))} ({where}): "
            f"{' and '.join(one.parts)} of {', '.join(one.cards) or 'no card'} differ"
        )
    if len(found.different) > _LISTED:
        print(f"and {len(found.different) - _LISTED:,} more records")
    for why, count in sorted(found.unverifiable.items()):
        print(f"{count:,} not replayed: {WHY[why]}")
    print(f"{found.same:,} records give the same evaluations and cards, {len(found.different):,} differ")
    return 1 if found.different or (found.records and not found.same) else 0


def add_backtest_command(
    commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime], at_least_one: Callable[[str], int]
) -> None:
    """Add `backtest` to `commands`; `instant` and `at_least_one` read a time and a number from an argument."""
    backtest = commands.add_parser("backtest", help="what other cards, or another overlay, would have done with the log's calls")
    backtest.add_argument("--cards", type=Path, metavar="DIR", help="the candidate's cards; default: the site's")
    backtest.add_argument("--overlay", type=Path, metavar="DIR", help="the candidate's overlay; default: the site's")
    backtest.add_argument(
        "--queued", action="store_true", help="do the backtests that the review pages ask for, one after another, at low priority"
    )
    backtest.add_argument("--resume", metavar="ID", help="go on with a backtest that was stopped, or print a finished one")
    backtest.add_argument("--since", type=instant, help="only calls from this ISO time on, UTC where no zone is given")
    backtest.add_argument("--until", type=instant, help="only calls before this ISO time; default: all that there are now")
    backtest.add_argument("--hook", default="", help="count only calls of this hook")
    backtest.add_argument("--client", default="", help="count only calls of this client")
    backtest.add_argument("--share", type=_share, default=1.0, help="of the patients, drawn by the seed; default 1, which is all")
    backtest.add_argument("--seed", type=int, default=1, metavar="N", help="draws other patients; default 1")
    backtest.add_argument("--processes", type=at_least_one, metavar="N", help="default: one for each core")
    backtest.set_defaults(run=_backtest)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return share


def _backtest(options: argparse.Namespace) -> int:
    from cds_service.alert_log.compression import CompressionError
    from cds_service.authoring.progress import Progress
    from cds_service.database import DatabaseError
    from cds_service.replay.backtest import CandidateChangedError, open_backtest
    from cds_service.replay.processes import usable_cores
    from cds_service.replay.records import NewerRecordError
    from cds_service.replay.run_backtest import run_backtest

    if options.queued:
        return _work(options)
    if (options.resume is None) == (options.cards is None and options.overlay is None):
        print("name the candidate with --cards or --overlay, or a backtest with --resume", file=sys.stderr)
        return 2
    settings = load_settings()
    try:
        backtest = open_backtest(settings, options.resume) if options.resume else _begun(options)
        print(f"backtest {backtest.spec.id} in {backtest.folder}", file=sys.stderr)
        with Progress(sys.stderr, every=1, what="parts").of("replayed", backtest.spec.parts) as shown:
            found = run_backtest(
                settings, backtest, options.processes or usable_cores(), lambda done, _: shown.advance(done, done)
            )
        return _say_backtest(backtest, found)
    except (DatabaseError, CompressionError, NewerRecordError, CandidateChangedError, msgspec.DecodeError) as error:
        print(f"the log can't be replayed: {error}", file=sys.stderr)
        return 1


def _work(options: argparse.Namespace) -> int:
    """Do what the pages ask for. A worker that is there already does it; then there is nothing to do."""
    from cds_service.alert_log.compression import CompressionError
    from cds_service.database import DatabaseError
    from cds_service.files.yaml_file import KnowledgeError
    from cds_service.replay.backtest import CandidateChangedError
    from cds_service.replay.backtest_queue import BacktestQueue, work
    from cds_service.replay.processes import collect_seldom, usable_cores
    from cds_service.replay.records import NewerRecordError
    from cds_service.replay.run_backtest import run_backtest

    os.nice(_LOW_PRIORITY)
    collect_seldom()
    settings = load_settings()
    processes = options.processes or max(1, usable_cores() - 1)  # one core is left to the service
    refused = (DatabaseError, CompressionError, NewerRecordError, CandidateChangedError, KnowledgeError, msgspec.DecodeError)
    work(BacktestQueue(settings), lambda one, progress: run_backtest(settings, one, processes, progress), refused)
    return 0


def _begun(options: argparse.Namespace) -> Backtest:
    from cds_service.alert_log import micros
    from cds_service.replay.backtest import Selection, begin_backtest

    selection = Selection(
        since=0 if options.since is None else micros(options.since),
        until=0 if options.until is None else micros(options.until),
        hook=options.hook,
        client=options.client,
        share=options.share,
        seed=options.seed,
    )
    return begin_backtest(load_settings(), options.cards, options.overlay, selection)


def _say_backtest(backtest: Backtest, result: Result) -> int:
    """Print the result; return 1 where no record could answer."""
    from cds_service.database import open_site_database
    from cds_service.replay.answerable import WHY
    from cds_service.review.backtest_figures import figures, judged

    settings, total = load_settings(), result.total
    print(f"candidate {result.spec.candidate}: {total.records:,} records, {total.answered:,} answered{_from(total)}")
    for why, count in sorted(total.unanswerable.items()):
        print(f"{count:,} unanswerable: {WHY.get(why, why)}")  # type: ignore[call-overload]
    if total.unanswerable_before:
        print(f"{total.unanswerable_before:,} earlier records could not tell which cards were shown before")
    changed = [one for one in figures(total) if one.counts.only_old or one.counts.only_new or _moved(one.counts)]
    if total.answered:
        print("card: fires in both / only as recorded / only with the candidate / in neither")
    for one in changed:
        counts, low, high = one.counts, one.interval.low, one.interval.high
        print(f"{one.card}: {counts.both:,} / {counts.only_old:,} / {counts.only_new:,} / {counts.neither:,}")
        print(f"  difference {one.difference:+.3%} ({low:+.3%} to {high:+.3%}), McNemar p = {one.p:.3g}")
        print(f"  shown {counts.shown_old:,} -> {counts.shown_new:,}{_per_100(one.per_100_orders_old, one.per_100_orders_new)}")
        print(f"  as recorded {_outcomes(counts.outcomes_old)}; with the candidate {_outcomes(counts.outcomes_new)}")
    if total.answered and not changed:
        print("no card comes out differently")
    database = open_site_database(settings, limit_ms=None)
    try:
        verdicts = judged(database, backtest)
    finally:
        database.close()
    for (card, change, verdict), count in sorted(verdicts.items()):
        print(f"judged {verdict}, {change}: {count:,} of {card}")
    print(f"{result.discordant:,} discordant cases in {backtest.folder / 'discordant.ndjson'}")
    print(f"Repeats. {result.history}")
    print(result.independence)
    return 0 if total.answered else 1


def _from(total: Part) -> str:
    """Say from what records were answered, where not all were from facts."""
    if not total.from_inputs:
        return ""
    return f", {total.answered - total.from_inputs:,} from facts and {total.from_inputs:,} from inputs"


def _moved(counts: CardCounts) -> bool:
    return counts.shown_old != counts.shown_new or counts.outcomes_old != counts.outcomes_new


def _per_100(old: float | None, new: float | None) -> str:
    return "" if old is None or new is None else f", cards about orders per 100 orders {old:.2f} -> {new:.2f}"


def _outcomes(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
