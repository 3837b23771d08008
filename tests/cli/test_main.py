"""The commands: what they print where, and their exit status."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from cds_service import __version__
from cds_service.authoring.samples import load_samples
from cds_service.authoring.shorthand import request_from_case
from cds_service.authoring.version_lock import write_lock
from cds_service.cli.listening import require_free_port
from cds_service.cli.main import main
from cds_service.cli.serve import _start_screen
from cds_service.files.paths import cards_dir, fixtures_dir
from cds_service.knowledge.loader import read_knowledge
from cds_service.settings import Settings, SettingsError
from tests.core import NOW, knowledge, write_small
from tests.core import a_card as card_data
from tests.reading import terminology

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def request_file(folder: Path, *lines: str, hook: str = "patient-view", **changes: Any) -> str:
    path = folder / "request.json"
    request = request_from_case(lines, hook, NOW) | changes
    path.write_text(json.dumps(request), encoding="utf-8")
    return str(path)


def run(arguments: list[str], capsys: Captured) -> tuple[int, str, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# fire


def test_fire_draws_the_cards_of_a_request(tmp_path: Path, capsys: Captured) -> None:
    path = request_file(tmp_path, "LOINC#2823-3 Potassium 2.4 mmol/L")
    status, out, err = run(["fire", path, "--now", "2025-12-01T09:00"], capsys)
    assert (status, err) == (0, "")
    assert "[!! CRITICAL] Severe low potassium 2.4 mmol/L (2025-11-28): act today" in out
    assert "create: Create a request for potassium" in out
    assert {len(line) for line in out.splitlines() if line} == {88}


def test_fire_says_that_there_is_nothing_to_say(tmp_path: Path, capsys: Captured) -> None:
    assert run(["fire", request_file(tmp_path), "--now", "2025-12-01"], capsys) == (
        0,
        "No cards for this request.\n\n",
        "",
    )


def test_fire_evaluates_as_of_the_time_that_it_is_given(tmp_path: Path, capsys: Captured) -> None:
    path = request_file(tmp_path, "LOINC#2823-3 Potassium 2.4 mmol/L at 2025-11-28T08:00:00Z")
    for now, cards in (("2025-12-28T07:59:00Z", 1), ("2025-12-28T10:00:00+02:00", 1), ("2025-12-29T08:00:00Z", 0)):
        _, out, _ = run(["fire", path, "--now", now, "--json"], capsys)
        assert len(json.loads(out)["cards"]) == cards, now


def test_fire_reads_standard_input_and_a_sample_can_be_sent_there(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    for name, sample in load_samples(fixtures_dir()).items():
        status, out, _ = run(["sample", name], capsys)
        assert (status, json.loads(out)["hook"]) == (0, sample.hook)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
        status, out, err = run(["fire", "-", "--json"], capsys)
        assert (status, err) == (0, "")
        assert bool(json.loads(out)["cards"]) == (not sample.story.startswith("Silent")), name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "The body is not JSON: input data was truncated (line 1, column 2)"),
        (b"[]", "The body must be a JSON object"),
        (b"\xff", "The body"),
        (b'{"x":' * 5000, "The body is nested too deeply"),
        (b'{"hook": 3}', "`hook` must be one of patient-view, order-select, order-sign"),
        (b'{"hook": "order-dispatch"}', "`hook` must be one of"),
        (b'{"hook": "patient-view", "hookInstance": "x"}', "`context.patientId` is required"),
        (b'{"hook": "patient-view", "hookInstance": "x", "context": {"patientId": "1"}}', "Not sent in `prefetch`"),
    ],
)
def test_fire_says_what_is_wrong_with_a_request(tmp_path: Path, capsys: Captured, content: bytes, message: str) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content)
    status, out, err = run(["fire", str(path)], capsys)
    assert (status, out) == (1, "")
    assert err.startswith(f"{path}: {message}")
    assert err.count("\n") == 1


def test_fire_names_a_file_that_is_not_there(capsys: Captured) -> None:
    assert run(["fire", "missing.json"], capsys) == (1, "", "missing.json: No such file or directory\n")


def test_two_processes_answer_a_request_with_the_same_bytes(tmp_path: Path) -> None:
    lines = [
        "patient: female, 70 years",
        "ICD10#R25.2 Cramp",
        "LOINC#98979-8 eGFR 25 mL/min/{1.73_m2}",
        "takes: oxycodone 5 mg",
        "takes: lorazepam 1 mg",
        "order: quinine 324 mg, for leg cramps",
        "order: baclofen 10 mg oral tablet, dose 20 mg TID",
    ]
    path = request_file(tmp_path, *lines, hook="order-sign")
    command = [sys.executable, "-m", "cds_service.cli.main", "fire", path, "--json", "--now", "2025-12-01"]
    root = str(cards_dir().parent)
    answers = [
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert answers[0] == answers[1]
    assert len(json.loads(answers[0])["cards"]) == 2


# sample


def test_sample_lists_the_samples(capsys: Captured) -> None:
    status, out, err = run(["sample"], capsys)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(load_samples(fixtures_dir()))


def test_sample_prints_nothing_to_send_for_a_name_that_it_does_not_know(capsys: Captured) -> None:
    assert run(["sample", "quinine-for-cramp"], capsys) == (
        2,
        "",
        "unknown sample `quinine-for-cramp`; did you mean `quinine-for-cramps`?\n",
    )


# cards


def small_folder(folder: Path, expect: str) -> None:
    adult = {"adult": {"kind": "age", "at_least": 18}}
    first = {"version": "1.0.0", "since": date(2026, 1, 31), "what": "First", "affects": "Adults", "source": ["S1"]}
    write_small(folder, adult, card_data(fire_when=["adult"], history=[first]))
    (folder / "recommendations.yaml").write_text("{}", encoding="utf-8")
    write_lock(folder, read_knowledge(folder, terminology()))
    (folder / "value_sets").symlink_to(cards_dir() / "value_sets")
    cases = f"- name: A woman of fifty\n  hook: patient-view\n  given: []\n  expect: {expect}\n"
    (folder / "one" / "cases.yaml").write_text(cases, encoding="utf-8")


def test_cards_check_runs_the_cases(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    small_folder(tmp_path, "{indicator: info}")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))
    assert run(["cards", "check"], capsys) == (0, "1 cards, 1 cases: 1 passed, 0 failed\n", "")


def test_cards_check_names_the_case_that_fails_with_file_and_line(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_folder(tmp_path, "silent")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))
    status, out, _ = run(["cards", "check"], capsys)
    assert status == 1
    assert out.splitlines() == [
        "cards/one/cases.yaml:1: [0].name: A woman of fifty: must be silent, and the card is shown as info",
        "1 cards, 1 cases: 0 passed, 1 failed",
    ]


def test_cards_check_refuses_a_change_without_a_new_version_and_so_does_cards_lock(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_folder(tmp_path, "{indicator: info}")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))
    assert run(["cards", "lock"], capsys) == (0, f"1 cards in {tmp_path / 'versions.lock'}\n", "")
    shared = tmp_path / "criteria.yaml"
    shared.write_text(shared.read_text(encoding="utf-8").replace("18", "21"), encoding="utf-8")

    checked, said, _ = run(["cards", "check"], capsys)
    locked, _, refused = run(["cards", "lock"], capsys)

    assert (checked, locked) == (1, 1)
    assert "version: the content changed" in said
    assert "version: the content changed" in refused


def test_cards_check_refuses_a_recommendation_that_no_case_shows(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_folder(tmp_path, "{indicator: info}")
    row = "S1-01: {document: S1, about: Rest, carried: [{card: one, says: [rest a while], case: A woman of fifty}]}\n"
    (tmp_path / "recommendations.yaml").write_text(row, encoding="utf-8")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))

    status, out, _ = run(["cards", "check"], capsys)

    assert status == 1
    assert "S1-01.carried[0]: 'rest a while' is not on the card in the case 'A woman of fifty'" in out


@pytest.mark.parametrize("command", [["cards", "check"], ["cards", "show"], ["fire", "request.json"]])
def test_a_mistake_in_a_card_stops_a_command_with_its_place(
    command: list[str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_folder(tmp_path, "silent")
    (tmp_path / "one" / "card.yaml").write_text("id: one\nidd: two\n", encoding="utf-8")
    monkeypatch.setenv("CDS_CARDS_DIR", str(tmp_path))
    status, out, err = run(command, capsys)
    assert (status, out) == (1, "")
    assert err.startswith("cards/one/card.yaml:")


def test_a_setting_that_cannot_be_used_stops_a_command(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_JURISDICTION", "FR")
    status, out, err = run(["cards", "show"], capsys)
    assert (status, out) == (1, "")
    assert "CDS_JURISDICTION" in err


def test_cards_show_lists_the_cards(capsys: Captured) -> None:
    status, out, _ = run(["cards", "show"], capsys)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [card.id for card in knowledge().cards]


@pytest.mark.parametrize("card", [card.id for card in knowledge().cards])
def test_cards_show_is_the_review_of_a_card(card: str, capsys: Captured) -> None:
    file = next(one.file for one in knowledge().cards if one.id == card)
    status, out, _ = run(["cards", "show", card], capsys)
    text = " ".join(out.split())
    assert status == 0
    assert out.startswith(f"{file.title} ({card} {file.version}, {file.status})\n")
    assert all(" ".join(gap.split()) in text for gap in file.known_gaps)
    assert all(row.summary in text for row in file.table)
    assert all(" ".join(paragraph.text.split()) in text for paragraph in file.detail)
    assert all(item.label in text for item in file.suggestions)
    assert [line for line in out.splitlines() if len(line) > 88 and "http" not in line] == []


def test_cards_show_suggests_a_card_for_a_name_that_it_does_not_know(capsys: Captured) -> None:
    assert run(["cards", "show", "quinine-avoids"], capsys) == (
        2,
        "",
        "unknown card `quinine-avoids`; did you mean `quinine-avoid`?\n",
    )


def test_cards_schema_is_a_json_schema_that_knows_the_kinds_of_criteria(capsys: Captured) -> None:
    _, out, _ = run(["cards", "schema"], capsys)
    schema = json.loads(out)
    assert {"LabCriterion", "DoseCriterion", "AnyCriterion", "CardFile"} <= schema["$defs"].keys()
    assert schema["$defs"]["CardFile"]["additionalProperties"] is False


# serve, and wrong use


def test_production_is_refused_before_anything_is_served(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.telemetry.log_lines.configure_logging", lambda *_, **__: None)
    monkeypatch.setenv("CDS_HASH_SECRET", "x" * 32)
    status, out, err = run(["serve", "--profile", "production"], capsys)
    assert (status, out) == (1, "")
    assert "CDS_PROFILE=production" in err


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_an_address_in_use_is_said_before_anything_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} is in use by another program; choose another port"):
            require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--version"], 0, __version__),
        (["--help"], 0, "CDS_LOG_PATH"),
        (["serve", "--help"], 0, "--workers"),
        (["serve", "--help"], 0, "--profile {dev,production}"),
        (["fire", "--help"], 0, "--now"),
        ([], 2, "COMMAND"),
        (["nonsense"], 2, "invalid choice"),
        (["serve", "--profile", "test"], 2, "invalid choice"),
        (["serve", "--port", "65536"], 2, "must be a number from 0 to 65535"),
        (["fire"], 2, "REQUEST.json"),
        (["fire", "x", "--now", "soon"], 2, "must be an ISO time"),
        (["log", "export"], 2, "--format"),
        (["log", "export", "--format", "xml"], 2, "invalid choice"),
    ],
)
def test_help_goes_to_standard_output_and_wrong_use_to_standard_error(
    arguments: list[str], status: int, words: str, capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert left.value.code == status
    assert words in (captured.err if status else captured.out)
    assert not (captured.out if status else captured.err)


# serve


def test_serve_says_how_to_try_it_in_the_public_sandbox() -> None:
    shown = _start_screen("http://127.0.0.1:8123", Settings())
    (link,) = (line.split()[1] for line in shown.splitlines() if "Sandbox" in line)
    assert dict(parse_qsl(urlsplit(link).query)) == {
        "patientId": "mild-potassium",
        "fhirServiceUrl": "http://127.0.0.1:8123/fhir",
        "serviceDiscoveryURL": "http://127.0.0.1:8123/cds-services",
    }
    assert "mild-potassium" in load_samples(fixtures_dir())
    assert "http://127.0.0.1:8123/fhir/Patient " in shown
