"""Run `cds-service replay --verify`: show that the log's records follow from their facts and the cards of their time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service.settings import load_settings

if TYPE_CHECKING:
    from cds_service.replay.verify import Verified

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
