"""Add the command `build-sheet`."""

from __future__ import annotations

import argparse
from typing import Any

from cds_service.build_sheet.ehrs import known_ehrs
from cds_service.settings import load_settings


def add_build_sheet_command(commands: Any) -> None:
    """Add the command to the parsers in `commands`."""
    command = commands.add_parser("build-sheet", help="print what an EHR's analyst types, copies and maps, as Markdown")
    command.add_argument("--for", dest="ehr", choices=[*known_ehrs()], default="generic", help="the EHR (default: %(default)s)")
    command.set_defaults(run=_print)


def _print(options: argparse.Namespace) -> int:
    from cds_service.build_sheet.sheet import build_sheet
    from cds_service.knowledge.site_knowledge import load_knowledge

    settings = load_settings()
    print(build_sheet(options.ehr, load_knowledge(settings, before_approval=True), settings), end="")
    return 0
