"""A name belongs to one person, and a person has one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cds_service.access.identities import IdentityError, claim, release
from cds_service.database import Database
from tests.access.people import add_person, review_database
from tests.log_tables import make_postgres_log, make_sqlite_log, postgres_database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        make_sqlite_log(tmp_path / "alerts.sqlite3")
        with closing(review_database(tmp_path)) as found:
            yield found
        return
    with postgres_database() as url:
        make_postgres_log(url)
        with closing(review_database(tmp_path, url)) as found:
            yield found


def test_a_name_in_another_spelling_is_the_same_name(database: Database) -> None:
    assert claim(database, "Anna Müller", "oidc", "1") == "Anna Müller"
    for name in ("anna müller", "ANNA MÜLLER", "Anna Mu\u0308ller", "Ａnna Müller"):
        with pytest.raises(IdentityError):
            claim(database, name, "oidc", "2")
        with pytest.raises(IdentityError):
            claim(database, name, "proxy", name)
        with pytest.raises(ValueError, match="belongs to another person"):
            add_person(database, name, "reviewer")


def test_a_person_who_comes_back_with_another_name_has_the_first(database: Database) -> None:
    assert claim(database, "anna", "oidc", "1") == "anna"
    assert claim(database, "berta", "oidc", "1") == "anna"
    assert claim(database, "ANNA", "oidc", "1") == "anna"
    assert claim(database, "berta", "oidc", "2") == "berta"
    assert claim(database, "berta", "oidc", "1") == "anna"
    assert release(database, "Anna")
    with pytest.raises(IdentityError):
        claim(database, "berta", "oidc", "1")
    assert claim(database, "carla", "oidc", "1") == "carla"
    assert not release(database, "anna")
