"""Nothing of a patient outlives the call: canaries in calls of all sizes, refused ones, feedback and FHIR fetches, then a scan.

The service's objects lead to none. Memory that was freed and not used again is read from outside (/proc/PID/mem): Python does not
overwrite what it frees, so a few are there. `CDS_CANARY_CALLS=10000` is the long form; `-s` shows the counts.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cds_service.authoring.shorthand import request_from_case
from tests.canaries import canary, feedback_with_canaries, headers_with_canaries, with_canaries
from tests.core import NOW, Json
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

CALLS = int(os.environ.get("CDS_CANARY_CALLS", "60"))
FREED = 0.1  # of the canaries may stand in memory that was freed and not used again
GIVEN = ["LOINC#2823-3 Potassium 2.4 mmol/L", "prescribed: quinine 300 mg", "order: baclofen 10 mg", "order: quinine 300 mg"]
PATH = "/cds-services/cramp-care-order-sign"
SIZES = (1, 1, 1, 30, 1, 100)  # copies of the prescriptions
REVEAL_KEY = "00112233" * 8
ANY = re.compile(rb"anarie([0-9]{6,})[a-z]+")


@contextmanager
def fhir_server() -> Iterator[str]:
    """The address of a FHIR server that finds a laboratory result full of canaries for every search."""

    class Finds(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            resource = {"resourceType": "Observation", "id": canary("observation"), "note": [{"text": canary("fetched")}]}
            body = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": resource}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/fhir+json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in the library)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Finds) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def call(number: int, base: str) -> Json | bytes:
    made = with_canaries(request_from_case(GIVEN, "order-sign", NOW)) | {"fhirServer": base}
    for order in made["context"]["draftOrders"]["entry"]:
        order["resource"]["dosageInstruction"] = [{"text": f"1 tablet {canary('sig')} at night"}]
    many = SIZES[number % len(SIZES)]
    for value in made["prefetch"].values():
        if isinstance(value, dict) and "entry" in value and value["entry"]:
            value["entry"] = value["entry"] * many
    match number % 10:
        case 3:
            return made | {"hook": canary("hook")}
        case 5:
            return f'{{"hook": "{canary("json")}'.encode()
        case 7:
            return {name: value for name, value in made.items() if name != "prefetch"}
        case 9:
            made["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": f"Patient/{canary('other')}"}
    return made


def sent(server: RealServer, base: str) -> int:
    """Send all calls, with feedback on their cards; return how many were answered with cards."""
    shown = 0
    for number in range(CALLS):
        body = call(number, base)
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = server.client.post(PATH, headers=headers_with_canaries(), params={"q": canary("query")}, **content)
        assert answer.status_code in (200, 400, 412), answer.text
        if answer.status_code == 200 and (cards := answer.json()["cards"]):
            shown += 1
            told = server.client.post(f"{PATH}/feedback", json=feedback_with_canaries(cards[0]["uuid"]))
            assert told.status_code == 200
    return shown


def in_memory(pid: int) -> list[int]:
    """The numbers of the canaries anywhere in what the process may write to."""
    found: set[int] = set()
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if "[vvar" in line or not rights.startswith("rw"):
                continue
            start, end = (int(one, 16) for one in place.split("-"))
            memory.seek(start)
            try:
                found.update(int(one) for one in ANY.findall(memory.read(end - start)))
            except OSError:  # a region that can't be read, as of a device
                continue
    return sorted(found)


def test_nothing_of_a_patient_outlives_the_call(tmp_path: Path) -> None:
    first = int(canary("first")[7:13])
    # With all that a site may ask to be kept, sealed.
    serving = RealServer(tmp_path, "tests.faults.memory_server", keep_inputs="yes", reveal_key=REVEAL_KEY)
    with fhir_server() as base, serving as server:
        shown = sent(server, base)
        assert shown > CALLS / 3
        server.client.close()  # an idle connection has the head of its last request, until it is closed
        time.sleep(2.5)  # the caches are emptied, the last notes are written, the last connections idle
        (tmp_path / "scan").touch()
        deadline = time.monotonic() + 60
        while not (tmp_path / "scan.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        held = json.loads((tmp_path / "scan.json").read_text())
        freed = in_memory(server.process.pid)
    made = int(canary("last")[7:13]) - first
    print(f"{CALLS} calls, {made} canaries: {len(held)} held by objects, {len(freed)} left in freed memory")
    assert held == []
    assert len(freed) < FREED * made
