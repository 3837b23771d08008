"""The pseudonyms of the alert log."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cds_service.alert_log import keyed_hash, load_or_create_secret

SECRET = bytes(range(32))


def test_a_hash_is_a_keyed_blake2b_with_the_id_of_its_key() -> None:
    expected = hashlib.blake2b(b"patient|https://ehr.example/fhir|123", key=SECRET, digest_size=16).hexdigest()

    assert keyed_hash(SECRET, "patient", "https://ehr.example/fhir|123") == f"k1:{expected}"


def test_a_hash_depends_on_secret_kind_and_value() -> None:
    hashes = {keyed_hash(s, k, v) for s in (SECRET, SECRET[::-1]) for k in ("patient", "user") for v in ("1", "2")}

    assert len(hashes) == 8


def test_nobody_has_no_hash() -> None:
    assert keyed_hash(SECRET, "encounter", "") == ""


def test_an_id_that_is_no_valid_unicode_has_a_hash() -> None:
    assert keyed_hash(SECRET, "patient", "\ud800") != keyed_hash(SECRET, "patient", "\ud801")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        keyed_hash(b"short", "patient", "1")


def test_a_secret_is_made_once_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret"

    first = load_or_create_secret(path)

    assert len(first) == 32
    assert load_or_create_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_together_share_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: load_or_create_secret(path), range(64)))

    assert len(secrets) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_secret_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"half a secret")

    with pytest.raises(ValueError, match="must hold 32 bytes and holds 13") as raised:
        load_or_create_secret(path)

    assert "half a secret" not in str(raised.value)
