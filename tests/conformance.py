"""Validators of what a CDS service sends: the rules of CDS Hooks 2.0 that a machine can check, each as one sentence when broken.

Sources: CDS Hooks 2.0.1 (Discovery, Prefetch template, CDS Service Response, Feedback), the invariants cds-resp-1 to 7 and
cds-fb-1 to 3 of the 3.0 ballot's logical models, and the checks of Inferno's `crd_server` suite that hold for any service
(crd_discovery_services_validation, crd_service_response_validation, crd_card_optional_fields_validation,
crd_propose_alternate_request_card_validation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cds_service.fhir.validation import problems_r4b

Json = dict[str, Any]
INDICATORS = ("info", "warning", "critical")
ACTIONS = ("create", "update", "delete")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_HTML = re.compile(r"</?[A-Za-z!]")
_BACKSLASHED = re.compile(r"\\.")


def problems(response: Any, request: Json | None = None) -> list[str]:
    """What is wrong with the body of a 200 answer of a service; with its `request`, also where it contradicts that."""
    return list(_response(response, request))


def discovery_problems(document: Any) -> list[str]:
    """What is wrong with the answer of GET /cds-services."""
    return list(_discovery(document))


def prefetch_problems(template: str, tokens: Iterable[str]) -> list[str]:
    """What is wrong with one prefetch template at a hook whose context has these `tokens`."""
    return list(_prefetch(template, tokens))


def feedback_problems(body: Any) -> list[str]:
    """What is wrong with a feedback body; for our own examples and fixtures."""
    return list(_feedback(body))


# The response


def _response(response: Any, request: Json | None) -> Iterator[str]:
    if not isinstance(response, dict) or not isinstance(response.get("cards"), list):
        yield "the response is no object with an array `cards`"
        return
    yield from _empty(response, allowed=("cards",))
    yield from (f"unknown member {name}" for name in response.keys() - {"cards", "systemActions", "extension"})
    uuids: list[str] = []
    for number, card in enumerate(response["cards"]):
        at = f"cards[{number}]"
        if not isinstance(card, dict):
            yield f"{at} is no object"
            continue
        yield from (f"{at}: {text}" for text in _card(card))
        uuids += [item["uuid"] for item in (card, *_objects(card.get("suggestions"))) if "uuid" in item]
        if request is not None:
            yield from (f"{at}: {text}" for text in _against(card, request))
    if len(set(uuids)) != len(uuids):
        yield "two cards or suggestions have the same uuid"
    for number, action in enumerate(_objects(response.get("systemActions"))):
        yield from (f"systemActions[{number}]: {text}" for text in _action(action, described=False))


def _card(card: Json) -> Iterator[str]:
    known = {"uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons", "links"}
    yield from (f"unknown member {name}" for name in card.keys() - known - {"extension"})
    yield from _texts(card, required=("summary", "indicator"), optional=("uuid", "detail", "selectionBehavior"))
    if isinstance(card.get("summary"), str) and (len(card["summary"]) >= 140 or "\n" in card["summary"]):
        yield "summary is no one sentence of fewer than 140 characters"
    if card.get("indicator") not in INDICATORS:
        yield "indicator is none of info, warning, critical"
    if _HTML.search(_BACKSLASHED.sub("", str(card.get("detail", "")))):
        yield "detail holds HTML, which is not Markdown for every client"
    if isinstance(card.get("source"), dict):
        yield from (f"source: {text}" for text in _source(card["source"]))
    else:
        yield "source is no object"
    yield from _arrays(card, ("suggestions", "overrideReasons", "links"))
    for number, reason in enumerate(_objects(card.get("overrideReasons"))):
        yield from (f"overrideReasons[{number}]: {text}" for text in _coding(reason, display=True))
    for number, link in enumerate(_objects(card.get("links"))):
        yield from (f"links[{number}]: {text}" for text in _link(link))
    yield from _suggestions(card)


def _source(source: Json) -> Iterator[str]:
    yield from _texts(source, required=("label",), optional=("url", "icon"))
    yield from (f"{name} is no absolute URL" for name in ("url", "icon") if name in source and not _absolute(source[name]))
    if "topic" in source:
        topic = source["topic"]
        yield from (f"topic: {text}" for text in (_coding(topic) if isinstance(topic, dict) else ["is no object"]))


def _suggestions(card: Json) -> Iterator[str]:
    suggestions = list(_objects(card.get("suggestions")))
    if suggestions and card.get("selectionBehavior") not in ("any", "at-most-one"):
        yield "there are suggestions, and selectionBehavior is neither any nor at-most-one"
    if not suggestions and "selectionBehavior" in card:
        yield "selectionBehavior without suggestions"
    recommended = sum(item.get("isRecommended") is True for item in suggestions)
    if card.get("selectionBehavior") == "at-most-one" and recommended > 1:
        yield "two suggestions are recommended, of which at most one can be chosen"
    for number, item in enumerate(suggestions):
        at = f"suggestions[{number}]"
        yield from (f"{at}: {text}" for text in _texts(item, required=("label",), optional=("uuid",)))
        if not isinstance(item.get("isRecommended", True), bool):
            yield f"{at}: isRecommended is no boolean"
        if "actionSelectionBehavior" in item:
            yield f"{at}: actionSelectionBehavior, which is only for clients that are known to support it"
        yield from (f"{at}: {text}" for text in _arrays(item, ("actions",)))
        for place, action in enumerate(_objects(item.get("actions"))):
            yield from (f"{at}.actions[{place}]: {text}" for text in _action(action, described=True))


def _action(action: Json, *, described: bool) -> Iterator[str]:
    yield from _texts(
        action, required=("type", "description") if described else ("type",), optional=("description", "resourceId")
    )
    kind = action.get("type")
    if kind not in ACTIONS:
        yield "type is none of create, update, delete"
    elif kind == "delete":
        if "resource" in action or not _REFERENCE.fullmatch(str(action.get("resourceId"))):
            yield "a delete has a relative reference as resourceId, and no resource"
    elif not isinstance(action.get("resource"), dict):
        yield f"a {kind} has a resource"
    else:
        yield from (f"resource: {text}" for text in problems_r4b(action["resource"]))
        if "resourceId" in action:
            yield f"a {kind} has no resourceId"
        if kind == "create" and "id" in action["resource"]:
            yield "a new resource has no id yet"
        if kind == "update" and "id" not in action["resource"]:
            yield "a changed resource has an id"


def _link(link: Json) -> Iterator[str]:
    yield from _texts(link, required=("label", "url", "type"), optional=("appContext",))
    if link.get("type") not in ("absolute", "smart"):
        yield "type is neither absolute nor smart"
    if not _absolute(link.get("url")):
        yield "url is no http(s) URL"
    if "appContext" in link and link.get("type") != "smart":
        yield "appContext is for smart links only"


def _coding(coding: Json, *, display: bool = False) -> Iterator[str]:
    required = ("code", "system", "display") if display else ("code", "system")
    yield from _texts(coding, required=required, optional=() if display else ("display",))


def _against(card: Json, request: Json) -> Iterator[str]:
    """Updates and deletes are about orders that were sent as drafts."""
    entries = request["context"].get("draftOrders", {}).get("entry", [])
    drafts = {f"{entry['resource']['resourceType']}/{entry['resource'].get('id')}" for entry in entries}
    for item in _objects(card.get("suggestions")):
        for action in _objects(item.get("actions")):
            resource = action.get("resource", {})
            named = action.get("resourceId") or f"{resource.get('resourceType')}/{resource.get('id')}"
            if action.get("type") in ("update", "delete") and named not in drafts:
                yield f"{action['type']} of {named}, which is none of the draft orders"


# Discovery and prefetch


def _discovery(document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("services"), list):
        yield "the document is no object with an array `services`"
        return
    yield from _empty(document, allowed=("services",))
    for number, service in enumerate(document["services"]):
        at = f"services[{number}]"
        if not isinstance(service, dict):
            yield f"{at} is no object"
            continue
        yield from (
            f"{at}: {text}"
            for text in _texts(service, required=("hook", "description", "id"), optional=("title", "usageRequirements"))
        )
        if "/" in str(service.get("id")):
            yield f"{at}: id is no segment of a URL"
        if "title" not in service:
            yield f"{at}: title is recommended"
        prefetch = service.get("prefetch", {})
        if not isinstance(prefetch, dict) or not all(isinstance(value, str) for value in prefetch.values()):
            yield f"{at}: prefetch is no object of strings"


# A token in a template; the operands of the restricted subset (CDS Hooks 2.0, "Prefetch query restrictions").
_TOKEN = re.compile(r"\{\{(.*?)\}\}")
USER_TOKENS = ("userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId")
_DATE = re.compile(r"(?:eq|lt|gt|ge|le)?\d{4}(?:-\d{2}(?:-\d{2}.*)?)?")
_OUTSIDE = {"_include", "_revinclude", "_id", "_has", "_filter", "_text", "_content", "_list", "_summary", "_elements"}


def _prefetch(template: str, tokens: Iterable[str]) -> Iterator[str]:
    allowed = {*(f"context.{name}" for name in tokens), *USER_TOKENS}
    yield from (f"token {token} is none of this hook" for token in _TOKEN.findall(template) if token not in allowed)
    if "{" in (rest := _TOKEN.sub("1", template)) or "}" in rest:
        yield "a brace that delimits no token"
    path, question, query = rest.partition("?")
    if "://" in path or path.startswith("/"):
        yield "no relative URL"
    if not question:
        if template != "{{context.userId}}" and not re.fullmatch(r"[A-Z][A-Za-z]+/\w+", path):
            yield "neither a read nor a search of a type"
        return
    if not re.fullmatch(r"[A-Z][A-Za-z]+", path):
        yield "no search of a type"
    names = [part.partition("=")[0] for part in query.split("&")]
    if len(set(names)) != len(names):
        yield "a parameter stands twice"
    for part in query.split("&"):
        name, _, value = part.partition("=")
        base, colon, modifier = name.partition(":")
        if base in _OUTSIDE or "." in base or (colon and modifier != "in") or not value:
            yield f"parameter {name} is outside the restricted subset"
        if base in ("date", "onset-date", "authoredon") and not _DATE.fullmatch(value):
            yield f"the date of {name} is outside the restricted subset"


# Feedback


def _feedback(body: Any) -> Iterator[str]:
    items = body.get("feedback") if isinstance(body, dict) else None
    if not isinstance(items, list):
        yield "the body is no object with an array `feedback`"
        return
    for number, item in enumerate(items):
        at = f"feedback[{number}]"
        yield from (f"{at}: {text}" for text in _texts(item, required=("card", "outcome", "outcomeTimestamp"), optional=()))
        if item.get("outcome") not in ("accepted", "overridden"):
            yield f"{at}: outcome is neither accepted nor overridden"
        accepted = item.get("acceptedSuggestions")
        if item.get("outcome") == "accepted" and not (isinstance(accepted, list) and accepted):
            yield f"{at}: accepted, and acceptedSuggestions is missing"
        for one in _objects(accepted):
            yield from (f"{at}.acceptedSuggestions: {text}" for text in _texts(one, required=("id",), optional=()))
        if "overrideReason" in item and not {"reason", "userComment"} & item["overrideReason"].keys():
            yield f"{at}: overrideReason has neither reason nor userComment"
        yield from (f"{at}: {text}" for text in _timestamp(item.get("outcomeTimestamp")))


def _timestamp(value: Any) -> Iterator[str]:
    try:
        offset = datetime.fromisoformat(value).utcoffset()
    except (TypeError, ValueError):
        offset = None
    if offset is None or offset.total_seconds() != 0:
        yield "outcomeTimestamp is no time in UTC"


# JSON


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _arrays(data: Json, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in data and not (isinstance(data[name], list) and all(isinstance(item, dict) for item in data[name])):
            yield f"{name} is no array of objects"


def _texts(data: Json, required: Iterable[str], optional: Iterable[str]) -> Iterator[str]:
    yield from (f"{name} is required and a string" for name in required if not _text(data.get(name)))
    yield from (f"{name} is no string" for name in optional if name in data and not _text(data[name]))


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _absolute(url: Any) -> bool:
    parts = urlsplit(url) if isinstance(url, str) else None
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.netloc)


def _empty(value: Any, allowed: Iterable[str], path: str = "") -> Iterator[str]:
    """Members that are null or empty; not inside FHIR resources, where a primitive's array may hold null."""
    checks: Mapping[type, Callable[[Any], Iterable[tuple[str, Any]]]] = {
        dict: lambda one: one.items(),
        list: lambda one: ((str(number), item) for number, item in enumerate(one)),
    }
    for name, item in checks.get(type(value), lambda _: ())(value):
        below = f"{path}.{name}" if path else name
        if item in (None, "", [], {}) and item is not False and below not in allowed:
            yield f"{below} is empty"
        elif name != "resource":
            yield from _empty(item, allowed, below)
