"""The cards and fixtures are found in a checkout and in an installed wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import cds_service
from cds_service.files.paths import cards_dir, fixtures_dir

REPOSITORY = Path(cds_service.__file__).resolve().parent.parent


def test_a_checkout_uses_the_folders_at_its_root() -> None:
    assert cards_dir() == REPOSITORY / "cards"
    assert fixtures_dir() == REPOSITORY / "fixtures"


def test_an_installed_wheel_uses_its_package_data(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "cds_service"
    for name in ("cards", "fixtures"):
        (package / "data" / name).mkdir(parents=True)

    assert cards_dir(package) == package / "data" / "cards"
    assert fixtures_dir(package) == package / "data" / "fixtures"


def test_an_unrelated_folder_beside_an_installed_package_is_not_preferred(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "cds_service"
    (package / "data" / "fixtures").mkdir(parents=True)
    (tmp_path / "site-packages" / "fixtures").mkdir()

    assert fixtures_dir(package) == package / "data" / "fixtures"


def test_a_missing_folder_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    package = tmp_path / "cds_service"

    with pytest.raises(FileNotFoundError, match="cards/ is neither at") as raised:
        cards_dir(package)

    assert str(package / "data" / "cards") in str(raised.value)
    assert str(tmp_path / "cards") in str(raised.value)


def test_the_wheel_is_told_to_carry_both_folders_where_they_are_looked_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert included == {"cards": "cds_service/data/cards", "fixtures": "cds_service/data/fixtures"}
