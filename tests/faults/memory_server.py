"""The real service, which says on demand what texts its objects hold.

Arguments: those of `cds-service serve`. Beside the log, a file "scan" asks for a walk over everything that is reachable, and
"scan.json" is its result: each text with a canary in it, and the types on the way to it. The pages of developers, which show a
developer his own calls, are left out, as in production.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from cds_service import app, short_cache
from cds_service.cli import main

MARK = re.compile("anarie[0-9]{6}")


def reachable() -> list[tuple[str, str]]:
    """(text, types from it upwards) of every text with the mark that an object, a frame or a module leads to."""
    gc.unfreeze()
    gc.collect()
    this_thread = threading.get_ident()
    frames = [frame for thread, frame in sys._current_frames().items() if thread != this_thread]
    waiting: list[tuple[Any, str]] = [(one, type(one).__name__) for one in gc.get_objects() if not isinstance(one, FrameType)]
    waiting += [(value, "frame") for frame in frames for value in frame.f_locals.values()]
    seen: set[int] = {id(waiting), id(frames), *(id(one) for one, _ in waiting)}
    found: list[tuple[str, str]] = []
    while waiting:
        one, way = waiting.pop()
        if isinstance(one, str | bytes | bytearray):
            text = one if isinstance(one, str) else one.decode("latin-1")
            if MARK.search(text):
                found.append((text[:200], way))
            continue
        for other in _leads_to(one):
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append((other, f"{type(other).__name__} < {way}"[:200]))
    return found


def _leads_to(one: Any) -> Iterable[Any]:
    return [one.obj] if isinstance(one, memoryview) else gc.get_referents(one)


def watch(folder: Path) -> None:
    asked = folder / "scan"
    while True:
        if asked.exists():
            asked.unlink()
            (folder / "scan.part").write_text(json.dumps(reachable()))
            (folder / "scan.part").rename(folder / "scan.json")
        time.sleep(0.05)


short_cache.EMPTIED_EVERY = 1.0
app._add_dev_pages = lambda *_: None
threading.Thread(target=watch, args=(Path(os.environ["CDS_LOG_PATH"]).parent,), daemon=True).start()
sys.exit(main.main(["serve", "--quiet", *sys.argv[1:]]))
