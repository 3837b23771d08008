"""What of the records of other systems (CDS_SHARED/ehr) is not understood: a log is filled with calls and read back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log.kept_facts import NOT_A_CODE
from cds_service.alert_log.unread import unread_codes
from cds_service.app import create_app
from cds_service.cli.main import main
from cds_service.criteria.facts import SOURCES
from cds_service.fhir.resources import bare_id
from tests.core import a_runtime
from tests.extra.test_real_calls import TYPES
from tests.extra.test_real_records import documents
from tests.fuzz.drive import post

FOLDERS = ("au-core", "hl7-r4-examples", "smart-stu3", "synthea-dstu2", "synthea-r4", "us-core-examples")


def calls() -> list[tuple[str, bytes]]:
    """(folder, body) of a patient-view call for each patient of each file, with all that the file has about the patient."""
    found = []
    for folder in FOLDERS:
        for path, document in documents(f"ehr/{folder}"):
            sent = document.get("entry", [{"resource": document}])
            by_patient: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
            for resource in (entry.get("resource", {}) for entry in sent):
                if (key := TYPES.get(resource.get("resourceType", ""))) is not None:
                    by_patient[patient_of(resource)][key].append(resource)
            for patient, sources in by_patient.items():
                entries = {key: [{"resource": one} for one in sources[key]] for key in SOURCES}
                request = {
                    "hook": "patient-view",
                    "hookInstance": f"{path.name} {patient}",
                    "context": {"patientId": patient or "nobody"},
                    "prefetch": {key: {"resourceType": "Bundle", "entry": several} for key, several in entries.items()},
                }
                found.append((folder, msgspec.json.encode(request)))
    return found


def patient_of(resource: dict[str, Any]) -> str:
    if resource["resourceType"] == "Patient":
        return str(resource.get("id", ""))
    subject = resource.get("subject") or resource.get("patient") or {}
    return bare_id(subject.get("reference")) if isinstance(subject, dict) else ""


async def test_what_is_not_understood_of_real_records_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = a_runtime(tmp_path, max_body_bytes=33_554_432)
    app = create_app(runtime.settings, runtime=runtime)
    answered = 0
    async with app.router.lifespan_context(app):
        for _, body in calls():
            answered += (await post(app, "/cds-services/cramp-care-patient-view", body)).status == 200
    found = unread_codes(runtime.settings.log_path, None, None)
    assert answered > 300
    assert found
    assert all(one.code == NOT_A_CODE or " " not in one.code for one in found)
    monkeypatch.setenv("CDS_LOG_PATH", str(runtime.settings.log_path))
    assert main(["codes", "unread"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found) + 1
    print(f"{answered} calls, {len(found)} codes; the most frequent:", *lines[:16], sep="\n")
