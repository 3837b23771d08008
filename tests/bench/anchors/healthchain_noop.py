"""Anchor: HealthChain with two constant cards and no log. Runs in an environment of its own, see `tests.bench.environments`."""

from __future__ import annotations

from typing import Any

from tests.bench.anchors.cards import CARDS

SERVICES = ("cramp-care-order-sign",)


def application() -> Any:
    from healthchain.gateway import CDSHooksService, HealthChainAPI  # type: ignore[import-not-found]
    from healthchain.gateway.cds import CDSHooksConfig  # type: ignore[import-not-found]
    from healthchain.models import CDSRequest, CDSResponse  # type: ignore[import-not-found]

    hooks = CDSHooksService(CDSHooksConfig(base_path=""))

    def answer(request: Any) -> Any:
        return CDSResponse(cards=CARDS)

    answer.__annotations__ = {"request": CDSRequest, "return": CDSResponse}
    for service in SERVICES:
        hooks.hook("order-sign", id=service)(answer)
    app = HealthChainAPI()
    app.register_service(hooks)
    return app
