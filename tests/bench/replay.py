"""Measure how fast records are verified, in CPU time of one core: `python -m tests.bench.replay [RECORDS | LOG]`.

LOG: an alert log, such as `cds-service demo-log` makes; without it, RECORDS of `log_mix`, half of which show a card.
Reading, decompressing, deciding, drawing and comparing are included; loading the cards is not.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cds_service.database import open_database
from cds_service.replay.verify import FOR_EVER, Verified, Verifier
from cds_service.settings import Settings
from tests.replay.replayed_log import some_records, write_log


def main(wanted: str) -> None:
    """Print records a second and how many were the same."""
    with TemporaryDirectory(prefix="replay-bench-") as folder:
        if wanted.isdigit():
            settings = write_log(Path(folder), some_records(int(wanted)))
        else:
            settings = Settings(log_path=Path(wanted), review_path=Path(folder) / "review.sqlite3")
            open_database(settings.log_path, Path(folder) / "review.sqlite3", writes_review=True).close()
        verifier = Verifier(settings)
        verifier((0, FOR_EVER))  # loads the cards
        began, found = time.process_time(), Verified()
        found.add(verifier((0, FOR_EVER)))
        seconds = time.process_time() - began
    rate = found.records / seconds
    print(f"{found.records:,} records in {seconds:.2f} s of CPU, {rate:,.0f} a second; {found.same:,} the same")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "3000")
