"""Find the program's data: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

import cds_service

_PACKAGE = Path(cds_service.__file__).resolve().parent


def cards_dir(package: Path = _PACKAGE) -> Path:
    """Return the folder of the cards and their value sets.

    `package` is the folder of the `cds_service` package. Raises FileNotFoundError where the installation lacks the cards.
    """
    return _find(package, "cards")


def fixtures_dir(package: Path = _PACKAGE) -> Path:
    """Return the folder of example patients and requests. Raises FileNotFoundError where the installation lacks it."""
    return _find(package, "fixtures")


def _find(package: Path, name: str) -> Path:
    # A wheel carries the folder as cds_service/data/<name>; a checkout has no cds_service/data.
    places = (package / "data" / name, package.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{name}/ is neither at {places[0]} nor at {places[1]}: the installation is incomplete")
