"""List the outcomes of a request to a FHIR server, with a sentence for the clinician.

The list is closed: each outcome is counted (`metrics.FHIR_FETCHES`), and no failure counts as "no data".
"""

from __future__ import annotations

from enum import StrEnum

from cds_service.outbound.checked_network import Fault
from cds_service.outbound.search_support import Issue
from cds_service.telemetry.metrics import FHIR_FETCHES


class Outcome(StrEnum):
    """Outcome of one request to the FHIR server."""

    OK = "ok"
    UNUSABLE = "unusable"  # an OperationOutcome, or resources of another type
    NOT_JSON = "not_json"
    WEB_PAGE = "web_page"
    EMPTY = "empty"  # no content, where FHIR has at least an empty Bundle
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    GONE = "gone"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"  # other statuses from 500
    REFUSED = "refused"  # other statuses
    TIMEOUT = "timeout"
    BUSY = "busy"  # other requests took the time
    LEFT_ALONE = "left_alone"  # not asked: it failed shortly before
    NO_TIME = "no_time"  # not asked
    BAD_TOKEN = "bad_token"  # not asked  # noqa: S105
    BAD_ADDRESS = "bad_address"  # not asked
    ELSEWHERE = "elsewhere"  # not asked
    LACKS = "lacks"  # it has no resources of this type; not asked where it said so before
    CIRCLE = "circle"  # not asked: a page names itself or an earlier one as the next
    NOT_RESOLVED = Fault.NOT_RESOLVED.value
    NOT_PUBLIC = Fault.NOT_PUBLIC.value
    NOT_REACHED = Fault.NOT_REACHED.value
    TLS = Fault.TLS.value
    RESET = Fault.RESET.value
    GARBLED = Fault.GARBLED.value
    INCOMPLETE = Fault.INCOMPLETE.value
    ENCODED = Fault.ENCODED.value
    TOO_LONG = Fault.TOO_LONG.value


_NOTES = {
    Outcome.NOT_JSON: "the FHIR server's answer is not FHIR JSON",
    Outcome.WEB_PAGE: "the FHIR server sent a web page in place of data",
    Outcome.EMPTY: "the FHIR server's answer is empty",
    Outcome.REDIRECT: "the FHIR server pointed to another address, which is not followed (status {status})",
    Outcome.UNAUTHORIZED: "the FHIR server did not accept the access that this call was given (status 401)",
    Outcome.FORBIDDEN: "the FHIR server does not let this service read it (status 403)",
    Outcome.NOT_FOUND: "the FHIR server does not have it (status 404)",
    Outcome.GONE: "the FHIR server does not have it any more (status 410)",
    Outcome.TOO_MANY: "the FHIR server was asked too often (status 429)",
    Outcome.UNAVAILABLE: "the FHIR server is not available at the moment (status 503)",
    Outcome.FAILED: "the FHIR server failed (status {status})",
    Outcome.REFUSED: "the FHIR server answered with status {status}",
    Outcome.TIMEOUT: "the FHIR server did not answer in time",
    Outcome.BUSY: "the FHIR server was too busy with other questions",
    Outcome.LEFT_ALONE: "the FHIR server failed shortly before and is not asked for some seconds",
    Outcome.NO_TIME: "no time was left to ask the FHIR server",
    Outcome.BAD_TOKEN: "the access that this call was given can't be used",
    Outcome.BAD_ADDRESS: "the address of the data can't be used",
    Outcome.ELSEWHERE: "the data is on another server, which is not asked",
    Outcome.LACKS: "the FHIR server has no data of this kind",
    Outcome.CIRCLE: "the pages of the search go round in a circle",
    Outcome.NOT_RESOLVED: "the FHIR server could not be found",
    Outcome.NOT_PUBLIC: "the FHIR server is at an address that may not be asked",
    Outcome.NOT_REACHED: "the FHIR server could not be reached",
    Outcome.TLS: "no secure connection to the FHIR server was possible",
    Outcome.RESET: "the FHIR server broke off the connection",
    Outcome.GARBLED: "the FHIR server's answer could not be understood",
    Outcome.INCOMPLETE: "the FHIR server's answer broke off",
    Outcome.ENCODED: "the FHIR server's answer is compressed, which was not asked for",
    Outcome.TOO_LONG: "the FHIR server's answer is too long",
}
STATUSES = {
    204: Outcome.EMPTY,
    401: Outcome.UNAUTHORIZED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    410: Outcome.GONE,
    429: Outcome.TOO_MANY,
    503: Outcome.UNAVAILABLE,
}

for _outcome in Outcome:
    FHIR_FETCHES.labels(_outcome)  # shown as 0 from the start


class FhirError(Exception):
    """Raised where the FHIR server gave no usable response.

    The text is for a clinician and holds nothing of the response or the URL.
    """

    def __init__(self, outcome: Outcome, status: int = 0, note: str = "", issues: tuple[Issue, ...] = ()) -> None:
        """`issues`: those of the server's response, used only to adapt the search."""
        super().__init__(note or _NOTES[outcome].format(status=status))
        self.outcome = outcome
        self.status = status
        self.issues = issues
