"""Numbers and dates in addresses that no database holds: never an error of ours."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.review.pages import PAGES
from tests.access.people import Clock, a_site, add_person, review_database, sign_in
from tests.log_tables import make_sqlite_log

ODD = ("99999999999999999999", "9" * 5000, "%00", "0001-W01")
QUERIES = (
    "plan",
    "days",
    "since",
    "until",
    "before",
    "page",
    "week",
    "month",
    "signal",
    "archived",
    "at",
    "case",
    "card",
    "client",
)


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_an_odd_address_is_told_or_no_page(tmp_path: Path, odd: str) -> None:
    make_sqlite_log(tmp_path / "alerts.sqlite3")
    with closing(review_database(tmp_path)) as database:
        secret = add_person(database, "Olga", "rule owner", "auditor", "admin")
    with a_site(tmp_path, Clock()) as browser:
        async with browser() as client:
            assert (await sign_in(client, "Olga", secret)).status_code == 303
            paths = {re.sub(r"\{[^}]+\}", odd, page.path) for page in PAGES if not page.path.startswith("/sign-in/")}
            asked = [path for path in paths if odd in path]
            asked += [f"{path}?{name}={odd}" for path in paths if odd not in path for name in QUERIES]
            for path in asked:
                assert (await client.get(f"/review{path}")).status_code in (200, 303, 400, 404), path[:100]
