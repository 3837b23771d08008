"""A process that ships a file until it is killed, and prints a line for each step. Arguments: the file, the database's URL."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cds_service.shipping import shipper as module
from cds_service.shipping.shipper import Shipper
from tests.log_rows import NOW


def main(path: Path, url: str) -> None:
    module.BATCH = 100  # many transactions, so that a kill meets each moment of one
    shipper = Shipper(path, url, lambda: NOW, shares=False)
    while True:
        pause = shipper.step()
        os.write(1, f"{shipper.health().shipped}\n".encode())
        time.sleep(min(pause, 0.02))


main(Path(sys.argv[1]), sys.argv[2])
