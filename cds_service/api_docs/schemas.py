"""Describe the requests and responses of CDS Hooks 2.0 in JSON Schema, for the documentation only.

`wire.hook_request` decodes a request and `present` encodes a card without these schemas. A request may hold other members and
extensions, which are ignored. Tests check the golden responses against these schemas.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
REF = "#/components/schemas/"


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _is(name: str) -> Schema:
    return {"$ref": f"{REF}{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(name: str, **more: Any) -> Schema:
    return {"type": "array", "items": _is(name), **more}


def _object(description: str, required: Schema, optional: Schema | None = None) -> Schema:
    members = {"required": list(required), "properties": {**required, **(optional or {})}}
    return {"type": "object", "description": description, **members}


TEXT, URL = _text(), _text(pattern="^https?://")
RESOURCE = {"type": "object", "description": "A FHIR resource; R4 first, STU3 and DSTU2 shapes are read too."}
HOOKS = {"patient-view": "PatientViewCall", "order-select": "OrderSelectCall", "order-sign": "OrderSignCall"}

_PATIENT = {
    "userId": _text("`Practitioner/123` or `PractitionerRole/123`."),
    "patientId": _text("A bare id; `Patient/123` and the like are read too.", minLength=1),
}
_ORDERS = {"draftOrders": {"type": "object", "description": "A Bundle with every unsigned order."}}
_SELECTIONS = {"selections": {"type": "array", "items": TEXT, "minItems": 1, "description": "References into `draftOrders`."}}


def _call(hook: str, description: str, context: str) -> Schema:
    return _object(
        f"{description} Send every prefetch key of discovery (`null` where there is nothing), or a FHIR server to query.",
        {"hook": _one_of(hook), "hookInstance": _text("A UUID of this call.", minLength=1), "context": _is(context)},
        {
            "fhirServer": TEXT,
            "fhirAuthorization": _or_null(_is("FhirAuthorization")),
            "prefetch": {"type": "object", "additionalProperties": _or_null(RESOURCE)},
        },
    )


SCHEMAS: dict[str, Schema] = {
    # What an EHR sends
    "PatientViewCall": _call("patient-view", "A chart was opened.", "PatientContext"),
    "OrderSelectCall": _call("order-select", "An order was picked.", "SelectContext"),
    "OrderSignCall": _call("order-sign", "Orders are about to be signed.", "SignContext"),
    "PatientContext": _object("The chart that is open, and its user.", _PATIENT, {"encounterId": TEXT}),
    "SelectContext": _object(
        "The unsigned orders, and which of them were just picked.", _PATIENT | _ORDERS | _SELECTIONS, {"encounterId": TEXT}
    ),
    "SignContext": _object("The orders that are about to be signed.", _PATIENT | _ORDERS, {"encounterId": TEXT}),
    "FhirAuthorization": _object(
        "An access token for `fhirServer`. It is used for this call, and never logged or stored.",
        {
            "access_token": TEXT,
            "token_type": _one_of("Bearer"),
            "expires_in": {"type": "integer", "description": "Seconds."},
            "scope": TEXT,
            "subject": _text("The OAuth client id of this service."),
        },
        {"patient": TEXT},
    ),
    "Feedback": _object("Feedback in the order in which it happened.", {"feedback": _list("FeedbackItem", maxItems=1000)}),
    "FeedbackItem": _object(
        "The clinician's response to one card.",
        {
            "card": _text("The uuid of the card.", minLength=1, maxLength=200),
            "outcome": _one_of("accepted", "overridden", "ignored"),
            "outcomeTimestamp": _text("An ISO 8601 time in UTC."),
        },
        {"acceptedSuggestions": _list("AcceptedSuggestion"), "overrideReason": _or_null(_is("OverrideReason"))},
    ),
    "AcceptedSuggestion": _object("A suggestion that was accepted, by its uuid.", {"id": TEXT}),
    "OverrideReason": _object(
        "Why a card was overridden: one of its reasons, a comment, or both. Of a comment, only the length is stored.",
        {},
        {"reason": _or_null(_is("Coding")), "userComment": TEXT},
    ),
    # What it receives
    "Services": _object("The discovery document.", {"services": _list("Service")}),
    "Service": _object(
        "One service, and what to prefetch for it.",
        {"hook": _one_of(*HOOKS), "title": TEXT, "description": TEXT, "id": TEXT},
        {"prefetch": {"type": "object", "additionalProperties": TEXT}, "usageRequirements": TEXT},
    ),
    "Cards": _object("The response to a call; an empty list where no card is shown.", {"cards": _list("Card")}),
    "Card": _object(
        "What the clinician sees. No member is null or empty.",
        {
            "uuid": _text("For feedback; the same call gets the same uuid."),
            "summary": _text(maxLength=139),
            "detail": _text("GitHub Flavored Markdown without HTML."),
            "indicator": _one_of("info", "warning", "critical"),
            "source": _is("Source"),
        },
        {
            "suggestions": _list("Suggestion"),
            "selectionBehavior": _one_of("any", "at-most-one"),
            "overrideReasons": _list("Coding"),
            "links": _list("Link"),
        },
    ),
    "Source": _object(
        "Where the guidance comes from. `topic` names the card; `not-checked` is the notice.",
        {"label": TEXT},
        {"url": URL, "topic": _is("Coding")},
    ),
    "Suggestion": _object(
        "A change that the clinician can accept as a whole.",
        {"label": TEXT, "uuid": _text("For feedback."), "actions": _list("Action")},
        {"isRecommended": {"type": "boolean"}},
    ),
    "Action": _object(
        "A part of a suggestion: `resource` is created or replaces the draft, `resourceId` is deleted.",
        {"type": _one_of("create", "update", "delete"), "description": TEXT},
        {"resource": RESOURCE, "resourceId": TEXT},
    ),
    "Link": _object("Where to read more.", {"label": TEXT, "url": URL, "type": _one_of("absolute")}),
    "Coding": _object("A code of a system.", {"code": TEXT, "system": TEXT}, {"display": TEXT}),
    "Received": _object(
        "How many items were accepted, and which were refused.",
        {"received": {"type": "integer"}},
        {"refused": _list("RefusedItem")},
    ),
    "RefusedItem": _object("An item that could not be read.", {"index": {"type": "integer"}, "why": TEXT}),
    "Health": _object(
        "The state of the service; further members give counts since the start, the cards and the state of the log.",
        {"status": _one_of("ok", "degraded"), "profile": _one_of("dev", "production"), "version": TEXT},
    ),
    "OperationOutcome": _object(
        "The body of every unsuccessful response. It repeats nothing from the request.",
        {"resourceType": _one_of("OperationOutcome"), "issue": _list("Issue")},
    ),
    "Issue": _object(
        "What is wrong: a FHIR issue type, a text for the integrator, and the trace id of the line in the log.",
        {
            "severity": _one_of("error"),
            "code": TEXT,
            "details": _object("The text.", {"text": TEXT}),
            "diagnostics": TEXT,
        },
    ),
}
