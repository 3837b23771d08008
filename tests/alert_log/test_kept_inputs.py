"""Reduced inputs: nothing of a person is in them, they are sealed, and a fault of theirs costs no call."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.alert_log import call_record
from cds_service.alert_log.inputs import INPUTS_VERSION, Inputs, InputsError, pack_inputs, unpack_inputs
from cds_service.alert_log.kept_inputs import same_age
from cds_service.alert_log.reduced_resources import AS_SENT, DROPPED, REDUCED
from cds_service.alert_log.sealing import SealingKey, reveal_bytes
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.database import open_database
from cds_service.fhir.resources import Resource
from cds_service.runtime import key_problem, new_runtime
from cds_service.settings import Settings
from cds_service.telemetry import metrics
from tests.core import NOW
from tests.http_side import running
from tests.replay.truth_calls import NAME

KEY = SealingKey(3, b"r" * 32)
ON = {"keep_inputs": "yes", "reveal_key": "r" * 32, "reveal_key_id": 3}
CASE = [
    "patient: female, 50 years, id kanarie-patient",
    "LOINC#2823-3 Potassium 2.4 mmol/L at 08:00",
    "problem: ICD10#R25.2 Cramp and spasm",
]


def test_what_is_kept_of_each_field_is_said_once() -> None:
    fields = [*AS_SENT, *REDUCED, *DROPPED]
    assert sorted(fields) == sorted(Resource.__struct_fields__)


def test_inputs_need_the_key_that_seals_them() -> None:
    assert "CDS_REVEAL_KEY" in key_problem(Settings.model_validate({"keep_inputs": "yes"}))
    assert not key_problem(Settings.model_validate(ON))


async def logged(folder: Path, settings: dict[str, Any]) -> bytes | None:
    """The opened inputs of one call with names in every place where people write."""
    settings = {"log_path": folder / "alerts.sqlite3", **settings}
    runtime = msgspec.structs.replace(new_runtime(Settings.model_validate(settings)), clock=lambda: NOW)
    request = request_from_case(CASE, "patient-view", NOW)
    for entry in request["prefetch"]["labs"]["entry"]:
        name = {"text": NAME, "reference": f"Practitioner/{NAME}", "display": NAME}
        entry["resource"] |= {
            "note": [{"text": f"haemolysed, {NAME}"}],
            "comment": NAME,
            "performer": [name],
            "text": {"div": NAME},
        }
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        assert (await client.post("/cds-services/cramp-care-patient-view", json=request)).status_code == 200
    with closing(open_database(folder / "alerts.sqlite3", folder / "review.sqlite3", writes_review=True)) as database:
        (call,) = (row["id"] for row in database.rows("SELECT id FROM log.call"))
        return reveal_bytes(database, call, "inputs", KEY)


async def test_the_log_holds_them_sealed_and_they_name_nobody(tmp_path: Path) -> None:
    content = await logged(tmp_path, ON)
    assert content is not None
    inputs = unpack_inputs(content)
    said = msgspec.json.encode(inputs).decode()
    assert NAME[:5] not in said
    assert "kanarie" not in said.lower()
    assert [one.valueQuantity.value for one in inputs.given["labs"].resources if one.valueQuantity]
    assert "Cramp and spasm" in said
    assert inputs.searched == ["patterns"]
    assert [name for name, stored in contents(tmp_path).items() if b"anarie" in stored or b'"given"' in stored] == []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_they_are_not_kept_where_the_site_does_not_ask(tmp_path: Path) -> None:
    assert await logged(tmp_path, {"reveal_key": "r" * 32}) is None


async def test_a_fault_is_counted_and_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError(NAME)

    monkeypatch.setattr(call_record, "kept_inputs", broken)
    before = metrics.count(metrics.INPUTS_NOT_KEPT)
    assert await logged(tmp_path, ON) is None
    assert metrics.count(metrics.INPUTS_NOT_KEPT) == before + 1


def test_inputs_of_another_version_or_damaged_ones_are_not_read() -> None:
    content = pack_inputs(Inputs(INPUTS_VERSION + 1, {}, []))
    for wrong in (content, content[:-3], b"", b"{}"):
        with pytest.raises(InputsError):
            unpack_inputs(wrong)


_DAYS = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds have no zone


@given(st.dates(date(1900, 1, 1), date(2025, 12, 31)), st.lists(_DAYS, min_size=1, max_size=9))
def test_another_date_of_birth_gives_the_same_age_on_each_day(born: date, days: list[datetime]) -> None:
    other = same_age(born, days)
    assert other <= born
    assert born - other < timedelta(days=366)
    assert [_age(other, day) for day in days] == [_age(born, day) for day in days]


def _age(born: date, day: datetime) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))
