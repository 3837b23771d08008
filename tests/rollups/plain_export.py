"""Read an NDJSON export (`cds-service log export --format ndjson --calls`) as plain records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.rollups.plain_count import PlainCall, PlainCard, PlainFeedback, PlainLog

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_export(lines: Iterable[bytes]) -> PlainLog:
    """Return what the lines say."""
    log = PlainLog([], [])
    for line in lines:
        row = json.loads(line)
        if row["row"] == "call":
            log.calls.append(_call(row))
            for card in row["cards"]:
                log.feedback += [_feedback(item, row, card["cardUuid"]) for item in card["feedback"]]
        elif row["row"] == "feedback":
            log.feedback.append(_feedback(row, row, row["cardUuid"]))
        else:
            who = (row["tenant"], row["client"], row["hook"], row["status"], row["reason"])
            log.refusals.append((_us(row["minute"]), *who, row["n"]))
    return log


def _call(row: dict[str, Any]) -> PlainCall:
    ms = row["tookMs"] if row["totalMs"] is None else row["totalMs"]
    evaluations = [one for one in row["evaluations"] if one["card"] != "*"]
    return PlainCall(
        *(row["call"], _us(row["receivedAt"]), row["tenant"], row["client"], row["hook"], row["status"], row["outcome"]),
        *(_key(row["patientKey"]), _key(row["userKey"]), _key(row["encounterKey"])),
        row["orderKeys"],
        is_repeat=row["repeatOf"] is not None,
        withdrawn=row["withdrawn"],
        us=round((ms or 0) * 1000),
        cards=[_card(card, position) for position, card in enumerate(row["cards"])],
        evaluations=[
            (one["card"], one["version"], one["outcome"], one.get("row", -1), int(one["applies"])) for one in evaluations
        ],
        releases=[(one["card"], one["version"], one["hash"]) for one in evaluations],
        program=(row["serviceVersion"], row["dialect"]),
        missing=[(one["card"], datum["name"], datum["cause"]) for one in evaluations for datum in one.get("missing", ())],
    )


def _card(row: dict[str, Any], position: int) -> PlainCard:
    names = {name: row[name] for name in ("version", "indicator", "mode", "state", "about")}
    return PlainCard(position, row["cardUuid"], card=row["cardId"], **names, about_order=bool(row["orderKey"]))


def _feedback(item: dict[str, Any], sender: dict[str, Any], uuid: str) -> PlainFeedback:
    return PlainFeedback(
        *(item["id"], _us(item["receivedAt"]), sender["tenant"], sender["client"], uuid, item["outcome"]),
        *((item["reason"] or {"code": ""})["code"], item["commentLength"], _said_at(item["outcomeTimestamp"])),
    )


def _said_at(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else (at - _EPOCH) // timedelta(microseconds=1)


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _key(text: str) -> str | None:
    return text.rpartition(":")[2] or None
