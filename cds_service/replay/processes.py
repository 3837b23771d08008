"""Do pieces of work in processes of their own, so that neither the service nor a page waits for them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_AHEAD = 2  # pieces that are handed out beyond those being worked on, for each process

_work: Callable[[Any], Any]  # of this process


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collect_seldom() -> None:
    """Let the garbage collector of this process run seldom: what a replay makes ends with its record, without a collector."""
    gc.set_threshold(100_000, 50, 100)


def in_processes(
    start: Callable[..., Callable[[Piece], Result]], arguments: tuple[Any, ...], pieces: Iterable[Piece], processes: int
) -> Iterator[tuple[Piece, Result]]:
    """Yield each piece with its result, as they are done.

    `start(*arguments)` is called once in each process and returns what does a piece; all of it must be picklable. With one
    process everything is done here. A process that dies raises BrokenProcessPool here.
    """
    if processes == 1:
        work = start(*arguments)
        for piece in pieces:
            yield piece, work(piece)
        return
    left = iter(pieces)
    doing: dict[Future[Result], Piece] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=(start, arguments)) as pool:
        try:
            while True:
                for piece in left:
                    doing[pool.submit(_do, piece)] = piece
                    if len(doing) >= processes * _AHEAD:
                        break
                if not doing:
                    return
                for one in wait(doing, return_when=FIRST_COMPLETED).done:
                    yield doing.pop(one), one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(start: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    global _work
    collect_seldom()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = start(*arguments)


def _end_with_parent() -> None:
    """End this process when its parent has ended, also by `kill -9`: the pool alone would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(piece: Any) -> Any:
    return _work(piece)
