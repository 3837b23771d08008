"""Hashes of passwords: as strong as promised, and at most four at once."""

from __future__ import annotations

import threading

import pytest
from argon2 import PasswordHasher, extract_parameters

from cds_service.access import passwords

REAL = passwords._hasher  # read before the cheap one takes its place


def test_a_hash_takes_64_mib_and_three_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", REAL)
    parameters = extract_parameters(passwords.hashed("correct horse battery staple", "Ada"))
    assert (parameters.type.name, parameters.memory_cost, parameters.time_cost) == ("ID", 64 * 1024, 3)


def test_four_are_checked_at_once_and_a_fifth_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    class Slow(PasswordHasher):
        def verify(self, *_: object) -> bool:  # type: ignore[override]
            begun.release()
            assert release.wait(10)
            return True

    monkeypatch.setattr(passwords, "_hasher", lambda: Slow())
    monkeypatch.setattr(passwords, "_WAIT_SECONDS", 0.05)
    threads = [threading.Thread(target=passwords.matches, args=("password", "hash")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=10)
    with pytest.raises(passwords.TooManyChecksError):
        passwords.matches("password", "hash")
    release.set()
    for thread in threads:
        thread.join(10)
    assert passwords.matches("password", "hash")
