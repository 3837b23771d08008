from __future__ import annotations

from typing import Any

from cds_service.criteria.facts import Source, SourceState
from cds_service.fhir.bundles import gathered_raw
from cds_service.fhir.gathered import Gathered
from cds_service.gather.limits import MAX_QUARANTINED, capped
from cds_service.read.draft_orders import MAX_ORDERS
from tests.core import answer, cards
from tests.reading import as_json, bundle, facts, observation, prescription, statement


def sources(**values: Any) -> dict[str, Gathered]:
    return {name: gathered_raw(as_json(value), name, "prefetch") for name, value in values.items()}


def test_what_fits_is_handed_on_as_it_is() -> None:
    given = sources(labs=bundle(observation(), observation()), statements=bundle(statement()))
    assert capped(given, 3) == given


def test_a_flood_in_one_source_costs_that_one_and_is_said() -> None:
    given = sources(
        labs=bundle(*[observation(id=f"k{number}") for number in range(12)]), statements=bundle(statement()), problems=None
    )
    kept = capped(given, 10)
    assert list(kept) == list(given)
    assert [one.id for one in kept["labs"].resources] == [f"k{number}" for number in range(9)], "the first ones"
    note = "only 9 of 12 entries were read, because there are too many"
    assert kept["labs"].source == Source(SourceState.PARTIAL, "prefetch", note, more=True)
    assert kept["statements"] == given["statements"]
    assert kept["problems"] == given["problems"]


def test_a_source_that_is_known_in_part_stays_so_and_says_both() -> None:
    given = sources(labs=bundle(*[observation()] * 3, link=[{"relation": "next", "url": "x"}]))
    note = capped(given, 2)["labs"].source.note
    assert note.startswith("there are more pages than were read; only 2 of 3 entries were read")


def test_a_source_for_which_nothing_is_left_is_not_empty() -> None:
    given = sources(labs=bundle(*[observation()] * 3), statements=bundle(*[statement()] * 2))
    assert capped(given, 2)["labs"].source.state is SourceState.PARTIAL


def test_of_what_could_not_be_read_the_first_are_listed_and_all_are_counted() -> None:
    bad = {**observation(), "status": {}}
    kept = capped(sources(labs=bundle(*[bad] * 500)), 2000)["labs"]
    assert len(kept.quarantined) == MAX_QUARANTINED
    assert kept.source.note == "500 of 500 entries could not be read"


def orders(count: int) -> Any:
    return bundle(*[prescription(id=f"o{number}") for number in range(count)])


def test_fifty_orders_are_read_and_of_more_the_rest_is_said_to_be_unread() -> None:
    assert facts(orders(MAX_ORDERS)).sources["orders"].state is SourceState.PRESENT
    many = facts(orders(500))
    assert [order.reference for order in many.orders] == [f"MedicationRequest/o{number}" for number in range(MAX_ORDERS)]
    assert many.sources["orders"].state is SourceState.PARTIAL
    assert many.sources["orders"].note == "only 50 of 500 draft orders were read, because there are too many"


def test_what_was_selected_is_among_those_that_are_read() -> None:
    many = facts(orders(500), ["MedicationRequest/o499"], "order-select")
    assert [order.reference for order in many.orders if order.selected] == ["MedicationRequest/o499"]
    assert many.sources["orders"].note == "only 50 of 500 draft orders were read, because there are too many"


def test_a_clinician_is_told_that_orders_were_not_checked() -> None:
    shown = cards(answer(*[f"order: amoxicillin 500 mg, id o{number}" for number in range(60)], hook="order-sign"))
    assert [card["source"]["topic"]["code"] for card in shown] == ["not-checked"]
    assert "only 50 of 60 draft orders were read" in shown[0]["detail"]
