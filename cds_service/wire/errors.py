"""What this service answers when it can't answer: one tree of errors, one way to write them down.

A text names fields, keys and types, never a value: what an EHR sent may be about a patient, and error bodies end up in log
files on both sides. The body is a FHIR OperationOutcome, as CDS Hooks 3.0 suggests for every status that isn't 2xx. It goes out
as `application/json`, not `application/fhir+json`: it is an answer of a CDS Hooks endpoint, whose answers are plain JSON.
"""

# ruff: noqa: N818 (the names are those of the HTTP statuses)

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import ClassVar

import msgspec

CLIENT_WENT_AWAY = 499  # in metrics and the alert log only, as other servers have it: nobody gets it


class CdsError(Exception):
    """A request that can't be served, and why. `str(error)` is the text for the integrator.

    `status` is the HTTP status, `code` the FHIR issue type (http://hl7.org/fhir/issue-type).
    """

    status = 500
    code = "exception"
    headers: ClassVar[Mapping[str, str]] = {}


class BadRequest(CdsError):
    """Not JSON, or not what CDS Hooks requires."""

    status = 400
    code = "invalid"


class UnknownService(CdsError):
    """No service, and in the dev profile no sample resource, with this id."""

    status = 404
    code = "not-found"


class Forbidden(CdsError):
    """A form that a page of somebody else sent."""

    status = 403
    code = "forbidden"


class PreconditionFailed(CdsError):
    """Required data was neither prefetched nor could it be asked for (CDS Hooks 2.0: 412)."""

    status = 412
    code = "incomplete"


class BodyTimeout(CdsError):
    """The body did not arrive in time. The connection is closed, so that a slow sender holds nothing here."""

    status = 408
    code = "timeout"
    headers: ClassVar[Mapping[str, str]] = {"connection": "close"}


class PayloadTooLarge(CdsError):
    """The body is longer than this service reads. What still comes of it is thrown away, see `connection_limits`."""

    status = 413
    code = "too-long"


class UnsupportedMediaType(CdsError):
    """The body is compressed; it is not inflated here, so that a small body can't become a huge one."""

    status = 415
    code = "not-supported"


class Overloaded(CdsError):
    """As many calls are under way as this process takes on at once; the EHR may try again."""

    status = 503
    code = "throttled"
    headers: ClassVar[Mapping[str, str]] = {"retry-after": "1"}


class LogUnavailable(CdsError):
    """Feedback, or an answer that this site wants logged in any case, could not be stored; or feedback could not be told from a
    repeated one. The EHR may send it again.
    """

    status = 503
    code = "transient"


class EngineFailed(CdsError):
    """No card could be evaluated. Not a word about the patient: that nothing was checked is all that is known."""

    status = 500
    code = "exception"


def new_trace() -> str:
    """16 random hex digits that join an answer to its log line."""
    return secrets.token_hex(8)


def operation_outcome(code: str, text: str, trace: str) -> bytes:
    """OperationOutcome with one issue as JSON. `code` is a FHIR issue type, `text` is for the integrator."""
    issue = {"severity": "error", "code": code, "details": {"text": text}, "diagnostics": f"trace {trace}"}
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})
