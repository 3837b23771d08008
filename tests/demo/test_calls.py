"""The generated calls: whose they are, when they come, what is wrong with their data."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from cds_service.demo.calls import Call, generate
from cds_service.demo.clients import CLIENTS
from cds_service.demo.schedule import Period
from tests.core import knowledge

END = datetime(2026, 3, 6, 16, tzinfo=UTC)  # a Friday
PERIOD = Period.of_days(28, END)
Json = dict[str, Any]


@cache
def calls(seed: int = 1) -> tuple[Call, ...]:
    return tuple(generate(PERIOD, 60, seed, knowledge()))


def bodies() -> list[tuple[Call, Json]]:
    """The calls whose body is JSON."""
    found = []
    for call in calls():
        try:
            found.append((call, json.loads(call.body)))
        except ValueError:
            continue
    return found


def test_the_same_seed_makes_the_same_calls() -> None:
    assert list(generate(PERIOD, 60, 1, knowledge())) == list(calls())
    assert [one.body for one in calls(seed=2)] != [one.body for one in calls()]


def test_a_client_makes_the_same_calls_alone_and_among_others() -> None:
    alone = generate(PERIOD, 60, 1, knowledge(), CLIENTS[1:2])
    assert list(alone) == [one for one in calls() if one.client is CLIENTS[1]]


def test_calls_come_in_order_within_the_period_and_about_as_many_as_asked_for() -> None:
    moments = [one.at for one in calls()]
    assert moments == sorted(moments)
    assert PERIOD.start <= moments[0]
    assert moments[-1] <= END
    live = sum(one.share * (1 - one.live_from) for one in CLIENTS)
    assert abs(len(moments) / (28 * 60 * live) - 1) < 0.15


def test_weekends_and_nights_are_quiet() -> None:
    by_weekday = Counter(one.at.weekday() for one in calls())
    assert max(by_weekday[5], by_weekday[6]) < min(by_weekday[day] for day in range(5)) / 2
    nights = sum(one.at.hour < 6 for one in calls())
    assert 0 < nights < len(calls()) / 20


def test_one_client_goes_live_late_and_one_does_not_call_for_hours() -> None:
    (late,) = (one for one in CLIENTS if one.live_from)
    assert min(one.at for one in calls() if one.client is late) >= PERIOD.after(late.live_from)
    (silent,) = (one for one in CLIENTS if one.silent_at is not None)
    day = PERIOD.after(silent.silent_at or 0).date()
    hours = {one.at.hour for one in calls() if one.client is silent and one.at.date() == day}
    others = {one.at.hour for one in calls() if one.client is silent and one.at.date() == day + timedelta(days=7)}
    assert not hours & set(range(9, 16))
    assert others & set(range(9, 16))


def test_every_client_calls_its_own_hooks_only() -> None:
    for client in CLIENTS:
        assert {one.hook for one in calls() if one.client is client} == set(client.hooks)


def test_patients_come_back_and_an_order_is_signed_by_the_one_who_selected_it() -> None:
    visits: dict[str, set[str]] = {}
    for _, body in bodies():
        visits.setdefault(body["context"]["patientId"], set()).add(body["context"]["encounterId"])
    assert sum(len(encounters) > 1 for encounters in visits.values()) > 50
    selected = {one.order: one for one in calls() if one.hook == "order-select"}
    signed = [one for one in calls() if one.hook == "order-sign"]
    assert signed
    for one in signed:
        before = selected[one.order]
        assert (before.user, before.client) == (one.user, one.client)
        assert timedelta(minutes=1) <= one.at - before.at <= timedelta(minutes=11)


def test_orders_have_ids_of_their_own_or_none_and_selections_name_them() -> None:
    drafts: Counter[str] = Counter()
    for call, body in bodies():
        if call.hook == "patient-view":
            continue
        found = [entry["resource"] for entry in body["context"]["draftOrders"].get("entry", ())]
        assert found
        drafts.update(["with id" if "id" in one else "without" for one in found])
        if call.hook == "order-select":
            assert body["context"]["selections"] == [f"{one['resourceType']}/{one['id']}" for one in found]
    assert drafts["with id"] > drafts["without"] > 0


def test_each_kind_of_bad_data_comes() -> None:
    results = [
        entry["resource"]
        for _, body in bodies()
        for entry in (body.get("prefetch", {}).get("labs") or {}).get("entry", ())
        if entry["resource"]["resourceType"] == "Observation"
    ]
    systems = {coding["system"] for one in results for coding in one["code"].get("coding", ())}
    assert {f"https://{one.name}.example/laboratory" for one in CLIENTS if one.quality.local_code > 0.02} <= systems
    assert any("effectiveDateTime" not in one for one in results)
    assert any(one.get("valueString") == "haemolysed" for one in results)
    assert any(one.get("valueQuantity", {}).get("unit") == "mval/l" for one in results)
    sources = [value for _, body in bodies() for value in body.get("prefetch", {}).values() if value]
    assert any(one["resourceType"] == "OperationOutcome" for one in sources)
    assert any(
        set(body.get("prefetch", ())) < {"patient", "labs", "problems", "allergies", "statements", "prescriptions"}
        for _, body in bodies()
    )
    unsent = [(one, body) for one, body in bodies() if one.unsent]
    assert unsent
    for one, body in unsent:
        assert "prefetch" not in body
        assert body["fhirServer"] == one.client.fhir_base
        assert {msgspec.json.decode(chart)["resourceType"] for chart in one.unsent.values()} <= {
            "Bundle",
            "Patient",
            "OperationOutcome",
        }


def test_some_calls_are_not_authorised_and_some_come_twice() -> None:
    assert 0 < sum(not one.authorised for one in calls()) < len(calls()) / 100
    for one in calls():
        if one.again:
            assert any(other.body == one.body and other is not one for other in calls())
    assert any(one.again for one in calls())
