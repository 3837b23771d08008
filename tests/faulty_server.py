"""The real service in a process of its own, with faults that a request asks for by its user id.

Arguments: those of `cds-service serve`. The exceptions have the whole call in their messages, as careless code would.
"""

from __future__ import annotations

import sys
from typing import Any

from cds_service import evaluate
from cds_service.cli import main
from cds_service.evaluate import _run_stages
from cds_service.gather.gather import gather
from cds_service.wire.hook_request import HookRequest


def _faulty(name: str, real: Any) -> Any:
    def work(call: HookRequest, *given: Any, **named: Any) -> Any:
        if (call.context.userId or "").endswith(f"breaks-{name}"):
            raise ValueError(repr(call))
        return real(call, *given, **named)

    return work


for part, function in (("gather", gather), ("evaluate", _run_stages)):
    setattr(evaluate, function.__name__, _faulty(part, function))
sys.exit(main.main(["serve", "--quiet", *sys.argv[1:]]))
