"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from cds_service.files.paths import cards_dir
from cds_service.terminology.terminology import Terminology


@pytest.fixture(scope="module")
def terms() -> Terminology:
    """The value sets that the service ships."""
    return Terminology.load(cards_dir() / "value_sets")
