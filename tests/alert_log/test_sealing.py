"""Comments and ids can be read with the reveal key and in no other way, and are not kept without one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cds_service.alert_log.sealing import RevealError, SealingKey, reveal, sealing_key
from cds_service.app import create_app
from cds_service.authoring.shorthand import request_from_case
from cds_service.database import open_database
from cds_service.runtime import new_runtime
from cds_service.settings import Settings
from tests.core import NOW
from tests.http_side import running

KEY, OF = SealingKey(3, b"r" * 32), bytes(range(16))
COMMENT = "Mrs Kanarie asked for it"


@pytest.mark.parametrize("text", ["", "a", "ä\ud800", "x" * 10_000])
def test_what_is_sealed_can_be_opened(text: str) -> None:
    sealed = KEY.seal(OF, "comment", text)
    assert KEY.open(OF, "comment", sealed.content) == text
    assert KEY.seal(OF, "comment", text).content != sealed.content  # another nonce
    assert "r" * 8 not in repr(KEY)


def test_another_key_record_or_kind_opens_nothing() -> None:
    content = KEY.seal(OF, "comment", "a text").content
    changed = content[:-1] + bytes([content[-1] ^ 1])
    for key, of, kind, sealed in (
        (SealingKey(3, b"s" * 32), OF, "comment", content),
        (SealingKey(4, b"r" * 32), OF, "comment", content),
        (KEY, bytes(16), "comment", content),
        (KEY, OF, "patient", content),
        (KEY, OF, "comment", changed),
        (KEY, OF, "comment", b"short"),
    ):
        with pytest.raises(RevealError):
            key.open(of, kind, sealed)  # type: ignore[arg-type]


async def answered(folder: Path, reveal_key: str) -> None:
    """One call and one item of feedback with a comment."""
    settings = Settings.model_validate(
        {"log_path": folder / "alerts.sqlite3", "reveal_key_id": 3} | ({"reveal_key": reveal_key} if reveal_key else {})
    )
    runtime = msgspec.structs.replace(new_runtime(settings), clock=lambda: NOW)
    request = request_from_case(["patient: female, 50 years, id kanarie-patient"], "patient-view", NOW)
    request["context"] |= {"userId": "Practitioner/kanarie-user", "encounterId": "kanarie-encounter"}
    item = {"card": "a-card", "outcome": "overridden", "overrideReason": {"userComment": COMMENT}}
    async with running(create_app(settings, runtime=runtime)) as client:
        assert (await client.post("/cds-services/cramp-care-patient-view", json=request)).status_code == 200
        fed = await client.post("/cds-services/cramp-care-patient-view/feedback", json={"feedback": [item]})
        assert fed.status_code == 200


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("reveal_key", ["", "r" * 32])
async def test_the_log_holds_them_sealed_or_not_at_all(tmp_path: Path, reveal_key: str) -> None:
    await answered(tmp_path, reveal_key)
    assert [name for name, content in contents(tmp_path).items() if b"anarie" in content] == []
    with closing(open_database(tmp_path / "alerts.sqlite3", tmp_path / "review.sqlite3", writes_review=True)) as database:
        call, feedback = (database.rows(f"SELECT id FROM log.{table}")[0]["id"] for table in ("call", "feedback"))  # noqa: S608
        read = [
            reveal(database, call, "patient", KEY),
            reveal(database, call, "user", KEY),
            reveal(database, call, "encounter", KEY),
            reveal(database, feedback, "comment", KEY),
        ]
        if not reveal_key:
            assert read == [None] * 4
            return
        assert read == ["kanarie-patient", "Practitioner/kanarie-user", "kanarie-encounter", COMMENT]
        with pytest.raises(RevealError, match="key 3, this is key 4"):
            reveal(database, call, "patient", SealingKey(4, b"r" * 32))


def test_without_a_key_nothing_is_sealed() -> None:
    assert sealing_key("", 1) is None
    assert sealing_key("r" * 32, 3) == KEY
