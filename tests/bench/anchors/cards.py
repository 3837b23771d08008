"""Two fixed cards for the anchors that decide nothing."""

from __future__ import annotations

from typing import Any


def card(summary: str, indicator: str) -> dict[str, Any]:
    """Return a card of about 1 kB, as a real one is."""
    return {
        "uuid": "6f6f6ea3-1a1d-4bfe-9d4b-2e7f2d0f9a11",
        "summary": summary,
        "detail": "A paragraph that explains why this card is shown, with values and dates. " * 5,
        "indicator": indicator,
        "source": {
            "label": "Benchmark",
            "url": "https://example.org/benchmark",
            "topic": {"system": "https://example.org/topics", "code": "benchmark", "display": "Benchmark"},
        },
        "suggestions": [
            {
                "label": "Remove the order",
                "uuid": "0d9d2c52-7b0c-4cc3-b3a5-4f4b8f2b6f10",
                "isRecommended": False,
                "actions": [{"type": "delete", "description": "Remove the order", "resourceId": "MedicationRequest/request-123"}],
            }
        ],
        "selectionBehavior": "any",
        "overrideReasons": [{"code": "known", "system": "https://example.org/reasons", "display": "Known already"}],
        "links": [{"label": "Evidence", "url": "https://example.org/evidence", "type": "absolute", "autoLaunchable": False}],
    }


CARDS = [card("The first of two cards", "warning"), card("The second of two cards", "info")]
