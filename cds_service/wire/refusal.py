"""List how a decoded call can be refused, for the alert log and the security metric.

Most calls that are refused are refused before they are decoded, or while they are: by `hooks`, `trust` and `wire`. Those have no
record in the alert log, because their patient is not known. A call that was decoded gets a record, with one of these outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from cds_service.fhir.gathered import Gathered
from cds_service.telemetry.metrics import SecurityKind
from cds_service.wire.errors import CdsError

# Stored in the alert log: an outcome may be added, never renamed.
RefusalOutcome = Literal[
    "wrong_patient",  # 400: the token or a draft order is for another patient
    "foreign_server",  # 400: `fhirServer` is not registered for the caller
    "could_not_check",  # 412: data is missing, and the site refuses such calls
    "failed",  # 500: no card could be evaluated
]
REFUSAL_OUTCOMES: tuple[RefusalOutcome, ...] = get_args(RefusalOutcome)


class RequestRefusedError(Exception):
    """Raised where a decoded call gets no cards. Logged, then answered with `error`.

    `outcome` and `sources` (the data gathered by then, by prefetch key) are for the alert log. `security`: kind of the security
    event, None for none. A caller that is refused before its request is read gets `trust.refusal.CallerRefusedError` instead.
    """

    def __init__(
        self,
        error: CdsError,
        outcome: RefusalOutcome,
        sources: Mapping[str, Gathered] = MappingProxyType({}),
        *,
        security: SecurityKind | None = None,
    ) -> None:
        super().__init__(outcome)
        self.error = error
        self.outcome = outcome
        self.sources = sources
        self.security = security
