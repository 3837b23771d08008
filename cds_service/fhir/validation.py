"""Validate emitted resources with the models of fhir.resources (R4B; see decisions/0002)."""

from __future__ import annotations

from typing import Any


def problems_r4b(resource: dict[str, Any]) -> list[str]:
    """Return the errors of `resource` as FHIR R4B: places and kinds, without values; none where valid."""
    # Imported here: the models cost 0.3 s and 15 MB, and most requests change no order.
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        model = get_fhir_model_class(str(resource.get("resourceType")))
        model.model_validate(resource)
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in item['loc'])}: {item['type']}" for item in error.errors(include_input=False)]
    except (KeyError, ValueError, TypeError):  # an unknown or malformed type, or not a text; inside `contained` too
        return ["resourceType: not a resource of FHIR R4B"]
    except RecursionError:
        return ["nested too deeply"]
    return []


def is_valid_r4b(resource: dict[str, Any]) -> bool:
    """Tell whether `resource` is valid FHIR R4B."""
    return not problems_r4b(resource)
