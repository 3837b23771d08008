"""A log of calls that were really fired at the service, one an hour up to NOW, with feedback; and the pages over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from msgspec.structs import replace
from starlette.applications import Starlette

from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.database import Database, open_database
from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.runtime import Runtime
from cds_service.settings import Settings
from tests.core import NOW, Json, a_runtime, knowledge
from tests.http_side import running

QUININE = ["ICD10#R25.2 Cramp and spasm", "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, id one"]
MALARIA = ["order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for malaria, id one"]
PAIN = ["ICD10#R25.2 Cramp and spasm", "takes: warfarin 5 mg", "order: ibuprofen 400 mg tablet, for leg cramps, id six"]
CRITICAL = [
    "LOINC#98979-8 eGFR 25 mL/min/{1.73_m2}",
    "allergy: quinine, reaction thrombocytopenia",
    "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, id one",
]
TWO_ORDERS = [*QUININE, "order: RXNORM#997010 quinine sulfate 324 MG Oral Capsule, for leg cramps, id two"]
LOW_POTASSIUM = ["LOINC#2823-3 Potassium 2.4 mmol/L"]
NO_LABS = ["ICD10#R25.2 Cramp and spasm", "source labs: error"]

Answer = str  # accepted, overridden, a code of a reason, "" for none
SAME_ORIGIN = {"sec-fetch-site": "same-origin", "origin": "http://cds.example"}


async def fire(
    folder: Path, calls: Sequence[tuple[Sequence[str], Answer]], *, end: datetime = NOW, runtime: Runtime | None = None
) -> None:
    """Write the log of `calls`: (patient in shorthand, feedback on each card), the last one an hour before `end`."""
    held = [end - timedelta(hours=len(calls))]  # the moment that the service is told
    runtime = replace(runtime or a_runtime(folder), clock=lambda: held[0])
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for number, (given, answer) in enumerate(calls):
            held[0] = end - timedelta(hours=len(calls) - number)
            hook = "order-sign" if any("order:" in line for line in given) else "patient-view"
            path = f"/cds-services/cramp-care-{hook}"
            request = request_from_case([f"patient: female, 58 years, id p{number % 7}", *given], hook, held[0])
            request["hookInstance"] = f"00000000-0000-4000-8000-{number:012d}"
            response = await client.post(path, json=request)
            assert response.status_code == 200, response.text
            items = [_feedback(card, answer, held[0]) for card in response.json()["cards"]] if answer else []
            held[0] += timedelta(seconds=20)
            if items:
                assert (await client.post(f"{path}/feedback", json={"feedback": items})).status_code == 200


def _feedback(card: Json, answer: Answer, at: datetime) -> Json:
    item: Json = {"card": card["uuid"], "outcomeTimestamp": (at + timedelta(seconds=9)).isoformat()}
    if answer == "accepted":
        return item | {"outcome": "accepted", "acceptedSuggestions": [{"id": one["uuid"]} for one in card["suggestions"][:1]]}
    if answer == "overridden":
        return item | {"outcome": "overridden"}
    reason = {"code": answer, "system": "urn:cramp-cds:override-reason"}
    return item | {"outcome": "overridden", "overrideReason": {"reason": reason, "userComment": "as discussed"}}


def database(folder: Path, *, writes: bool = True) -> Database:
    """The log in `folder` with its review database."""
    return open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", writes_review=writes)


@asynccontextmanager
async def pages(folder: Path, reviewer: str = "", now: datetime = NOW, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser of the pages over the log in `folder`."""
    site = Site(Settings(log_path=folder / "alerts.sqlite3", **settings), knowledge(), lambda: now)
    app = Starlette(routes=review_routes(site))
    cookies = {"cds_reviewer": reviewer} if reviewer else {}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://cds.example", headers=SAME_ORIGIN, cookies=cookies
    ) as client:
        yield client
    site.close()
