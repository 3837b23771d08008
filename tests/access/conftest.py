"""Passwords that cost little, so that the tests do not spend their time on hashes; `test_passwords.py` has the real ones."""

from __future__ import annotations

from functools import cache

import pytest
from argon2 import PasswordHasher

from cds_service.access import passwords


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
    monkeypatch.setattr(passwords, "_of_nobody", cache(lambda: cheap.hash("the password of no account")))
