"""Run `cds-service fire` and `explain`: evaluate a request file, and explain the result."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cds_service.clock import utc_now
from cds_service.files.conversion_errors import suggestion
from cds_service.settings import load_settings

if TYPE_CHECKING:
    from cds_service.evaluate import Evaluation
    from cds_service.knowledge.knowledge import Knowledge


def add_request_commands(commands: argparse._SubParsersAction[Any], instant: Callable[[str], datetime]) -> None:
    """Add `fire` and `explain` to `commands`; `instant` reads the time of `--now`."""
    for name, meaning, run in (
        ("fire", "evaluate a request file without a server and draw the cards", _fire),
        ("explain", "explain why each card fires or does not for a request file, criterion by criterion", _explain),
    ):
        command = commands.add_parser(name, help=meaning)
        command.add_argument("request", type=Path, metavar="REQUEST.json", help="a CDS Hooks request, '-' for standard input")
        command.add_argument("--now", type=instant, help="evaluate as of this ISO time, UTC where no zone is given")
        command.add_argument(
            "--json", action="store_true", help=f"print the {'response' if name == 'fire' else 'explanation'} as JSON"
        )
        if name == "fire":
            command.add_argument("--dialect", default="", help="draw the cards as this EHR receives them: epic, oracle, sandbox")
        else:
            command.add_argument("--card", metavar="ID", help="explain only this card")
            command.set_defaults(dialect="")
        command.set_defaults(run=run)


def _fire(options: argparse.Namespace) -> int:
    from cds_service.explain.terminal import draw_cards

    evaluated = _evaluate(options)
    if isinstance(evaluated, int):
        return evaluated
    evaluation, _ = evaluated
    response = msgspec.json.decode(evaluation.body)
    print(msgspec.json.format(evaluation.body).decode() if options.json else draw_cards(response["cards"]))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from cds_service.explain.explain import explain
    from cds_service.explain.text import draw_explanation

    evaluated = _evaluate(options)
    if isinstance(evaluated, int):
        return evaluated
    evaluation, knowledge = evaluated
    explanation = explain(evaluation.facts, evaluation.decisions, knowledge, evaluation.sources)
    if options.card is not None:
        if knowledge.card(options.card) is None:
            print(f"unknown card{suggestion(options.card, [one.id for one in knowledge.cards])}", file=sys.stderr)
            return 2
        if options.card in explanation.elsewhere and not options.json:
            hooks = explanation.elsewhere[options.card]
            reason = f"its hooks are {', '.join(hooks)}" if hooks else "it is retired"
            print(f"{options.card} is not evaluated at {explanation.hook}: {reason}")
            return 0
        explanation.cards = [card for card in explanation.cards if card.card == options.card]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(explanation)).decode())
    else:
        print(draw_explanation(explanation, options.card or ""), end="")
    return 0


def _evaluate(options: argparse.Namespace) -> tuple[Evaluation, Knowledge] | int:
    """Evaluate the request file; where that fails, print why and return an exit status."""
    from cds_service.evaluate import Engine, evaluate_body
    from cds_service.knowledge.site_knowledge import load_knowledge
    from cds_service.present.cards import Presenter
    from cds_service.wire.errors import CdsError

    settings = load_settings()
    knowledge = load_knowledge(settings)
    if options.dialect and options.dialect not in knowledge.dialects:
        print(f"unknown dialect{suggestion(options.dialect, knowledge.dialects)}", file=sys.stderr)
        return 2
    body = sys.stdin.buffer.read() if str(options.request) == "-" else options.request.read_bytes()
    try:
        engine = Engine.of(settings, knowledge, Presenter(knowledge))
        return asyncio.run(evaluate_body(body, engine, options.now or utc_now(), dialect=options.dialect)), knowledge
    except CdsError as error:
        print(f"{options.request}: {error}", file=sys.stderr)
        return 1
