"""Return the parts of a resource that `_summary` and `_elements` select (FHIR R4, 3.1.1.5.8 and 3.1.1.5.9)."""

from __future__ import annotations

from functools import cache
from typing import Any

from cds_service.authoring.shorthand_resources import Resource
from cds_service.wire.errors import BadRequest

SUMMARIES = ("true", "text", "data", "count", "false")
# Of a type that is in a choice (`medication[x]`) or required by its meaning, where the models name none as required.
_ALWAYS = {"resourceType", "id", "meta", "subject", "patient", "medicationCodeableConcept", "code"}
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


def subset(resource: Resource, summary: str, elements: str) -> Resource:
    """Return `resource` with the elements that the two parameters ask for, and those without which it is not valid.

    `summary`: one of SUMMARIES or "" (`count` is a matter of the Bundle); `elements`: names with commas between them, "" for
    all. A resource that lost an element is tagged SUBSETTED, so that a client doesn't store it as whole. Raises BadRequest for
    another summary.
    """
    if summary not in ("", *SUMMARIES):
        raise BadRequest(f"`_summary` must be one of {', '.join(SUMMARIES)}")
    required, in_summary = _elements(resource["resourceType"])
    wanted = set(resource)
    if elements:
        wanted &= required | {name.strip() for name in elements.split(",")}
    if summary == "true":
        wanted &= required | in_summary
    elif summary == "text":
        wanted &= required | {"text"}
    elif summary == "data":
        wanted -= {"text"}
    kept = {name: value for name, value in resource.items() if name in wanted}
    if len(kept) < len(resource):
        meta: dict[str, Any] = kept.get("meta", {})
        kept["meta"] = meta | {"tag": [*meta.get("tag", ()), _SUBSETTED]}
    return kept


def is_resource_type(name: str) -> bool:
    """Tell whether FHIR R4B has a resource of this name."""
    from fhir.resources.R4B import get_fhir_model_class  # the models cost 0.3 s, which most servers never need
    from fhir.resources.R4B.resource import Resource as Model

    try:
        return issubclass(get_fhir_model_class(name), Model)
    except (KeyError, ValueError):
        return False


@cache
def _elements(kind: str) -> tuple[set[str], set[str]]:
    """Return the names of the required elements of a type, and of those in its summary."""
    from fhir.resources.R4B import get_fhir_model_class

    model = get_fhir_model_class(kind)
    properties = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    required = {name for name, extra in properties.items() if isinstance(extra, dict) and extra.get("element_required")}
    return required | _ALWAYS, {*model.summary_elements_sequence()}
