"""The body of a call: its versions, and the knowledge that it was made with."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from cds_service.alert_log import archived_files, read_body, restore_knowledge
from cds_service.alert_log.body import BODY_VERSION, FACTS_VERSION, decode_body, encode_body
from cds_service.alert_log.compression import PACKAGED, CompressionError, Compressor, Decompressor
from cds_service.alert_log.knowledge_archive import pack_knowledge
from cds_service.alert_log.store import Archive, Store
from cds_service.database import open_database
from cds_service.files.paths import cards_dir
from cds_service.knowledge.loader import read_knowledge
from tests.alert_log_samples import a_call, a_card
from tests.core import knowledge
from tests.reading import terminology

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("body_*.json")), ids=lambda path: path.stem)
def test_a_body_of_each_version_still_decodes(path: Path) -> None:
    _, body_version, _, facts_version = path.stem.split("_")
    content = path.read_bytes()
    body = decode_body(content)
    facts = body.decoded_facts()

    assert (body.body_version, body.facts_version) == (int(body_version), int(facts_version))
    assert facts is not None
    assert (facts.hook, facts.orders[0].action, facts.labs["potassium"].results[0].value) == (
        "order-sign",
        "start",
        Decimal("2.4"),
    )
    assert len(body.cards) >= 2
    assert msgspec.json.decode(content)["evaluations"] == body.evaluations


def test_there_is_a_golden_body_of_the_versions_of_today() -> None:
    assert (GOLDEN / f"body_{BODY_VERSION}_facts_{FACTS_VERSION}.json").exists()


def test_a_body_of_a_newer_program_is_refused() -> None:
    with pytest.raises(ValueError, match="newer program"):
        decode_body(b'{"body_version":99,"facts_version":2}')
    with pytest.raises(ValueError, match="newer program"):
        decode_body(b'{"body_version":1,"facts_version":99}').decoded_facts()


def test_a_body_is_what_was_put_in_and_takes_less_room() -> None:
    call = a_call(a_card(body=b'{"summary":"Kalium 2,9 \xc2\xb5mol"}'), queries=b'[{"key":"labs","ms":3.5}]', hook_instance="i")
    content = encode_body(call)
    dictionary = PACKAGED.read_bytes()
    compress = Compressor(dictionary)
    compressed = [compress(content) for _ in range(3)]
    decompress = Decompressor({compress.dictionary_id: dictionary}.get)

    assert {decompress(one) for one in compressed} == {content}
    assert len(compressed[0]) < len(content)
    body = decode_body(content)
    assert (body.hook_instance, body.sources["queries"]) == ("i", [{"key": "labs", "ms": 3.5}])
    assert msgspec.json.decode(body.cards[0]) == {"summary": "Kalium 2,9 \u00b5mol"}
    with pytest.raises(CompressionError, match="no dictionary"):
        Decompressor(lambda _: None)(compressed[0])
    with pytest.raises(CompressionError):
        decompress(compressed[0][:-5])


def test_a_reader_of_either_database_gets_the_body_and_of_a_repeat_the_first_ones(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    first, again = (a_call(a_card(), id=name, digest=7, minute=0) for name in ("first", "again"))
    with closing(Store(path)) as store:
        store.append([first, again, a_call(minute=1)])
    with closing(open_database(path, tmp_path / "review.sqlite3", "", writes_review=True)) as database:
        calls = database.rows("SELECT seq, id, received_at, tenant, repeat_of FROM log.call ORDER BY seq")
        bodies = [read_body(database, call) for call in calls]

    assert [body is not None and len(body.cards) for body in bodies] == [1, 1, 0]
    assert bodies[0] == bodies[1]


# The knowledge


def test_the_knowledge_is_kept_once_and_loads_again_with_the_same_hash(tmp_path: Path) -> None:
    path, packed = tmp_path / "alerts.sqlite3", 0

    def pack() -> bytes:
        nonlocal packed
        packed += 1
        return pack_knowledge(cards_dir(), None)

    for _ in range(3):
        Store(path, Archive(knowledge().hash, pack)).close()
    with closing(open_database(path, tmp_path / "review.sqlite3", "", writes_review=True)) as database:
        files = archived_files(database, knowledge().hash)
        assert archived_files(database, "unknown") is None

    assert packed == 1
    assert files is not None
    cards, overlay = restore_knowledge(files, tmp_path / "restored")
    assert overlay is None
    assert read_knowledge(cards, terminology(), None).hash == knowledge().hash
    assert not list(cards.rglob("cases.yaml"))


def test_an_overlay_is_kept_with_the_cards(tmp_path: Path) -> None:
    overlay = tmp_path / "own"
    (overlay / "quinine-avoid").mkdir(parents=True)
    (overlay / "quinine-avoid" / "card.yaml").write_text("status: retired\n", encoding="utf-8")
    path = tmp_path / "alerts.sqlite3"
    Store(path, Archive("hash", lambda: pack_knowledge(cards_dir(), overlay))).close()

    with closing(open_database(path, tmp_path / "review.sqlite3", "", writes_review=True)) as database:
        files = archived_files(database, "hash")

    assert files is not None
    _, restored = restore_knowledge(files, tmp_path / "restored")
    assert restored is not None
    assert (restored / "quinine-avoid" / "card.yaml").read_text(encoding="utf-8") == "status: retired\n"


def test_an_archive_that_leads_elsewhere_is_not_written(tmp_path: Path) -> None:
    for name in ("../evil", "/evil", "cards/../../evil"):
        with pytest.raises(ValueError, match="out of its folder"):
            restore_knowledge({name: b""}, tmp_path / "restored")
