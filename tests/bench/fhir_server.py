"""A FHIR server that answers every search with what a benchmark request would have sent for it. ASGI.

It stands for the EHR's: its CPU time is not counted, so it does no work beyond looking up prepared bytes.

    BENCH_FHIR_DATA=request.json python -m uvicorn --factory tests.bench.fhir_server:application
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.bench.generate import encoded

DATA_VARIABLE = "BENCH_FHIR_DATA"  # environment variable with the path of a request that has its data


def by_type(request: bytes) -> dict[str, bytes]:
    """Take the request's prefetched resources apart: the patient, and the Bundle of each other type."""
    prefetch = json.loads(request, parse_float=Decimal)["prefetch"]
    found = {"Patient": encoded(prefetch["patient"])}
    for key, bundle in prefetch.items():
        if key != "patient":
            found[bundle["link"][0]["url"].rpartition("/")[2].partition("?")[0]] = encoded(bundle)
    return found


def application() -> Callable[..., Awaitable[None]]:
    found = by_type(Path(os.environ[DATA_VARIABLE]).read_bytes())

    async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        body = next((found[part] for part in scope["path"].split("/") if part in found), None)
        headers = [(b"content-type", b"application/fhir+json"), (b"content-length", b"%d" % len(body or b""))]
        await send({"type": "http.response.start", "status": 404 if body is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body or b""})

    return app
