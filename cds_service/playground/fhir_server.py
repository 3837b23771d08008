"""Serve the sample patients as a small read-only FHIR R4 server.

It lets the public CDS Hooks sandbox try the service.

It supports read, and search by GET or by POST to `_search`, with the parameters of `SEARCHES`. An unknown parameter is refused,
not ignored: otherwise all results would pass for those that the search selects. Types of which there is no sample give empty
searches, because clients ask for a whole chart at once and stop at an error. The dev profile alone serves it.

Why it is written here: the one maintained library (fhirstarter 4.2) leaves every search to its user and pins an older FastAPI.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from fastapi import APIRouter, Request, Response

from cds_service import __version__
from cds_service.authoring.samples import PATIENT_VIEW, load_samples
from cds_service.authoring.shorthand_resources import Resource
from cds_service.clock import Clock, utc_now
from cds_service.files.paths import fixtures_dir
from cds_service.hooks.body import BodyMemory, read_body
from cds_service.knowledge.card_file import Hook
from cds_service.playground.fhir_search import Kind, fits
from cds_service.playground.fhir_subset import is_resource_type, subset
from cds_service.wire.errors import BadRequest, UnknownService, UnsupportedMediaType

# resource type → search parameter → the element that it searches
_OF_PATIENT = {"_id": "id", "patient": "subject", "subject": "subject"}
_DRUG = _OF_PATIENT | {"code": "medicationCodeableConcept", "status": "status"}
SEARCHES: dict[str, dict[str, str]] = {
    "Patient": {
        "_id": "id",
        "identifier": "identifier",
        "name": "name",
        "family": "name",
        "given": "name",
        "gender": "gender",
        "birthdate": "birthDate",
    },
    "Observation": _OF_PATIENT | {"code": "code", "category": "category", "status": "status", "date": "effectiveDateTime"},
    "Condition": _OF_PATIENT | {"code": "code", "clinical-status": "clinicalStatus", "onset-date": "onsetDateTime"},
    "MedicationRequest": _DRUG | {"intent": "intent", "authoredon": "authoredOn"},
    "MedicationStatement": _DRUG,
    "AllergyIntolerance": {"_id": "id", "patient": "patient", "code": "code", "clinical-status": "clinicalStatus"},
}
_KINDS: dict[str, Kind] = {  # of parameters; all others are tokens
    "patient": "reference",
    "subject": "reference",
    "date": "date",
    "onset-date": "date",
    "authoredon": "date",
    "birthdate": "date",
    "name": "string",
    "family": "string",
    "given": "string",
}
# `_fields` is Medplum's: the columns of a list, which all results have.
_CONTROLS = {"_count", "_offset", "_sort", "_format", "_pretty", "_total", "_summary", "_elements", "_include", "_fields"}
_FORMATS = {"json", "text/json", "application/json", "application/fhir+json", "application/json+fhir"}
PAGE, LARGEST_PAGE = 50, 500  # resources a page without `_count`, and at most
MAX_PARAMETERS = 100
MAX_FORM_BYTES = 64 * 1024

Charts = dict[str, dict[str, Resource]]  # resource type → id → resource
Query = list[tuple[str, str]]


def fhir_routes(public_url: str = "", clock: Clock = utc_now) -> APIRouter:
    """Return all endpoints under /fhir.

    `public_url` replaces the URL of the request in links, unless it is "".
    """
    router = APIRouter(prefix="/fhir", tags=["Sample patients (FHIR R4, read-only)"])

    def base(request: Request) -> str:
        return f"{public_url or str(request.base_url).rstrip('/')}/fhir"

    # Clients that add "/metadata" to a base with a slash at its end send two.
    @router.get("/metadata", summary="What this FHIR server can do")
    @router.get("//metadata", include_in_schema=False)
    @router.get("", include_in_schema=False)
    async def metadata(request: Request) -> Response:
        return _json(capability_statement(base(request), clock().date()), _pairs(request.url.query))

    @router.get("/{kind}", summary="Search")
    @router.get("/{kind}/", include_in_schema=False)
    @router.get("//{kind}", include_in_schema=False)
    async def find(request: Request) -> Response:
        query = _pairs(request.url.query)
        return _json(search(charts(clock().date()), request.path_params["kind"], query, base(request)), query)

    @router.post("/{kind}/_search", summary="Search, with the parameters as a form")
    async def find_by_form(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            raise UnsupportedMediaType("The parameters of a search come as application/x-www-form-urlencoded")
        form = await read_body(request.scope, request.receive, MAX_FORM_BYTES, BodyMemory(0))
        query = _pairs(request.url.query) + _pairs(form.decode(errors="replace"))
        return _json(search(charts(clock().date()), request.path_params["kind"], query, base(request)), query)

    @router.get("/{kind}/{id}", summary="Read")
    @router.get("//{kind}/{id}", include_in_schema=False)
    async def read(request: Request) -> Response:
        found = _of_type(charts(clock().date()), request.path_params["kind"]).get(request.path_params["id"])
        if found is None:
            raise UnknownService(
                "There is no such resource among the sample patients; a search without parameters lists all of a type"
            )
        query = _pairs(request.url.query)
        return _json(subset(found, dict(query).get("_summary", ""), dict(query).get("_elements", "")), query)

    return router


@lru_cache(maxsize=1)
def charts(day: date) -> Charts:
    """Return the resources of all sample patients and their draft orders, as of the start of `day` (UTC).

    So no date in them is in the future.
    """
    found: Charts = {kind: {} for kind in SEARCHES}
    at = datetime.combine(day, time.min, UTC)
    for sample in load_samples(fixtures_dir()).values():
        # Those of a sample that is tried at the chart, too: clients sign only what they find here, and list the first samples.
        ordering: Hook = "order-sign" if sample.hook == PATIENT_VIEW else sample.hook
        drafts = sample.request(at, ordering)["context"].get("draftOrders", {}).get("entry", [])
        for resource in (*sample.resources(at), *(entry["resource"] for entry in drafts)):
            found[resource["resourceType"]][resource["id"]] = {name: _with_display(value) for name, value in resource.items()}
    return found


def _with_display(value: Any) -> Any:
    """Return `value`; where it is a CodeableConcept, its codings have a display, the text: lists in clients show that alone."""
    if not (isinstance(value, dict) and "text" in value and "coding" in value):
        return value
    return value | {"coding": [{**coding, "display": coding.get("display", value["text"])} for coding in value["coding"]]}


def search(found: Charts, kind: str, query: Query, base: str) -> Resource:
    """Return a page of the resources of type `kind` that match `query`, as a Bundle.

    Raises UnknownService for a type that FHIR does not have, BadRequest for a search that cannot be run.
    """
    controls = {name: value for name, value in query if name in _CONTROLS}
    results = _sorted(_matching(found, kind, query), kind, controls.get("_sort", ""))
    count, offset = min(_number(controls, "_count", PAGE), LARGEST_PAGE), _number(controls, "_offset", 0)
    if (summary := controls.get("_summary", "")) == "count":
        count = 0
    links = [{"relation": "self", "url": f"{base}/{kind}?{urlencode(query)}"}]
    if count > 0 and offset + count < len(results):
        further = [*(pair for pair in query if pair[0] != "_offset"), ("_offset", str(offset + count))]
        links.append({"relation": "next", "url": f"{base}/{kind}?{urlencode(further)}"})
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(results), "link": links}
    page = results[offset : offset + count]
    entries = [(one, "match") for one in page] + [(one, "include") for one in _included(found, page, query)]
    if entries:
        bundle["entry"] = [
            {
                "fullUrl": f"{base}/{one['resourceType']}/{one['id']}",
                "resource": subset(one, summary, controls.get("_elements", "")),
                "search": {"mode": mode},
            }
            for one, mode in entries
        ]
    return bundle


def _matching(found: Charts, kind: str, query: Query) -> list[Resource]:
    """Return the resources of a type that match all parameters. Of a type without samples, any parameter matches none."""
    results = list(_of_type(found, kind).values())
    elements = SEARCHES.get(kind, {})
    for name, value in query if elements else ():
        plain, _, modifier = name.partition(":")
        if plain in elements and (not modifier or _KINDS.get(plain) == "string"):
            kind_of = _KINDS.get(plain, "token")
            results = [one for one in results if fits(one.get(elements[plain]), kind_of, value.split(","), name)]
        elif plain not in _CONTROLS:
            supported = ", ".join(sorted({*elements, *_CONTROLS}))
            raise BadRequest(
                f"A search parameter is not supported for {kind}; supported are {supported}, without modifiers but for "
                "`:exact` and `:contains` of names"
            )
    return results


def _sorted(results: list[Resource], kind: str, order: str) -> list[Resource]:
    """Return the results in the order that `_sort` asks for; those without a value come last."""
    for key in reversed(order.split(",") if order and kind in SEARCHES else []):
        name = key.removeprefix("-")
        if name == "_lastUpdated":  # the samples are all of today
            continue
        if name not in SEARCHES[kind]:
            raise BadRequest("`_sort` takes the search parameters of the type, with - before one to sort in descending order")
        element = SEARCHES[kind][name]
        valued = [one for one in results if element in one]
        valued.sort(key=lambda one, at=element: str(one[at]), reverse=key != name)  # type: ignore[misc]
        results = valued + [one for one in results if element not in one]
    return results


def _included(found: Charts, page: list[Resource], query: Query) -> list[Resource]:
    """Return what `_include` adds to a page: patients, the only resources that the samples refer to."""
    asked = {value.split(":")[1] for name, value in query if name.partition(":")[0] == "_include" and value.count(":")}
    if not asked & {"patient", "subject", "*"}:
        return []
    references = dict.fromkeys((one.get("subject") or one.get("patient") or {}).get("reference", "") for one in page)
    ids = [reference.removeprefix("Patient/") for reference in references]
    return [found["Patient"][identity] for identity in ids if identity in found["Patient"]]


def capability_statement(base: str, day: date) -> Resource:
    """Return the CapabilityStatement, made from `SEARCHES`; `day` is its date."""
    interaction = [{"code": "read"}, {"code": "search-type"}]
    resources = [
        {
            "type": kind,
            "interaction": interaction,
            "searchParam": [{"name": name, "type": _KINDS.get(name, "token")} for name in elements],
            **({} if kind == "Patient" else {"searchInclude": [f"{kind}:patient"]}),
        }
        for kind, elements in SEARCHES.items()
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": day.isoformat(),
        "kind": "instance",
        "software": {"name": "Sample patients of the cramp decision support", "version": __version__},
        "implementation": {"description": "Invented patients, dated relative to today; read-only", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "rest": [{"mode": "server", "resource": resources}],
    }


def _of_type(found: Charts, kind: str) -> dict[str, Resource]:
    if kind not in found and not is_resource_type(kind):
        raise UnknownService(f"FHIR R4 has no resource of this type; there are samples of {', '.join(found)}")
    return found.get(kind, {})


def _number(controls: dict[str, str], name: str, default: int) -> int:
    text = controls.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"`{name}` must be a whole number, 0 or more")
    return int(text)


def _pairs(text: str) -> Query:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise BadRequest(f"A search takes at most {MAX_PARAMETERS} parameters") from None


def _json(resource: Resource, query: Query) -> Response:
    """Return `resource` as JSON. Raises BadRequest where `_format` requests anything else."""
    wanted = dict(query).get("_format", "json").replace(" ", "+")  # an unescaped + in "application/fhir+json" arrives as a space
    if wanted.partition(";")[0] not in _FORMATS:
        raise BadRequest("`_format` must be json, the only format of this server")
    return Response(msgspec.json.encode(resource), media_type="application/fhir+json")
