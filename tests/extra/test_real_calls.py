"""Records of other systems as patient-view calls, and their requests to every service (CDS_SHARED/ehr, protocol)."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cds_service.app import create_app
from cds_service.criteria.facts import SOURCES
from cds_service.evaluate import Engine, evaluate_request
from cds_service.fhir.dates import when
from cds_service.settings import Settings
from cds_service.wire.hook_request import decode_request
from tests.core import knowledge, presenter
from tests.extra.test_real_records import SHARED, documents

TYPES = {**{kind: key for key, kind in SOURCES.items()}, "MedicationOrder": "prescriptions"}
LOUD = {"warning", "critical"}


def patients() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Records by patient: the resources of each prefetch key. A patient of the STU3 samples spans several files."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path, document in documents("ehr/synthea-r4", "ehr/synthea-dstu2", "ehr/smart-stu3"):
        for entry in document.get("entry", []):
            resource = entry.get("resource", {})
            if (key := TYPES.get(resource.get("resourceType", ""))) is not None:
                found[f"{path.parent.name} {path.name.partition('.')[0]}"][key].append(resource)
    return found


async def test_no_electrolyte_card_is_loud_unless_the_record_has_the_deficit() -> None:
    shown: Counter[str] = Counter()
    known = knowledge()
    count = 0
    for name, resources in patients().items():
        days = [day for one in resources["labs"] if (day := when(one.get("effectiveDateTime") or one.get("issued"))) is not None]
        if not days:
            continue
        count += 1
        prefetch: dict[str, Any] = {
            key: {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources[key]]}
            for key in SOURCES
            if key != "patient"
        }
        prefetch["patient"] = resources["patient"][0] if resources["patient"] else None
        request = {
            "hook": "patient-view",
            "hookInstance": name,
            "context": {"patientId": (prefetch["patient"] or {}).get("id", "x")},
            "prefetch": prefetch,
        }
        now = max(day.start for day in days) + timedelta(days=1)
        call = decode_request(msgspec.json.encode(request), "patient-view")
        answer = await evaluate_request(call, Engine(known, presenter(known)), now)
        for one in answer.shown:
            card = msgspec.json.decode(one.body)["source"]["topic"]["code"]
            shown[card] += 1
            assert not (card.startswith("electrolyte") and one.indicator in LOUD), name
        assert not any(decision.error for decision in answer.decisions), name
    assert count > 40
    print(f"cards over {count} patients: {dict(shown)}")


async def test_no_request_of_another_system_is_answered_with_a_server_error(tmp_path: Path) -> None:
    app = create_app(Settings(log_path=tmp_path / "alerts.sqlite3"))
    statuses: Counter[int] = Counter()
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client,
    ):
        for _, document in documents("protocol", "ehr/pddi-cds"):
            if isinstance(document, dict):
                document.pop("fhirServer", None)  # nothing is asked of anybody
            for hook in ("patient-view", "order-select", "order-sign"):
                for body in (document, {**document, "hook": hook} if isinstance(document, dict) else document):
                    answer = await client.post(f"/cds-services/cramp-care-{hook}", content=msgspec.json.encode(body))
                    statuses[answer.status_code] += 1
    assert max(statuses) < 500
    print(f"statuses: {dict(statuses)}")


@pytest.mark.parametrize("folder", ["ehr/synthea-r4"])
def test_the_records_are_there(folder: str) -> None:
    assert len(list((SHARED / folder).glob("*.json"))) >= 33
