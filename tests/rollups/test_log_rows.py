"""Rows of the log page are those that plain Python finds, in order, page by page, counted already or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from cds_service.database import Database
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import Filter, FilterError
from cds_service.rollups.log_rows import days_with_matches, newest, not_applied
from cds_service.rollups.rollup import roll_up
from tests.rollups.compare import merged, plain
from tests.rollups.conftest import made_log
from tests.rollups.plain_count import PlainCall, PlainCard, PlainFeedback, PlainLog, final_responses, repeated_within_a_day
from tests.rollups.synthetic import Rows, Shape, SyntheticLog

SHAPE = Shape(calls=400, days=12, cards=4, clients=2, users=5, patients=12, withdrawn=0.05)
DAYS = SiteDays("Europe/London")


class Fired:
    """A card that fired, with all that a filter may ask about it."""

    def __init__(self, call: PlainCall, card: PlainCard, item: PlainFeedback | None, repeated: bool, row: dict[str, Any]) -> None:
        self.call, self.card, self.item, self.repeated, self.row = call, card, item, repeated, row
        self.day = DAYS.day_of(call.at)
        self.state = "withdrawn" if call.withdrawn else card.state
        self.response = item.outcome if item else "none"
        self.live = card.mode == "live" and self.state == "shown"
        self.said_no = self.live and self.response == "overridden"
        self.commented = bool(item and item.comment_length)

    @property
    def where(self) -> tuple[int, str, int]:
        return (self.call.at, self.call.id, self.card.position)


class Log:
    def __init__(self, database: Database, log: PlainLog, rows: Rows) -> None:
        self.database = database
        responses, repeats = final_responses(log.feedback), repeated_within_a_day(sorted(log.calls, key=lambda one: one.at))
        more = {(row[1].hex(), row[2]): {"row": row[10], "order": row[16]} for row in rows["card"]}
        self.fired = [
            Fired(
                call,
                card,
                responses.get((card.uuid, call.tenant, call.client)),
                (call.id, card.position) in repeats,
                more[call.id, card.position],
            )
            for call in log.calls
            for card in call.cards
        ]
        self.fired.sort(key=lambda one: one.where, reverse=True)
        self.services = {row[0].hex(): log_.names[row[4]] for log_ in [SyntheticLog(SHAPE)] for row in rows["call"]}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    with made_log(request.param, tmp_path_factory.mktemp("log")) as made:
        synthetic = SyntheticLog(SHAPE)
        made.filler.start(synthetic)
        days = list(synthetic.days())
        made.filler.fill(synthetic, merged(days[:-2]))
        roll_up(made.database, DAYS, lambda: datetime(2026, 1, 1, tzinfo=UTC))
        made.filler.fill(synthetic, merged(days[-2:]))  # not counted yet
        rows = merged(days)
        yield Log(made.database, plain(synthetic, rows), rows)


def all_pages(log: Log, chosen: Filter, limit: int) -> list[tuple[int, str, int]]:
    found, before = [], None
    while True:
        page = newest(log.database, DAYS, chosen, before, limit)
        found += [(row.received_at, row.call_id.hex(), row.position) for row in page.rows]
        before = page.before
        assert before is None or len(page.rows) == limit
        if before is None:
            return found


def patient(log: Log) -> str:
    return next(one.call.patient for one in log.fired if one.call.patient)


def user(log: Log) -> str:
    return next(one.call.user for one in log.fired if one.call.user and one.card.mode == "shadow")


def encounter(log: Log) -> str:
    return next(one.call.encounter for one in log.fired if one.call.encounter)


def order(log: Log) -> str:
    found = next(one.row["order"] for one in log.fired if one.row["order"])
    assert isinstance(found, bytes)
    return found.hex()


def cases(log: Log) -> dict[str, tuple[Filter, Callable[[Fired], bool]]]:
    """Filters, and in plain Python which cards they let through."""
    return {
        "everything": (Filter(), lambda _: True),
        "days": (Filter(20251130, 20251203), lambda one: 20251130 <= one.day <= 20251203),
        "a card": (Filter.of(card="card-2"), lambda one: one.card.card == "card-2"),
        "responses": (Filter.of(response=("none", "accepted")), lambda one: one.response in ("none", "accepted")),
        "held back": (Filter.of(state=("capped", "withdrawn")), lambda one: one.state in ("capped", "withdrawn")),
        "shown": (Filter.of(state="shown", mode="live"), lambda one: one.live),
        "rare": (
            Filter.of(card="card-1", client="client-1", response="accepted"),
            lambda one: (one.card.card, one.call.client) == ("card-1", "client-1") and one.response == "accepted",
        ),
        "nothing": (Filter.of(card="unheard-of"), lambda _: False),
        "a reason": (
            Filter.of(reason="informed"),
            lambda one: one.said_no and one.item is not None and one.item.reason == "informed",
        ),
        "no reason": (
            Filter.of(reason=("",)),
            lambda one: one.said_no and one.item is not None and not one.item.reason,
        ),
        "comment": (Filter.of(comment="yes"), lambda one: one.said_no and one.commented),
        "no comment": (Filter.of(comment="no"), lambda one: one.said_no and not one.commented),
        "repeated": (Filter.of(repeated="yes"), lambda one: one.repeated),
        "not repeated": (Filter.of(repeated="no"), lambda one: not one.repeated),
        "about orders": (Filter.of(about_order="yes"), lambda one: one.card.about_order),
        "a row": (Filter.of(row="1"), lambda one: one.row["row"] == 1),
        "slow": (Filter.of(ms_from="100"), lambda one: one.call.us > 100_000),
        "a band": (Filter.of(ms_from="20", ms_to="50"), lambda one: 20_000 < one.call.us <= 50_000),
        "a patient": (Filter.of(patient="k1:" + patient(log)), lambda one: one.call.patient == patient(log)),
        "a user": (Filter.of(user=user(log)), lambda one: one.call.user == user(log)),
        "an encounter": (Filter.of(encounter=encounter(log)), lambda one: one.call.encounter == encounter(log)),
        "an order": (Filter.of(order=order(log)), lambda one: one.row["order"] == bytes.fromhex(order(log))),
        "a uuid": (
            Filter.of(uuid=str(UUID(log.fired[5].card.uuid))),
            lambda one: one.card.uuid == log.fired[5].card.uuid,
        ),
        "a service": (Filter.of(service="service-1"), lambda one: log.services[one.call.id] == "service-1"),
        "a status": (Filter.of(status="500"), lambda one: one.call.status == 500),
        "a patient on days": (
            Filter.of(20251201, 20251206, patient=patient(log), mode="live"),
            lambda one: one.call.patient == patient(log) and 20251201 <= one.day <= 20251206 and one.card.mode == "live",
        ),
    }


NAMES = (
    "everything",
    "days",
    "a card",
    "responses",
    "held back",
    "shown",
    "rare",
    "nothing",
    "a reason",
    "no reason",
    "comment",
    "no comment",
    "repeated",
    "not repeated",
    "about orders",
    "a row",
    "slow",
    "a band",
    "a patient",
    "a user",
    "an encounter",
    "an order",
    "a uuid",
    "a service",
    "a status",
    "a patient on days",
)


@pytest.mark.parametrize("limit", [7, 50])
@pytest.mark.parametrize("name", NAMES)
def test_pages_are_the_rows_that_match(log: Log, name: str, limit: int) -> None:
    chosen, matches = cases(log)[name]
    expected = [one.where for one in log.fired if matches(one)]
    assert bool(expected) == (name != "nothing")
    assert all_pages(log, chosen, limit) == expected


def test_every_case_has_a_name(log: Log) -> None:
    assert tuple(cases(log)) == NAMES


def test_a_row_says_what_became_of_the_card(log: Log) -> None:
    page = newest(log.database, DAYS, Filter(), limit=400)
    for row, one in zip(page.rows, log.fired, strict=False):
        assert (row.card, row.version, row.client, row.hook) == (one.card.card, one.card.version, one.call.client, one.call.hook)
        assert (row.state, row.response, row.row, row.us) == (one.state, one.response, one.row["row"], one.call.us)
        assert (row.reason, row.commented) == ((one.item.reason, one.commented) if one.item else ("", False))
        assert row.answered_at == (one.item.at if one.item else None)
        assert row.about_order == one.card.about_order


def test_days_without_a_match_are_not_looked_into(log: Log) -> None:
    everything = {match.day: match.at_most for match in days_with_matches(log.database, Filter())}
    assert sum(everything.values()) == sum(one.day <= max(everything) for one in log.fired) - not_counted(log, max(everything))
    rare = [match.day for match in days_with_matches(log.database, cases(log)["rare"][0])]
    assert 0 < len(rare) < len(everything)
    assert days_with_matches(log.database, Filter.of(card="unheard-of")) == []


def not_counted(log: Log, last: int) -> int:
    """Return how many cards of the last counted day came after it was counted: in London it ends with the day in UTC."""
    counted = log.database.one("SELECT sum(n) AS n FROM review.daily_card WHERE day = :day", day=last)
    return sum(one.day == last for one in log.fired) - (counted["n"] if counted else 0)


def test_a_filter_that_rows_do_not_have_is_said() -> None:
    assert not_applied(Filter.of(card="a", cause="stale", criterion="potassium")) == {"cause", "criterion"}


@pytest.mark.parametrize("cursor", ["x", "1-2-3", "1-" + "0" * 32, "-1-" + "0" * 32 + "-0"])
def test_a_cursor_of_no_page_is_refused(log: Log, cursor: str) -> None:
    with pytest.raises(FilterError, match="before must be"):
        newest(log.database, DAYS, Filter(), cursor)
