"""Recognise the drug of a medication by its code, its name or its ingredients.

Code and name are in the resource, in a contained Medication, or in a Medication of any Bundle of the call. The ingredients count
where neither code nor name is recognised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cds_service.criteria.facts import Route
from cds_service.fhir.resources import Ingredient, Ratio, Resource, first, listed, pairs, texts
from cds_service.read.reference_targets import Targets
from cds_service.terminology.drug_names import Recognition

if TYPE_CHECKING:
    from cds_service.terminology.terminology import Terminology

_MOST_INGREDIENTS = 50  # of one medication that are read

Codings = tuple[tuple[str, str], ...]  # (system, code)


class Product(msgspec.Struct, frozen=True, gc=False):
    """A medication as sent: codings and names of the whole, ingredients, and strength of a single ingredient."""

    codings: Codings
    names: tuple[str, ...]
    ingredients: list[Ingredient] = []
    strength: Ratio | None = None
    medication: Resource | None = None


class Recognised(msgspec.Struct, frozen=True, gc=False):
    """The recognised drug, with the codings and names that were looked up."""

    drug: Recognition
    codings: Codings
    names: tuple[str, ...]


def product_of(resource: Resource, targets: Targets) -> Product:
    """Return the medication of a medication statement, a prescription or a draft order."""
    concept, reference = resource.medicationCodeableConcept, resource.medicationReference
    codings, names = pairs(concept), texts(concept)
    if reference is None:
        return Product(codings, names)
    medication = targets.medication(resource.contained, reference)
    strength = None
    ingredients: list[Ingredient] = []
    if medication is not None:
        codings += pairs(code := first(medication.code))
        names += texts(code)
        ingredients = listed(medication.ingredient)
        if medication.product is not None:
            ingredients = [*ingredients, *(medication.product.ingredient or ())]
        if len(ingredients) == 1:
            strength = ingredients[0].strength or ingredients[0].amount
    if reference.display and reference.display not in names:
        names += (reference.display,)
    return Product(codings, names, ingredients, strength, medication)


def recognise(resource: Resource, product: Product, route: Route, targets: Targets, terminology: Terminology) -> Recognised:
    """Recognise the drug of a resource, by its ingredients where code and name are not recognised."""
    whole = terminology.drug(product.codings, product.names, route)
    if whole.by or not product.ingredients:
        return Recognised(whole, product.codings, product.names)
    found, codings, names = _ingredients(resource, product, route, targets, terminology)
    recognised = [drug for drug in found if drug.by]
    if recognised:
        drug = Recognition(
            classes=frozenset().union(*(one.classes for one in recognised)),
            ingredients=tuple(dict.fromkeys(name for one in recognised for name in one.ingredients)),
            by=recognised[0].by,
            code=recognised[0].code,
            route=whole.route or recognised[0].route,
            disagrees=next((one.disagrees for one in recognised if one.disagrees), ""),
        )
    else:
        every = bool(found) and len(product.ingredients) <= _MOST_INGREDIENTS
        known = whole.identified or (every and all(one.identified for one in found))
        drug = msgspec.structs.replace(whole, identified=known)
    return Recognised(drug, product.codings + codings, product.names + names)


def _ingredients(
    resource: Resource, product: Product, route: Route, targets: Targets, terminology: Terminology
) -> tuple[list[Recognition], Codings, tuple[str, ...]]:
    """Return (the active ingredients as recognised, their codings, their names).

    An ingredient is a concept or a reference, followed once, to a Medication or Substance. Each is read by itself, because an
    exception for one does not hold for another.
    """
    codings: Codings = ()
    names: tuple[str, ...] = ()
    found: list[Recognition] = []
    contained = [*listed(product.medication.contained if product.medication is not None else None), *listed(resource.contained)]
    for ingredient in product.ingredients[:_MOST_INGREDIENTS]:
        if ingredient.isActive is False:
            continue
        concept, reference = ingredient.itemCodeableConcept, ingredient.itemReference or ingredient.item
        own, called = pairs(concept), texts(concept)
        if reference is not None:
            target = targets.medication(contained, reference)
            code = first(target.code) if target is not None else None
            own += pairs(code)
            called += texts(code) + ((reference.display,) if reference.display else ())
        codings, names = codings + own, names + called
        found.append(terminology.drug(own, called, route))
    return found, codings, names
