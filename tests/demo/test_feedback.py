"""What made-up clinicians do with cards."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from cds_service.demo.calls import Call
from cds_service.demo.clients import CLIENTS, Client
from cds_service.demo.feedback import Answer, Clinicians
from cds_service.hooks.feedback import decode_feedback

AT = datetime(2026, 3, 3, 10, tzinfo=UTC)
SERVICE = "cramp-care-order-select"
CARD = {
    "uuid": "11111111-1111-5111-8111-111111111111",
    "indicator": "warning",
    "suggestions": [{"uuid": "s1", "actions": [{"type": "delete"}]}, {"uuid": "s2", "actions": [{"type": "create"}]}],
    "overrideReasons": [{"code": code, "system": "urn:x", "display": code} for code in ("malaria-or-babesiosis", "on-advice")],
}


def a_call(client: Client, user: int = 1, **changes: Any) -> Call:
    values: dict[str, Any] = {"at": AT, "client": client, "hook": "order-select", "body": b"{}", "order": "order-1"}
    return Call(**values | {"user": f"Practitioner/{client.name}-{user:03}"} | changes)


def answered(client: Client, times: int = 400, **changes: Any) -> list[Answer]:
    clinicians = Clinicians(1)
    return [
        one for number in range(times) for one in clinicians.answers(a_call(client, 1 + number % 16, **changes), SERVICE, [CARD])
    ]


def test_coverage_differs_by_client() -> None:
    shares = {client.name: len(answered(client)) / 400 for client in CLIENTS}
    assert shares["city-hospital"] > shares["harbour-clinic"] > 0.5 > shares["valley-practices"] > 0.1


def test_every_spelling_is_understood_and_has_all_outcomes() -> None:
    for client in CLIENTS:
        kinds: Counter[tuple[str, bool]] = Counter()
        for one in answered(client):
            batch = decode_feedback(_encoded(one), SERVICE, AT, client.caller())
            kinds.update((record.outcome, bool(record.reason_code)) for record in batch.records)
        assert set(kinds) == {("accepted", False), ("overridden", True), ("overridden", False)}


def test_who_knows_that_the_card_is_wrong_about_the_order_says_so_and_never_accepts() -> None:
    reasons: Counter[str] = Counter()
    for one in answered(CLIENTS[1], reason="malaria-or-babesiosis"):
        for record in decode_feedback(_encoded(one), SERVICE, AT, CLIENTS[1].caller()).records:
            assert record.outcome == "overridden"
            reasons[record.reason_code] += 1
    assert set(reasons) <= {"malaria-or-babesiosis", ""}
    assert reasons["malaria-or-babesiosis"] > 20 * reasons[""]


def test_an_accepted_removal_takes_the_order_out() -> None:
    clinicians = Clinicians(1)
    for number in range(40):
        clinicians.answers(a_call(CLIENTS[0], 2, order=f"order-{number}"), SERVICE, [CARD])
    assert 0 < len(clinicians.removed) < 40


def test_feedback_is_sent_at_once_or_after_midnight() -> None:
    for client in CLIENTS:
        moments = {one.sent_at for one in answered(client)}
        if client.reports_after is None:
            assert all((moment - AT).total_seconds() < 130 for moment in moments)
        else:
            assert moments == {datetime(2026, 3, 4, 2, tzinfo=UTC)}


def _encoded(answer: Answer) -> bytes:
    return msgspec.json.encode({"feedback": [answer.item]})
