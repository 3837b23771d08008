"""Run `cds-service cards approve` and `cards approvals`."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from cds_service.clock import utc_now
from cds_service.files.conversion_errors import suggestion
from cds_service.files.paths import cards_dir
from cds_service.settings import load_settings


def add_approval_commands(cards: argparse._SubParsersAction[Any]) -> None:
    """Add `approve` and `approvals` to the commands under `cards`."""
    approving = cards.add_parser("approve", help="approve a card as it is now; production shows only approved cards")
    approving.add_argument("id", nargs="?", help="id of the card")
    approving.add_argument("--by", help="who approves")
    approving.add_argument("--note", help="what was reviewed, and on whose behalf")
    approving.add_argument(
        "--change",
        type=int,
        metavar="ID",
        help="in place of a card: a change of the review pages with its proof and two signatures; its overlay is written, too",
    )
    approving.set_defaults(run=_approve)
    listing = cards.add_parser("approvals", help="list the approvals of this site, and what has changed since")
    listing.set_defaults(run=_approvals)


def _approve(options: argparse.Namespace) -> int:
    from cds_service.authoring.cases import load_cases, run_cases
    from cds_service.authoring.emitted_resources import emitted_problems
    from cds_service.knowledge.approvals import ApprovalError, approve
    from cds_service.knowledge.site_knowledge import approvals_path, load_knowledge

    given = (options.id, options.by, options.note)
    if options.change is not None and not any(given):
        return _approve_change(options.change)
    if options.change is not None or not all(given):
        print("give a card with --by and --note, or --change alone: a change is approved by those who signed it", file=sys.stderr)
        return 2
    settings = load_settings()
    knowledge = load_knowledge(settings, before_approval=True)
    card = knowledge.card(options.id)
    if card is None:
        print(f"unknown card{suggestion(options.id, [one.id for one in knowledge.cards])}", file=sys.stderr)
        return 2
    runs = list(
        run_cases([case for case in load_cases(settings.cards_dir or cards_dir(), knowledge) if case.card is card], knowledge)
    )
    problems = [problem for run in runs for problem in run.problems] + emitted_problems(knowledge, runs)
    if problems:
        print(*problems, f"not approved: {card.id} fails its own cases or checks (see above)", sep="\n", file=sys.stderr)
        return 1
    path = approvals_path(settings)
    try:
        approval = approve(path, card, options.by, options.note, utc_now())
    except (ApprovalError, OSError) as error:
        print(f"not approved: {error}", file=sys.stderr)
        return 1
    print(f"{card.id} {approval.version} ({card.hash[:12]}, {len(runs)} cases passed) is approved by {approval.by}, in {path}.")
    print("Restart the service to use it.")
    return 0


def _approve_change(number: int) -> int:
    """Approve a change, where nothing is missing; else name each thing that is."""
    from cds_service.access.audit import AuditError, append
    from cds_service.alert_log import micros
    from cds_service.changes.approval import RefusedError, approve_change
    from cds_service.changes.change import Step, add_step, find_change
    from cds_service.database import DatabaseError, open_site_database
    from cds_service.knowledge.approvals import ApprovalError
    from cds_service.knowledge.site_knowledge import approvals_path

    settings, now = load_settings(), utc_now()
    try:
        database = open_site_database(settings, limit_ms=None, writes_review=True)
    except DatabaseError as error:
        print(f"not approved: {error}", file=sys.stderr)
        return 1
    try:
        change = find_change(database, number)
        if change is None:
            print(f"there is no change {number}", file=sys.stderr)
            return 2
        user = f"os:{getpass.getuser()}"
        append(database, micros(now), user, "approve change", f"/review/changes/{number}", "", {"candidate": change.candidate})
        done = approve_change(database, settings, change, now)
        add_step(database, number, Step(micros(now), user, False, "approved", ", ".join(done.cards)))
    except RefusedError as error:
        print(f"change {number} is not approved. Missing:", *(f"- {one}" for one in error.reasons), sep="\n", file=sys.stderr)
        return 1
    except (ApprovalError, AuditError, DatabaseError, OSError) as error:
        print(f"not approved: {error}", file=sys.stderr)
        return 1
    finally:
        database.close()
    for path in done.written:
        print(f"written: {path}")
    print(f"Change {number} is approved: {', '.join(done.cards)} ({done.cases} cases passed), in {approvals_path(settings)}.")
    print("Restart the service to use it.")
    return 0


def _approvals(_: argparse.Namespace) -> int:
    from cds_service.knowledge.approvals import load_approvals, standing
    from cds_service.knowledge.site_knowledge import approvals_path, load_knowledge

    settings = load_settings()
    knowledge = load_knowledge(settings, before_approval=True)
    path = approvals_path(settings)
    approvals = load_approvals(path)
    print(f"{path}{'' if path.exists() else ' (no such file yet)'}")
    for card in knowledge.cards:
        state = standing(card, approvals)
        print(f"{card.id:28} {card.file.version:8} {card.file.status:8} {card.hash[:12]}  {state}")
    for name in sorted({one.card for one in approvals} - {card.id for card in knowledge.cards}):
        print(f"{name:28} approved, but this card no longer exists")
    return 0
