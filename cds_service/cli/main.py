"""Run the command line `cds-service`. Each command imports what it needs when it runs, see `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cds_service import __version__
from cds_service.cli.approvals import add_approval_commands
from cds_service.cli.audit import add_audit_commands
from cds_service.cli.build_sheet import add_build_sheet_command
from cds_service.cli.clients import add_clients_commands
from cds_service.cli.codes import add_codes_commands
from cds_service.cli.demo import add_demo_command
from cds_service.cli.log import add_log_commands
from cds_service.cli.replay import add_backtest_command, add_replay_command
from cds_service.cli.report import add_report_command
from cds_service.cli.requests import add_request_commands
from cds_service.cli.review import add_review_command
from cds_service.cli.serve import add_serve_command
from cds_service.cli.signals import add_signal_commands
from cds_service.cli.terminology import add_terminology_commands
from cds_service.cli.users import add_users_commands
from cds_service.clock import utc_now
from cds_service.doctor.command import add_doctor_command
from cds_service.files.paths import cards_dir, fixtures_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.settings import Settings, SettingsError, load_settings, settings_help

if TYPE_CHECKING:
    from cds_service.knowledge.knowledge import Card, Knowledge
    from cds_service.review_site.pages import Site


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: success, 1: something failed, 2: wrong usage.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (SettingsError, KnowledgeError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe (head, less) has closed it: stop without an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cds-service",
        description="CDS Hooks service for patients with muscle cramps",
        epilog=f"Settings come from environment variables:\n\n{settings_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_serve_command(commands, _port, _at_least_one)
    add_review_command(commands, _port)
    add_signal_commands(commands)
    add_users_commands(commands)
    add_audit_commands(commands)
    add_report_command(commands)
    add_demo_command(commands, _instant, _at_least_one)
    add_request_commands(commands, _instant)

    sample = commands.add_parser("sample", help="print a sample request, dated today, to send with curl")
    sample.add_argument("name", nargs="?", help="name of a sample; without it, list them")
    sample.set_defaults(run=_sample)

    cards = commands.add_parser("cards", help="the clinical content").add_subparsers(required=True, metavar="COMMAND")
    check = cards.add_parser("check", help="run all cards' cases and check what the cards emit")
    check.add_argument(
        "--links", action="store_true", help="list instead where each source's link leads, judged by its address, without network"
    )
    check.set_defaults(run=_check)
    show = cards.add_parser("show", help="print the review of one card, in sentences generated from its data")
    show.add_argument("id", nargs="?", help="id of the card; without it, list the cards")
    show.add_argument("--html", nargs="?", const="-", metavar="FILE", help="as a web page; default: to standard output")
    show.set_defaults(run=_show)
    site = cards.add_parser("site", help="write the review pages of all cards into a folder")
    site.add_argument("folder", type=Path, metavar="DIR")
    site.set_defaults(run=_site)
    rows = cards.add_parser("rows", help="print which card and case carries each recommendation of the source documents")
    rows.set_defaults(run=_rows)
    fmt = cards.add_parser("fmt", help="reformat the card files; content and comments stay the same")
    fmt.add_argument("--check", action="store_true", help="write nothing; list the files that would change")
    fmt.set_defaults(run=_fmt)
    lock = cards.add_parser("lock", help="write cards/versions.lock; refuses where content changed and the version did not")
    lock.set_defaults(run=_lock)
    add_approval_commands(cards)
    schema = cards.add_parser("schema", help="print the JSON schema of card files, for editors")
    schema.set_defaults(run=_schema)

    add_terminology_commands(commands)
    add_codes_commands(commands, _instant)
    add_clients_commands(commands)
    add_doctor_command(commands)
    add_build_sheet_command(commands)
    add_log_commands(commands, _instant)
    add_replay_command(commands, _instant, _at_least_one)
    add_backtest_command(commands, _instant, _at_least_one)
    return parser


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be an ISO time, such as 2025-11-28T09:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return number


def _load(settings: Settings) -> tuple[Path, Knowledge]:
    from cds_service.knowledge.site_knowledge import load_knowledge

    folder = settings.cards_dir or cards_dir()
    return folder, load_knowledge(settings, before_approval=True)


def _sample(options: argparse.Namespace) -> int:
    from cds_service.authoring.samples import load_samples
    from cds_service.files.conversion_errors import suggestion

    samples = load_samples(fixtures_dir())
    if options.name is None:
        for name, one in samples.items():
            print(f"{name:28} {one.hook:13} {one.title}")
        return 0
    sample = samples.get(options.name)
    if sample is None:
        print(f"unknown sample{suggestion(options.name, samples)}", file=sys.stderr)
        return 2
    print(msgspec.json.format(msgspec.json.encode(sample.request(utc_now()))).decode())
    return 0


def _check(options: argparse.Namespace) -> int:
    from cds_service.authoring.card_checks import content_problems
    from cds_service.authoring.cases import load_cases, run_cases
    from cds_service.authoring.emitted_resources import emitted_problems, report
    from cds_service.authoring.recommendations import Recommendations
    from cds_service.authoring.source_links import link_lines, refused_links
    from cds_service.authoring.version_lock import lock_problems

    folder, knowledge = _load(load_settings())
    if options.links:
        refused = list(refused_links(knowledge.sources))
        print("\n".join([*link_lines(knowledge.sources), *(f"{name}: {problem}" for name, problem in refused)]))
        return 1 if refused else 0
    runs = list(run_cases(load_cases(folder, knowledge), knowledge))
    problems = emitted_problems(knowledge, runs) + content_problems(folder, knowledge, runs)
    if knowledge.overlay is None:  # versions and recommendations concern the shipped cards, not a site's overlay
        problems += Recommendations(folder).problems(knowledge, runs) + lock_problems(folder, knowledge)
    lines, passed = report(knowledge, runs, problems)
    print("\n".join(lines))
    return 0 if passed else 1


def _show(options: argparse.Namespace) -> int:
    from cds_service.explain.terminal import draw_review
    from cds_service.files.conversion_errors import suggestion

    folder, knowledge = _load(load_settings())
    if options.id is None:
        for one in knowledge.cards:
            print(f"{one.id:28} {one.file.version:8} {one.file.status:8} {one.file.title}")
        return 0
    card = knowledge.card(options.id)
    if card is None:
        print(f"unknown card{suggestion(options.id, [one.id for one in knowledge.cards])}", file=sys.stderr)
        return 2
    if options.html is None:
        print(draw_review(card, knowledge), end="")
        return 0
    page = _review_site(folder, knowledge, [card]).card(card)
    if options.html == "-":
        print(page)
    else:
        Path(options.html).write_text(page, encoding="utf-8")
    return 0


def _review_site(folder: Path, knowledge: Knowledge, cards: Sequence[Card]) -> Site:
    from cds_service.authoring.cases import load_cases, run_cases
    from cds_service.authoring.recommendations import Recommendations
    from cds_service.review_site.pages import Site

    cases = [case for case in load_cases(folder, knowledge) if case.card in cards]
    return Site(knowledge, Recommendations(folder), list(run_cases(cases, knowledge)))


def _site(options: argparse.Namespace) -> int:
    folder, knowledge = _load(load_settings())
    written = _review_site(folder, knowledge, knowledge.cards).write(options.folder)
    print(f"{len(written)} files; begin with {options.folder / 'index.html'}")
    return 0


def _rows(_: argparse.Namespace) -> int:
    from cds_service.authoring.recommendations import Recommendations, as_text

    folder, _knowledge = _load(load_settings())
    print(as_text(Recommendations(folder)), end="")
    return 0


def _fmt(options: argparse.Namespace) -> int:
    from cds_service.authoring.card_format import format_cards

    problems = format_cards(load_settings().cards_dir or cards_dir(), write=not options.check)
    print("".join(f"{problem}\n" for problem in problems), end="")
    return 1 if problems else 0


def _lock(_: argparse.Namespace) -> int:
    from cds_service.authoring.version_lock import LOCK, write_lock

    # The lock covers the shipped cards; a site's overlay is not part of it.
    folder, knowledge = _load(load_settings().model_copy(update={"overlay_dir": None}))
    write_lock(folder, knowledge)
    print(f"{len(knowledge.cards)} cards in {folder / LOCK}")
    return 0


def _schema(_: argparse.Namespace) -> int:
    from cds_service.authoring.emitted_resources import card_schema

    print(card_schema(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
