"""One hash of all that decides answers: the same on machines of one service, another one where anything differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.runtime import new_runtime
from cds_service.settings import Settings
from tests.tokens import GOOD_SECRET, PUBLIC_URL, a_client, key_set, public_jwk, write_registry


def configuration(folder: Path, client: dict[str, Any] | None = None, **settings: Any) -> str:
    folder.mkdir(exist_ok=True)
    registry = write_registry(folder, client or a_client())
    usual = {"hash_secret": GOOD_SECRET, "public_url": PUBLIC_URL, "clients_file": registry}
    return new_runtime(Settings(**{"log_path": folder / "alerts.sqlite3", **usual, **settings})).configuration


def test_machines_with_the_same_files_in_other_folders_have_the_same(tmp_path: Path) -> None:
    there = configuration(tmp_path / "b", management_address="10.0.0.1:8001")
    assert configuration(tmp_path / "a") == there


@pytest.mark.parametrize(
    "change",
    [
        {"jurisdiction": "GB"},
        {"hash_secret": "2b" + GOOD_SECRET[2:]},
        {"hash_generation": 2},
        {"client": a_client(max_life_s=200)},
        {"client": a_client(jwks=key_set(public_jwk("k1"), public_jwk("k2")))},
    ],
)
def test_what_decides_answers_changes_it(tmp_path: Path, change: dict[str, Any]) -> None:
    assert configuration(tmp_path, **change) != configuration(tmp_path)
