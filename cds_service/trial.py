"""One request evaluated without a server and without the log: what `cds-service fire` and `explain` do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

from cds_service.caps import capped
from cds_service.decode import Gathered
from cds_service.errors import BadRequest
from cds_service.evaluate import Answer, evaluate
from cds_service.gather import gather, require
from cds_service.knowledge import Knowledge
from cds_service.present import Presenter
from cds_service.protocol import decode_request, fitting
from cds_service.settings import Settings
from cds_service.strictjson import members_of
from cds_service.trust import Caller


def try_request(
    body: bytes, settings: Settings, knowledge: Knowledge, now: datetime, dialect: str = ""
) -> tuple[Answer, Mapping[str, Gathered]]:
    """What the service of the hook that `body` names answers at `now` (aware), and what that was read from, by prefetch key.

    Raises CdsError as a server would.
    """
    name = fitting(members_of(body, "the body").get("hook"), str)
    service = next((one for one in knowledge.services if one.hook == name), None)
    if service is None:
        raise BadRequest(f"`hook` must be one of {', '.join(one.hook for one in knowledge.services)}")
    call = decode_request(body, service.hook, Caller(client="trial", dialect=dialect))
    gathered = capped(asyncio.run(gather(call, service.prefetch, None, settings.deadline_ms)), settings.max_entries)
    if settings.on_unavailable == "412":
        require({key: one.source for key, one in gathered.items()})
    return evaluate(call, gathered, knowledge, Presenter(knowledge), now, settings.jurisdiction), gathered
