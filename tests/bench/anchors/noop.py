"""Anchor: a FastAPI service that checks the envelope of a request with Pydantic and answers two fixed cards.

It does nothing else, and it does that the ordinary way.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from tests.bench.anchors.cards import CARDS


class Envelope(BaseModel):
    hook: str
    hookInstance: str
    context: dict[str, Any]
    prefetch: dict[str, Any] | None = None


class Answer(BaseModel):
    cards: list[dict[str, Any]]


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/cds-services/{service_id}", response_model=Answer)
    async def answer(service_id: str, envelope: Envelope) -> dict[str, Any]:
        return {"cards": CARDS}

    return app
