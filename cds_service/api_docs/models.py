"""The shapes of CDS Hooks 2.0 as this service takes and gives them, for the documentation alone.

A call is decoded by `protocol` and a card encoded by `present`, without these: they read leniently and write fast. Members that a
call may hold besides, and extensions, are ignored. Tests hold the golden responses against these shapes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Id = Annotated[str, msgspec.Meta(min_length=1, description="A bare id; `Patient/123` and the like are read too.")]
Url = Annotated[str, msgspec.Meta(pattern="^https?://")]
Resource = Annotated[dict[str, Any], msgspec.Meta(description="A FHIR resource; R4 first, STU3 and DSTU2 shapes are read too.")]


class Model(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A JSON object."""


class FhirAuthorization(Model, kw_only=True):
    """An access token for `fhirServer`. It is used for this call, and never logged or stored."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, msgspec.Meta(description="Seconds.")]
    scope: str
    subject: Annotated[str, msgspec.Meta(description="The OAuth client id of this service.")]
    patient: str = ""


class PatientContext(Model, kw_only=True):
    """Whose chart is open, and who looks at it."""

    userId: Annotated[str, msgspec.Meta(description="`Practitioner/123` or `PractitionerRole/123`.")]
    patientId: Id
    encounterId: str = ""


class SignContext(PatientContext, kw_only=True):
    """The orders that are about to be signed."""

    draftOrders: Annotated[dict[str, Any], msgspec.Meta(description="A Bundle with every unsigned order.")]


class SelectContext(SignContext, kw_only=True):
    """The unsigned orders, and which of them were just picked."""

    selections: Annotated[list[str], msgspec.Meta(min_length=1, description="References into `draftOrders`.")]


class Call(Model, kw_only=True):
    """A service call. Send every prefetch key of discovery (`null` where there is nothing), or a server to ask."""

    hookInstance: Annotated[str, msgspec.Meta(min_length=1, description="A UUID of this call.")]
    fhirServer: str = ""
    fhirAuthorization: FhirAuthorization | None = None
    prefetch: dict[str, Resource | None] = {}


class PatientViewCall(Call, kw_only=True):
    """A chart was opened."""

    hook: Literal["patient-view"]
    context: PatientContext


class OrderSelectCall(Call, kw_only=True):
    """An order was picked."""

    hook: Literal["order-select"]
    context: SelectContext


class OrderSignCall(Call, kw_only=True):
    """Orders are about to be signed."""

    hook: Literal["order-sign"]
    context: SignContext


class Coding(Model, kw_only=True):
    """A code of a system."""

    code: str
    system: str
    display: str = ""


class Source(Model, kw_only=True):
    """Where the guidance comes from."""

    label: str
    url: Url = ""
    topic: Annotated[Coding | None, msgspec.Meta(description="Which card it is; `not-checked` is the notice.")] = None


class Action(Model, kw_only=True):
    """What a suggestion does: `resource` is created or replaces the draft, `resourceId` is deleted."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: Resource = {}
    resourceId: str = ""


class Suggestion(Model, kw_only=True):
    """A change that the clinician can take over whole."""

    label: str
    uuid: Annotated[str, msgspec.Meta(description="For feedback.")]
    isRecommended: bool = False
    actions: list[Action]


class Link(Model, kw_only=True):
    """Where to read more."""

    label: str
    url: Url
    type: Literal["absolute"]


class Card(Model, kw_only=True):
    """What the clinician sees. No member is null or empty."""

    uuid: Annotated[str, msgspec.Meta(description="For feedback; the same call gets the same.")]
    summary: Annotated[str, msgspec.Meta(max_length=139)]
    detail: Annotated[str, msgspec.Meta(description="GitHub Flavored Markdown without HTML.")]
    indicator: Literal["info", "warning", "critical"]
    source: Source
    suggestions: list[Suggestion] = []
    selectionBehavior: Literal["any", "at-most-one", ""] = ""
    overrideReasons: list[Coding] = []
    links: list[Link] = []


class Cards(Model, kw_only=True):
    """The answer to a call; an empty list where there is nothing to say."""

    cards: list[Card]


class Service(Model, kw_only=True):
    """One service, and what to prefetch for it."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    title: str
    description: str
    id: str
    prefetch: dict[str, str] = {}
    usageRequirements: str = ""


class Services(Model, kw_only=True):
    """The discovery document."""

    services: list[Service]


class OverrideReason(Model, kw_only=True):
    """Why a card was overridden: one of its reasons, a comment, or both. Of a comment, only the length is kept."""

    reason: Coding | None = None
    userComment: str = ""


class AcceptedSuggestion(Model, kw_only=True):
    """A suggestion that was taken over, by its uuid."""

    id: str


class FeedbackItem(Model, kw_only=True):
    """What became of one card."""

    card: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="The uuid of the card.")]
    outcome: Literal["accepted", "overridden", "ignored"]
    outcomeTimestamp: Annotated[str, msgspec.Meta(description="An ISO 8601 time in UTC.")]
    acceptedSuggestions: list[AcceptedSuggestion] = []
    overrideReason: OverrideReason | None = None


class Feedback(Model, kw_only=True):
    """A batch of feedback, in the order in which it happened."""

    feedback: Annotated[list[FeedbackItem], msgspec.Meta(max_length=1000)]


class RefusedItem(Model, kw_only=True):
    """An item that could not be read."""

    index: int
    why: str


class Received(Model, kw_only=True):
    """How many items were taken, and which were refused."""

    received: int
    refused: list[RefusedItem] = []


class Health(Model, kw_only=True):
    """How the service is; further members tell counts since the start, the cards and the state of the log."""

    status: Literal["ok", "degraded"]
    profile: Literal["dev", "production"]
    version: str


class Text(Model, kw_only=True):
    """Words for the integrator."""

    text: str


class Issue(Model, kw_only=True):
    """What is wrong: a FHIR issue type, words, and the trace that leads to the line in the log."""

    severity: Literal["error"]
    code: str
    details: Text
    diagnostics: str


class OperationOutcome(Model, kw_only=True):
    """Every answer that is no success. It repeats nothing that was sent."""

    resourceType: Literal["OperationOutcome"]
    issue: list[Issue]
