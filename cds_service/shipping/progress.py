"""Ship from a terminal: run the steps of a shipper and print how far it is."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from cds_service.shipping.state import ShippingHealth

_EVERY = 1.0  # seconds between two lines


class Steps(Protocol):
    """The part of a shipper that is used here."""

    def step(self) -> float: ...

    def health(self) -> ShippingHealth: ...

    def close(self) -> None: ...


def ship(shipper: Steps, *, once: bool) -> int:
    """Ship until everything is shipped (`once`), else until interrupted. Return the exit status: 1 where something is left."""
    printed_at = time.monotonic()
    try:
        while True:
            pause = shipper.step()
            health = shipper.health()
            if time.monotonic() - printed_at >= _EVERY or (once and pause):
                printed_at = time.monotonic()
                print(_line(health), file=sys.stderr)
            if once and pause:
                return 0 if health.state == "ok" and not health.refused else 1
            time.sleep(pause)
    except KeyboardInterrupt:
        return 0
    finally:
        shipper.close()


def _line(health: ShippingHealth) -> str:
    left = "?" if health.waiting is None else f"{health.waiting:,}"
    line = f"{health.state}: {health.shipped:,} records shipped, {left} left"
    if health.refused:
        line += f", {health.refused:,} refused by the database (table log.unshipped)"
    if health.state in ("failing", "stopped"):
        line += f" ({health.last_error})"
    return line
