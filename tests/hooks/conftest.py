"""An application with small services, whose decisions a stub makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.http_side import Stub, new_test_app


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def app(tmp_path: Path, stub: Stub) -> FastAPI:
    return new_test_app(tmp_path, stub)[0]
