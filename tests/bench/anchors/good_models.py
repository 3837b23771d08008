"""Pydantic models of a CDS Hooks request and of cards, for the anchor `good_service`."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel


class Context(BaseModel):
    userId: str
    patientId: str
    encounterId: str | None = None
    draftOrders: dict[str, Any]


class Prefetch(BaseModel):
    patient: dict[str, Any]
    labs: dict[str, Any]


class OrderSign(BaseModel):
    hook: Literal["order-sign"]
    hookInstance: UUID
    context: Context
    prefetch: Prefetch


class Coding(BaseModel):
    system: str
    code: str
    display: str | None = None


class Source(BaseModel):
    label: str
    url: str
    topic: Coding


class Action(BaseModel):
    type: Literal["create", "update", "delete"]
    description: str
    resourceId: str


class Suggestion(BaseModel):
    label: str
    uuid: UUID
    actions: list[Action]


class Link(BaseModel):
    label: str
    url: str
    type: Literal["absolute"] = "absolute"


class Card(BaseModel):
    uuid: UUID
    summary: str
    detail: str
    indicator: Literal["info", "warning", "critical"]
    source: Source
    suggestions: list[Suggestion] | None = None
    selectionBehavior: Literal["any"] | None = None
    overrideReasons: list[Coding]
    links: list[Link]


class Answer(BaseModel):
    cards: list[Card]
