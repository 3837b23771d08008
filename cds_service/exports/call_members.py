"""Write the members of a row that say of which call it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cds_service.alert_log.instants import iso, key_text
from cds_service.exports.call_details import Body


def call_members(call: Mapping[str, Any], names: Callable[[int], str], body: Body | None) -> dict[str, Any]:
    """Return them. `call`: columns of `log.call`, its `key` as `call_key`; `names`: text of an id."""
    key = call["call_key"]
    return {
        "receivedAt": iso(call["received_at"]),
        "call": bytes(call["id"]).hex(),
        "service": names(call["service"]),
        "hook": names(call["hook"]),
        "hookInstance": body.hook_instance if body is not None else "",
        "client": names(call["client"]),
        "tenant": names(call["tenant"]),
        "patientKey": _key(key, call["patient"]),
        "userKey": _key(key, call["user_key"]),
        "encounterKey": _key(key, call["encounter"]),
        "serviceVersion": names(call["service_version"]),
        "knowledgeHash": names(call["knowledge"]),
        "jurisdiction": names(call["jurisdiction"]),
        "dialect": names(call["dialect"]),
        "degraded": names(call["degraded"]),
    }


def _key(key: int, stored: bytes | None) -> str:
    return "" if stored is None else key_text(key, bytes(stored))
