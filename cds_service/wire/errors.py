"""Define the errors that are answered with an OperationOutcome, and encode it.

    CdsError                      status  code
    ├── BadRequest                   400  invalid
    ├── Forbidden                    403  forbidden
    ├── UnknownService               404  not-found
    ├── BodyTimeout                  408  timeout
    ├── PreconditionFailed           412  incomplete
    ├── PayloadTooLarge              413  too-long
    ├── UnsupportedMediaType         415  not-supported
    ├── TooManyCalls                 429  throttled
    ├── EngineFailed                 500  exception
    ├── LogUnavailable               503  transient
    └── Overloaded                   503  throttled

To refuse a request for a new reason, add a class here or raise one of these; `hooks.error_handlers` answers it. A call that was
decoded raises `wire.refusal.RequestRefusedError`, which carries a CdsError and is logged. Three refusals are not in this tree: a
caller that is not accepted gets an empty 401 (`trust.refusal.CallerRefusedError`), headers that are too large get a 431 in plain
text (`process.connection_limits`), and an unexpected exception gets a 500 (`hooks.error_handlers`).

A text names fields, keys and types, never a value: request data may be about a patient, and error bodies end up in log files on
both sides. The body is a FHIR OperationOutcome, as CDS Hooks 3.0 suggests for every status that isn't 2xx. Its media type is
`application/json`, not `application/fhir+json`, because responses of CDS Hooks endpoints are plain JSON.
"""

# ruff: noqa: N818 (the names are those of the HTTP statuses)

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

CLIENT_WENT_AWAY = 499  # only in metrics and the alert log, as with other servers: the client is no longer there to receive it


class CdsError(Exception):
    """Base of all errors that are answered with an OperationOutcome. `str(error)` is the text for the integrator.

    `status` is the HTTP status, `code` the FHIR issue type (http://hl7.org/fhir/issue-type).
    """

    status = 500
    code = "exception"
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, text: str, *, why: str = "") -> None:
        """`why`: the reason for this service's own log, a word of ours or the name of a field, never a value that was sent.

        Without it the name of the class is the reason.
        """
        super().__init__(text)
        self.why = why or type(self).__name__


class BadRequest(CdsError):
    """The body is not JSON, or breaks a rule of CDS Hooks."""

    status = 400
    code = "invalid"


class UnknownService(CdsError):
    """No service has this id, and in the dev profile no sample resource."""

    status = 404
    code = "not-found"


class Forbidden(CdsError):
    """A form was sent from a page of another origin."""

    status = 403
    code = "forbidden"


class PreconditionFailed(CdsError):
    """Required data was not sent, and no FHIR server could be asked for it (CDS Hooks 2.0: 412)."""

    status = 412
    code = "incomplete"


class BodyTimeout(CdsError):
    """The body did not arrive in time. The connection is closed, so that a slow sender holds nothing here."""

    status = 408
    code = "timeout"
    headers: Mapping[str, str] = MappingProxyType({"connection": "close"})


class PayloadTooLarge(CdsError):
    """The body is longer than this service reads. Its rest is thrown away, see `connection_limits`."""

    status = 413
    code = "too-long"


class UnsupportedMediaType(CdsError):
    """The body is compressed. It is not inflated, so that a small body can't become a huge one."""

    status = 415
    code = "not-supported"


class TooManyCalls(CdsError):
    """The client has sent more calls in this minute than it is registered for (RFC 6585)."""

    status = 429
    code = "throttled"

    def __init__(self, text: str, *, retry_after: int) -> None:
        """`retry_after`: seconds until its calls are taken again."""
        super().__init__(text)
        self.headers = {"retry-after": str(retry_after)}


class Overloaded(CdsError):
    """The process works on its maximum of calls at once; the EHR may try again."""

    status = 503
    code = "throttled"
    headers: Mapping[str, str] = MappingProxyType({"retry-after": "1"})


class LogUnavailable(CdsError):
    """The log could not store what must be stored; the EHR may send the request again.

    Either the response of a site that requires the log, or feedback, or feedback came while repeats can't be recognised.
    """

    status = 503
    code = "transient"


class EngineFailed(CdsError):
    """No card could be evaluated: nothing was checked for this patient."""

    status = 500
    code = "exception"


def new_trace() -> str:
    """Return 16 random hex digits that join a response to its log line."""
    return secrets.token_hex(8)


def operation_outcome(code: str, text: str, trace: str) -> bytes:
    """Encode an OperationOutcome with one issue. `code` is a FHIR issue type, `text` is for the integrator."""
    issue = {"severity": "error", "code": code, "details": {"text": text}, "diagnostics": f"trace {trace}"}
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})
