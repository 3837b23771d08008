"""Anchor: the no-op that writes its answer, 2 KB, as one durable row first."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI

from tests.bench.anchors.cards import CARDS
from tests.bench.anchors.durable_rows import open_rows
from tests.bench.anchors.noop import Answer, Envelope


def application() -> FastAPI:
    app = FastAPI()
    rows = open_rows()

    @app.post("/cds-services/{service_id}", response_model=Answer)
    async def answer(service_id: str, envelope: Envelope) -> dict[str, Any]:
        await rows.append(envelope.hookInstance, json.dumps(CARDS))
        return {"cards": CARDS}

    return app
