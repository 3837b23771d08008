"""Find the request in what was pasted: a request, a curl command, a HAR file, a Bundle, a prefetch object.

Read leniently, and said: what it was, what was taken and what was not. Values of headers are never repeated.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cds_service.criteria.facts import SOURCES
from cds_service.fhir.resources import NOT_JSON
from cds_service.playground.chart_import import from_bundle, from_prefetch
from cds_service.playground.curl_command import is_curl, read_curl
from cds_service.wire.errors import BadRequest


class Imported(NamedTuple):
    """A request, and notes on how it came about; without any where it was pasted as it is."""

    body: bytes
    notes: tuple[str, ...] = ()


def imported(pasted: bytes) -> Imported:
    """Return the request in `pasted`, unchanged where it is one already or nothing that is known here.

    Raises BadRequest where it is a command, file or chart without a request in it.
    """
    text = pasted.decode("utf-8-sig", "replace")
    if is_curl(text):
        return _from_curl(text)
    value = _json(pasted)
    if not isinstance(value, dict) or "hook" in value or "context" in value:
        return Imported(pasted)
    log = value.get("log")
    if isinstance(log, dict) and isinstance(log.get("entries"), list):
        return _from_har(log["entries"])
    if isinstance(value.get("prefetch"), dict):
        return _made(*from_prefetch(value["prefetch"]))
    if value.get("resourceType") == "Bundle":
        return _made(*from_bundle(value))
    if isinstance(value.get("resourceType"), str):
        return _made(*from_bundle({"entry": [{"resource": value}]}))
    if SOURCES.keys() & value.keys():
        return _made(*from_prefetch(value))
    return Imported(pasted)


def _from_curl(text: str) -> Imported:
    command = read_curl(text)
    inner = imported(command.body.encode())
    path = urlsplit(command.url).path
    ignored = f" Ignored: the address, and the headers {', '.join(command.headers)}." if command.headers else ""
    return Imported(inner.body, (f"Imported from a curl command to {path or 'no path'}.{ignored}", *inner.notes))


def _from_har(entries: list[Any]) -> Imported:
    """Return the last call of a hook among the requests of a browser."""
    calls = [body for entry in entries if (body := _posted(entry)) is not None]
    hooks = [body for body in calls if isinstance(value := _json(body), dict) and isinstance(value.get("hook"), str)]
    if not hooks:
        raise BadRequest(f"No call of a hook is among the {len(entries)} requests of the HAR file")
    which = "the only one" if len(hooks) == 1 else f"the last of {len(hooks)}"
    rest = f" Ignored: {len(entries) - 1} other requests, all headers and responses."
    return Imported(hooks[-1], (f"Imported from a HAR file: its call of a hook, {which}.{rest}",))


def _posted(entry: Any) -> bytes | None:
    request = entry.get("request") if isinstance(entry, dict) else None
    data = request.get("postData") if isinstance(request, dict) else None
    text = data.get("text") if isinstance(data, dict) else None
    return text.encode() if isinstance(text, str) else None


def _made(request: dict[str, Any], notes: list[str]) -> Imported:
    return Imported(msgspec.json.encode(request), tuple(notes))


def _json(text: bytes) -> Any:
    """Return the value of JSON text; None where it is none: the service then says what is wrong with it."""
    try:
        return msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except NOT_JSON:
        return None
