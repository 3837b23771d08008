"""What people type into filters reaches a database as a value, never as a statement (T15)."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.access.audit_rows import audit_rows
from cds_service.database import ScopedDatabase
from cds_service.rollups.days import SiteDays
from cds_service.rollups.filter import FIELDS, Filter, FilterError, Kind
from cds_service.rollups.log_rows import newest
from cds_service.rollups.queries import card_counts, facets
from cds_service.rollups.rollup import roll_up
from tests import proofs
from tests.access.people import review_database
from tests.review.sample_log import CLIENTS, NOW, write_sample_log

STRINGS = 1_000 if proofs.FULL else 100
PIECES = (
    *("'", '"', ";", "--", "/*", "*/", "\\", "%", "_", ":name", "%(name)s", "::", "?", "$1", "\n", "\t", "é", "\u2028", "NULL"),
    *(
        ") OR 1=1",
        "' OR '1'='1",
        "; DROP TABLE review.audit",
        "UNION SELECT",
        "IN (1)",
        "log.call",
        "FROM log.card",
        "0x27",
        "{}",
    ),
)


@pytest.mark.proof
def test_strings_of_filters_are_values(tmp_path: Path) -> None:
    write_sample_log(tmp_path / "alerts.sqlite3", days=2)
    chance, texts = random.Random(15), [name for name, kind in FIELDS.items() if kind is Kind.NAME]
    with closing(review_database(tmp_path)) as database:
        roll_up(database, SiteDays("UTC"), lambda: NOW)
        whole = sum(one.shown for one in card_counts(database, Filter.of()))
        for number in range(STRINGS):
            text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 8)))
            for seen in (database, ScopedDatabase(database, [CLIENTS[0], text], None)):
                chosen = Filter.from_query([(texts[number % len(texts)], text)], 20261127)
                field = texts[number % len(texts)]
                found = sum(one.shown for one in card_counts(seen, chosen))
                assert found in (0, sum(one.shown for one in card_counts(seen, Filter.of()))), text  # all: no field of cards
                if field not in ("outcome", "criterion", "cause"):  # which rows of cards do not have
                    assert newest(seen, SiteDays("UTC"), chosen, limit=5).rows == ()
                facets(seen, chosen, ("client", "card"))
            assert audit_rows(database, reader=text, action=text) == []
            with pytest.raises(FilterError):
                Filter.from_query([("patient", text), (text, "x")], 20261127)
        assert sum(one.shown for one in card_counts(database, Filter.of())) == whole > 0
