"""Codes, units and statuses that were not understood: what the log keeps of them, and how a site sees and maps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cds_service.alert_log import AlertLog
from cds_service.alert_log.kept_facts import MAX_UNREAD, NOT_A_CODE, kept_codes
from cds_service.alert_log.unread import unread_codes
from cds_service.authoring.shorthand import request_from_case
from cds_service.cli.main import main
from cds_service.criteria.facts import LabSeries, Unread
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.loader import read_knowledge
from cds_service.telemetry.call_counts import count_answer, flush
from cds_service.telemetry.metrics import UNREAD_CODES, counts
from tests.alert_log_samples import START, a_call
from tests.core import NOW, answer_to, knowledge
from tests.reading import terminology

LOCAL = "urn:oid:1.2.3"
POTASSIUM = {"kind": "lab", "system": LOCAL, "code": "K", "source": "labs", "meaning": "potassium"}
DRUG = {"kind": "drug", "system": LOCAL, "code": "77", "source": "prescriptions", "meaning": ""}
STATUS = {"kind": "status", "system": "", "code": "completed-ish", "source": "labs", "meaning": ""}


def a_code(code: str = "K", system: str = LOCAL, kind: Any = "lab") -> Unread:
    return Unread(kind, system, code, "labs")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (a_code(), a_code()),
        (a_code("", ""), a_code("", "")),
        (a_code("12-34.5_A:b|c/d"), a_code("12-34.5_A:b|c/d")),
        (a_code(system="http://acme.example/lab#codes"), a_code(system="http://acme.example/lab#codes")),
        (a_code("Mr Zaphod"), a_code(NOT_A_CODE)),
        (a_code("x" * 65), a_code(NOT_A_CODE)),
        (a_code("Zaphod\nBeeblebrox"), a_code(NOT_A_CODE)),
        (a_code("Zäphod"), a_code(NOT_A_CODE)),
        (a_code(system="of Mr Zaphod"), a_code(system=NOT_A_CODE)),
        (a_code("mg%", "", "unit"), a_code("mg%", "", "unit")),
        (a_code("mL/min/{1.73_m2}", "", "unit"), a_code("mL/min/{1.73_m2}", "", "unit")),
        (a_code("mg of Zaphod", "", "unit"), a_code(NOT_A_CODE, "", "unit")),
        (a_code("mg%"), a_code(NOT_A_CODE)),
    ],
)
def test_only_what_looks_like_a_code_is_kept(sent: Unread, kept: Unread) -> None:
    assert kept_codes([sent]) == (kept,)


def test_each_code_is_kept_once_and_not_without_end() -> None:
    assert kept_codes([a_code(), a_code(), a_code("Na")]) == (a_code(), a_code("Na"))
    assert len(kept_codes(a_code(f"c{number}") for number in range(10_000))) == MAX_UNREAD


def test_they_are_counted_by_kind() -> None:
    flush()
    before = counts(UNREAD_CODES)
    count_answer("s", (), [], not_checked=False, notice_repeated=False, unread=["lab", "lab", "status"])
    flush()
    after = counts(UNREAD_CODES)
    assert {kind: after[kind] - before.get(kind, 0) for kind in ("lab", "status")} == {"lab": 2, "status": 1}


@pytest.fixture
async def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three calls of two clients, and one without anything that was not understood."""
    path = tmp_path / "alerts.sqlite3"
    monkeypatch.setenv("CDS_LOG_PATH", str(path))
    writer = AlertLog(path)
    writer.start()
    for minute, client, unread in (
        (0, "north", [POTASSIUM, DRUG]),
        (1, "north", [POTASSIUM, STATUS, {**POTASSIUM, "source": "draftOrders"}]),
        (2, "south", [POTASSIUM, {**POTASSIUM, "code": NOT_A_CODE}]),
        (3, "south", []),
    ):
        await writer.append(a_call(client=client, minute=minute, facts=msgspec.json.encode({"unread": unread})))
    await writer.append(a_call(minute=4))  # refused: without facts
    await writer.append(a_call(minute=5, facts=b"{}"))  # of an earlier version
    await writer.close()
    return path


def test_they_are_listed_by_client_the_most_frequent_first(log: Path) -> None:
    rows = [(one.client, one.kind, one.code, one.meaning, one.calls) for one in unread_codes(log, None, None)]
    assert rows == [
        ("north", "lab", "K", "potassium", 2),
        ("north", "drug", "77", "", 1),
        ("north", "status", "completed-ish", "", 1),
        ("south", "lab", "K", "potassium", 1),
        ("south", "lab", NOT_A_CODE, "potassium", 1),
    ]
    assert [one.code for one in unread_codes(log, None, "north")] == ["K", "77", "completed-ish"]
    assert [one.client for one in unread_codes(log, START.replace(minute=32), None)] == ["south", "south"]
    assert unread_codes(log, None, "nobody") == []


def test_the_command_prints_a_table(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "unread", "--client", "north", "--since", "2025-11-28"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "calls"
    assert lines[1].split() == ["2", "north", "lab", LOCAL, "K", "potassium", "2025-11-28"]
    assert len(lines) == 4


def test_the_command_prints_a_file_to_fill_in(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "unread", "--yaml"]) == 0
    text = capsys.readouterr().out
    unknown = {"analyte": "?", "unit": "?", "specimen": "?"}
    assert yaml.safe_load(text) == {
        "labs": [{"system": LOCAL, "code": "K", **unknown}],
        "drugs": [{"system": LOCAL, "code": "77", "ingredient": "?"}],
    }
    assert "# 2 calls of north, last 2025-11-28; its name says potassium" in text
    assert "# status completed-ish: 1 calls of north" in text


def test_the_command_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(tmp_path / "log"))
    assert main(["codes", "unread"]) == 1
    (tmp_path / "log").write_bytes(b"no database, and long enough to see it" * 100)
    assert main(["codes", "unread"]) == 1
    told = capsys.readouterr().err
    assert "there is no alert log yet" in told
    assert "cannot be read as an alert log" in told


# A site's own codes


def mapped(tmp_path: Path, text: str) -> Knowledge:
    (tmp_path / "codes.yaml").write_text(text, encoding="utf-8")
    return read_knowledge(cards_dir(), terminology(), tmp_path)


CODES = """\
labs:
  - {system: 'urn:oid:1.2.3', code: K, analyte: potassium, specimen: blood, unit: mmol/L}
  - {system: 'urn:oid:1.2.3', code: BGA, analyte: potassium, specimen: whole blood}
  - {system: 'urn:oid:1.2.3', code: KU, analyte: potassium, specimen: other}
drugs:
  - {system: 'urn:oid:1.2.3', code: '77', ingredient: quinine}
  - {system: 'urn:oid:1.2.3', code: '78', class: nsaid}
  - {system: 'urn:oid:1.2.3', code: '79', class: other}
problems:
  - {system: 'urn:oid:1.2.3', code: P1, set: muscle_cramp}
  - {system: 'urn:oid:1.2.3', code: P2, set: other}
"""


def test_a_site_says_what_its_codes_mean(tmp_path: Path) -> None:
    theirs, known = terminology(), mapped(tmp_path, CODES).terminology
    quinine = known.drug(((LOCAL, "77"),), ())
    assert (quinine.classes, quinine.ingredients, quinine.by) == (frozenset({"quinine"}), ("quinine",), "site")
    assert quinine.code == f"{LOCAL}|77"
    assert known.drug((("URN:OID:1.2.3", " 78 "),), ()).classes == {"nsaid"}
    other = known.drug(((LOCAL, "79"),), ())
    assert (other.classes, other.identified) == (frozenset(), True)
    assert not known.drug(((LOCAL, "80"),), ()).identified
    assert not known.drug((("urn:oid:9", "77"),), ()).classes
    assert known.classes_for_allergy(((LOCAL, "77"),), ()) == {"quinine"}
    assert known.problem_sets(((LOCAL, "P1"),)) == {"muscle_cramp"}
    assert known.problem_sets(((LOCAL, "P2"),)) == frozenset()
    assert (known.tabled(((LOCAL, "P2"),)), known.tabled(((LOCAL, "P3"),))) == (True, False)
    assert not theirs.drug(((LOCAL, "77"),), ()).classes, "what is shipped stays as it is"


def test_a_mapped_code_decides_and_is_no_longer_unread(tmp_path: Path) -> None:
    ours = {"resourceType": "MedicationRequest", "id": "o", "status": "draft", "intent": "order"}
    ours["medicationCodeableConcept"] = {"coding": [{"system": LOCAL, "code": "77"}]}  # type: ignore[assignment]
    request = request_from_case(["problem: ICD10#R25.2 Cramp and spasm"], "order-sign", NOW)
    request["context"]["draftOrders"] = {"resourceType": "Bundle", "entry": [{"resource": ours}]}
    before, after = answer_to(request), answer_to(request, known=mapped(tmp_path, CODES))
    assert [(one.kind, one.code) for one in before.facts.unread] == [("drug", "77")]
    assert after.facts.unread == ()
    topics = [card["source"]["topic"]["code"] for card in msgspec.json.decode(after.body)["cards"]]
    assert topics[0] == "quinine-avoid"


def test_a_mapped_result_is_read_with_its_specimen_and_unit(tmp_path: Path) -> None:
    known = mapped(tmp_path, CODES)

    def potassium(code: str, unit: str | None, known: Knowledge = known) -> tuple[list[str], list[str], bool]:
        request = request_from_case(["LOINC#2823-3 Potassium 2.2 mmol/L"], "patient-view", NOW)
        result = request["prefetch"]["labs"]["entry"][0]["resource"]
        result["code"] = {"coding": [{"system": LOCAL, "code": code}]}
        result["valueQuantity"] = {"value": 2.2, **({"unit": unit} if unit else {})}
        answer = answer_to(request, known=known)
        series = answer.facts.labs.get("potassium", LabSeries())
        critical = b"critical" in answer.body
        return [f"{lab.value} {lab.canonical_unit}" for lab in series.results], [bad.reason for bad in series.unusable], critical

    assert potassium("K", "mmol/L") == potassium("K", None) == potassium("BGA", "mmol/L") == (["2.2 mmol/L"], [], True)
    assert potassium("K", "furlongs")[:2] == potassium("BGA", None)[:2] == ([], ["unit"])
    assert potassium("KU", "mmol/L") == potassium("XX", "mmol/L") == ([], [], False)
    assert potassium("K", "mmol/L", knowledge()) == ([], [], False)
    lab = known.terminology.lab("URN:OID:1.2.3", "BGA")
    assert lab is not None
    assert lab.whole_blood


def test_the_codes_are_part_of_the_hash_that_is_logged(tmp_path: Path) -> None:
    first = mapped(tmp_path, CODES)
    second = mapped(tmp_path, CODES.replace("'77'", "'76'"))
    assert first.hash != second.hash != read_knowledge(cards_dir(), terminology()).hash
    assert {card.id: card.hash for card in first.cards} == {card.id: card.hash for card in second.cards}, "approvals hold"


ATC, SNOMED = "'http://www.whocc.no/atc'", "'http://snomed.info/sct'"
OF_OURS = "is a code of the value sets"


@pytest.mark.parametrize(
    ("section", "mapping", "told"),
    [
        ("labs", "system: s, code: c, analyte: kalium, specimen: blood", "[0].analyte: unknown name `kalium`"),
        ("labs", "system: s, code: c, analyte: potassium", "[0]: Object missing required field `specimen`"),
        ("labs", "system: s, code: c, analyte: potassium, specimen: urine", "[0].specimen: `urine` is not one of the allowed"),
        ("labs", "system: s, code: c, analyte: potassium, specimen: blood, unit: mg/l", "[0].unit: unknown name `mg/l`"),
        ("labs", "system: 'http://loinc.org', code: 2823-3, analyte: magnesium, specimen: blood", f"[0].code: {OF_OURS}"),
        ("drugs", "system: s, code: c, ingredient: quinin", "[0].ingredient: unknown name `quinin`; did you mean `quinine`?"),
        ("drugs", "system: s, code: c, class: nsaids", "[0].class: unknown name `nsaids`; did you mean `nsaid`?"),
        ("drugs", "system: s, code: c", "[0]: needs an `ingredient` or a `class`, one of both"),
        ("drugs", "system: s, code: c, ingredient: '?'", "[0].ingredient: unknown name"),
        ("drugs", "system: s, code: c, class: nsaid, ingredient: quinine", "[0]: needs an `ingredient` or a `class`"),
        ("drugs", "system: s, code: '', class: nsaid", "[0].code: "),
        ("drugs", f"system: {ATC}, code: M01AE01, class: other", f"[0].code: {OF_OURS}"),
        ("problems", "system: s, code: c, set: muscle_cramps", "[0].set: unknown name `muscle_cramps`; did you mean"),
        ("problems", f"system: {SNOMED}, code: '55300003', set: other", f"[0].code: {OF_OURS}"),
        ("problems", "system: s, code: c, set: other, when: now", "[0].when: unknown name"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, section: str, mapping: str, told: str) -> None:
    with pytest.raises(KnowledgeError) as caught:
        mapped(tmp_path, f"{section}:\n- {{{mapping}}}")
    assert f"overlay/codes.yaml:2: {section}{told}" in str(caught.value)


def test_a_code_that_stands_twice_and_an_unknown_section_are_mistakes(tmp_path: Path) -> None:
    one = "- {system: s, code: c, class: nsaid}\n"
    with pytest.raises(KnowledgeError, match=r"codes.yaml:3: drugs\[1\]: `c` of this system stands here twice"):
        mapped(tmp_path, f"drugs:\n{one}{one.replace('s,', 'S,')}")
    with pytest.raises(KnowledgeError, match=r"codes\.yaml:1: drug: unknown name `drug`; did you mean `drugs`"):
        mapped(tmp_path, f"drug:\n{one}")
