"""Fire samples in the playground as its form does."""

from __future__ import annotations

import httpx2


async def fire(client: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    """Fire a sample; return the page of its call."""
    answered = await client.post("/", data={"what": "sample", **fields})
    assert answered.status_code == 303, answered.text
    return await client.get(answered.headers["location"])
