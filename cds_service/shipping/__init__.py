"""Ship the alert log from its file to PostgreSQL, where several machines share it.

The file stays where records are written and what an answer waits for. A thread (`shipper`) moves its records in their order,
batch by batch (`link`), and never twice. `prior_postgres` asks PostgreSQL for the cards that other machines have shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cds_service.alert_log.prior import TIME_LIMIT
from cds_service.alert_log.prior_everywhere import PriorSource
from cds_service.shipping.state import ShippingHealth, ShippingState, shipping_state

__all__ = ["Shipper", "ShippingHealth", "ShippingState", "new_prior_source", "new_shipper", "shipping_state"]


class Shipper(Protocol):
    """What a server process does with its shipper."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def health(self) -> ShippingHealth: ...


def new_shipper(log_path: Path, url: str) -> Shipper | None:
    """Return a shipper that is not started; None without a URL."""
    if not url:
        return None
    from cds_service.shipping.shipper import Shipper as Thread  # psycopg costs 10 MB

    return Thread(log_path, url)


def new_prior_source(url: str) -> PriorSource | None:
    """Return the look-up of other machines' cards, which connects later; None without a URL."""
    if not url:
        return None
    from cds_service.shipping.prior_postgres import PostgresPriorCards

    return PostgresPriorCards(url, TIME_LIMIT)
