"""Read allergies and intolerances to drugs.

An allergy without a name whose code is in no table is `unclear` (only codes for "no known allergy" are understood), so that a
criterion about an allergy is unknown; the code is noted for the site to map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cds_service.criteria.facts import Allergy
from cds_service.fhir.resources import Resource, first, listed, pairs, texts
from cds_service.read.condition_status import is_allergy_over

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

NO_ALLERGY = "no_allergy"  # the text pattern of names that deny an allergy
UNNAMED_ALLERGY = "an allergy has a code that is not understood and no name"


def read_allergies(allergies: Iterable[Resource], terminology: Terminology, source: str) -> Iterator[Allergy]:
    """Read present allergies and intolerances to drugs of a class, and those that may be (`unclear`)."""
    for allergy in allergies:
        if allergy.resourceType != "AllergyIntolerance" or is_allergy_over(allergy):
            continue
        reactions = listed(allergy.reaction)
        concepts = [first(allergy.code), allergy.substance, *(reaction.substance for reaction in reactions)]
        codings = tuple(pair for concept in concepts for pair in pairs(concept))
        names = tuple(text for concept in concepts for text in texts(concept))
        classes = terminology.classes_for_allergy(
            codings, tuple(name for name in names if not terminology.matches(NO_ALLERGY, name))
        )
        unclear = ""
        if classes and allergy.modifierExtension:
            unclear = "an allergy carries a modifier that is not understood"
        elif not classes:
            if "no_known_allergy" in terminology.problem_sets(codings) or any(not name.isspace() for name in names):
                continue
            unclear = UNNAMED_ALLERGY
        felt = [text for reaction in reactions for one in listed(reaction.manifestation) for text in texts(one)[:1]]
        yield Allergy(
            classes=classes,
            text=next((name for name in names if not name.isspace()), "")
            or ", ".join(terminology.class_display(one) for one in sorted(classes)[:1]),
            reaction=", ".join(felt),
            code="|".join(codings[0]) if unclear and codings else "",
            reference=f"AllergyIntolerance/{allergy.id}" if allergy.id else "",
            source=source,
            unclear=unclear,
        )
