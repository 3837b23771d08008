"""Passwords that cost little, so that the tests do not spend their time on hashes; `test_passwords.py` has the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from argon2 import PasswordHasher

from cds_service.access import passwords


@pytest.fixture(autouse=True, scope="module")
def cheap_passwords() -> Iterator[pytest.MonkeyPatch]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", lambda: cheap)
        patch.setattr(passwords, "_of_nobody", cache(lambda: cheap.hash("the password of no account")))
        yield patch
