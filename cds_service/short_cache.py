"""Remember results for a minute at most: what is read in charts, names and dosages among it, must not outlive its call for long.

A cache of texts that calls bring is made with `short_cache`, and the process empties all of them every minute (`forget_all`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

EMPTIED_EVERY = 60.0  # seconds

P = ParamSpec("P")
T = TypeVar("T")

_caches: WeakSet[_lru_cache_wrapper[Any]] = WeakSet()


def short_cache(maxsize: int | None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Cache a function as `functools.lru_cache` does, until `forget_all`."""

    def cached(function: Callable[P, T]) -> Callable[P, T]:
        made = lru_cache(maxsize)(function)
        _caches.add(made)
        return cast("Callable[P, T]", made)

    return cached


def forget_all() -> None:
    """Empty every cache that `short_cache` has made in this process."""
    for cache in list(_caches):
        cache.cache_clear()
