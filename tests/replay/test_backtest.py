"""`cds-service backtest`: counts, discordant cases, repeats, stopping and going on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds_service.alert_log.instants import micros
from cds_service.cli.main import main
from cds_service.database import open_database
from cds_service.files.paths import cards_dir
from cds_service.files.yaml_file import KnowledgeError
from cds_service.replay.backtest import Backtest, Result, Selection, backtests_folder, begin_backtest
from cds_service.replay.run_backtest import run_backtest
from cds_service.review.backtest_figures import figures, judged
from cds_service.settings import Settings
from tests.core import NOW
from tests.replay.replayed_log import REVEAL_KEY, some_records, without_archive, write_log

pytestmark = pytest.mark.slow

COUNT = 250
ALL = Selection(0, 0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The log of some records."""
    return write_log(tmp_path_factory.mktemp("log"), some_records(COUNT))


def with_threshold(folder: Path, name: str, value: str) -> Path:
    """The shipped cards with another number."""
    cards = folder / "cards"
    shutil.copytree(cards_dir(), cards)
    path = cards / "thresholds.yaml"
    changed, n = re.subn(rf"^({name}:\n  value: ).*$", rf"\g<1>{value}", path.read_text(), flags=re.MULTILINE)
    assert n == 1
    path.write_text(changed)
    return cards


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """Cards that find a moderate potassium below 3.4 mmol/L."""
    return with_threshold(tmp_path, "potassium_moderate_limit", "3.4")


def run(settings: Settings, cards: Path, selection: Selection = ALL, processes: int = 1) -> tuple[Backtest, Result]:
    backtest = begin_backtest(settings, cards, None, selection)
    return backtest, run_backtest(settings, backtest, processes, lambda done, of: None)  # noqa: ARG005


@pytest.fixture(autouse=True)
def small_parts(settings: Settings, with_inputs: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without backtests, and cut a small log into several parts."""
    monkeypatch.setattr("cds_service.replay.backtest.RECORDS_OF_A_PART", 20)
    for one in (settings, with_inputs):
        shutil.rmtree(backtests_folder(one), ignore_errors=True)


def content(backtest: Backtest) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in backtest.folder.iterdir()}


def test_the_same_cards_change_nothing(settings: Settings) -> None:
    backtest, result = run(settings, cards_dir())
    assert result.total.answered == result.total.records == COUNT
    assert result.discordant == 0
    assert backtest.discordant() == []
    assert all(one.outcomes_old == one.outcomes_new and one.shown_old == one.shown_new for one in result.total.cards.values())
    assert sum(one.shown_old for one in result.total.cards.values()) > 20


def test_a_changed_number_shows_in_every_case(settings: Settings, candidate: Path) -> None:
    backtest, result = run(settings, candidate)
    cases = backtest.discordant(limit=10_000)
    assert len(cases) == result.discordant > 0
    for card, counts in result.total.cards.items():
        changes = [one.change for one in cases if one.card == card]
        assert (changes.count("appears"), changes.count("vanishes")) == (counts.only_new, counts.only_old)
    one = cases[0]
    assert backtest.case(1) == one
    assert backtest.case(len(cases) + 1) is None
    assert [each.call_id for each in backtest.outlines()] == [each.call_id for each in cases]
    assert one.old != one.new
    assert [one.received_at for one in cases] == sorted(one.received_at for one in cases)
    assert backtest.discordant(skip=1, limit=1) == cases[1:2]
    assert backtest.discordant(card=one.card, change=one.change)[0] == one
    (first, *_) = figures(result.total)
    assert first.counts.only_old + first.counts.only_new > 0
    assert first.interval.low <= first.difference <= first.interval.high


def test_calls_that_a_card_is_not_about_are_in_no_rate(settings: Settings, candidate: Path) -> None:
    _, result = run(settings, candidate)
    with closing(sqlite3.connect(settings.log_path)) as log:
        sql = """SELECT n.text, sum(o.n) FROM call c JOIN outcome_of_set o ON o.set_id = c.outcome_set
            JOIN name n ON n.id = o.card WHERE o.applies = 1 GROUP BY n.text"""
        about = dict(log.execute(sql).fetchall())
    for card, counts in result.total.cards.items():
        assert counts.both + counts.only_old + counts.only_new + counts.neither == about.get(card, 0)
        assert sum(counts.outcomes_old.values()) == about.get(card, 0) + counts.apart
    assert result.total.cards["quinine-avoid"].apart > 0


def test_the_same_again_gives_the_same_bytes_with_more_processes(settings: Settings, candidate: Path) -> None:
    once = content(run(settings, candidate)[0])
    shutil.rmtree(backtests_folder(settings))
    assert content(run(settings, candidate, processes=2)[0]) == once
    assert len([name for name in once if name.startswith("part-")]) > 1


def test_a_killed_backtest_goes_on_where_it_was(settings: Settings, candidate: Path) -> None:
    whole = content(run(settings, candidate)[0])
    shutil.rmtree(backtests_folder(settings))
    backtest = begin_backtest(settings, candidate, None, ALL)
    command = [sys.executable, "-m", "cds_service.cli.main", "backtest", "--resume", backtest.spec.id, "--processes", "1"]
    environment = os.environ | {"CDS_LOG_PATH": str(settings.log_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if backtest.state.done:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = backtest.state.done
    assert done
    steps: list[int] = []
    shutil.rmtree(candidate)  # the backtest has its own copy
    run_backtest(settings, backtest, 1, lambda at, _: steps.append(at))
    assert steps == list(range(done + 1, backtest.spec.parts + 1))
    assert {name: text for name, text in content(backtest).items() if not name.startswith(".")} == whole
    assert backtest.state.finished


def test_a_selection_counts_its_records_only(settings: Settings, candidate: Path) -> None:
    later = micros(NOW) + COUNT // 2 * 1_000_000
    everything = run(settings, candidate)[1].total
    assert 0 < run(settings, candidate, Selection(0, 0, hook="patient-view"))[1].total.records < everything.records
    assert run(settings, candidate, Selection(0, 0, client="nobody"))[1].total.records == 0
    halves = [run(settings, candidate, Selection(*times))[1].total for times in ((0, later), (later, 0))]
    assert sum(one.records for one in halves) == everything.records
    assert 0.1 * COUNT < run(settings, candidate, Selection(0, 0, share=0.3))[1].total.records < 0.5 * COUNT


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda one: msgspec.structs.replace(one, facts=b""), "refused"),
        (lambda one: msgspec.structs.replace(one, service_version="0.0.9"), "program"),
        (lambda one: msgspec.structs.replace(one, degraded="engine_failed"), "engine_failed"),
        (without_archive, "no_knowledge"),
    ],
)
def test_what_a_record_can_not_say_is_counted(tmp_path: Path, change: Any, why: str) -> None:
    first, *others = some_records(5)
    _, result = run(write_log(tmp_path, [change(first), *others]), cards_dir())
    assert (result.total.records, result.total.answered, result.total.unanswerable) == (5, 4, {why: 1})


@pytest.mark.parametrize("file", ["value_sets/problems/malaria.yaml", "engineering.yaml"])
def test_other_value_sets_are_unanswerable_and_never_no_change(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, file: str
) -> None:
    cards = tmp_path / "cards"
    shutil.copytree(cards_dir(), cards)
    path = cards / file
    text = path.read_text()
    if file == "engineering.yaml":
        path.write_text(re.sub(r"(answer_counts:.*?value: )\S+", r"\g<1>1", text, count=1, flags=re.DOTALL))
    else:
        path.write_text(re.sub(r"^  - .*\n", "", text, count=1, flags=re.MULTILINE))
    assert path.read_text() != text
    monkeypatch.setenv("CDS_LOG_PATH", str(settings.log_path))
    assert main(["backtest", "--cards", str(cards), "--processes", "1"]) == 1
    out = capfd.readouterr().out
    assert f"{COUNT:,} records, 0 answered" in out
    assert f"{COUNT:,} unanswerable: the candidate has other value sets" in out
    assert "no card comes out differently" not in out


@pytest.fixture(scope="module")
def with_inputs(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The log of some records whose inputs are kept."""
    settings = write_log(tmp_path_factory.mktemp("inputs"), some_records(60, keep_inputs=True))
    return settings.model_copy(update={"reveal_key": REVEAL_KEY})


def with_another_drug(folder: Path) -> Path:
    """The shipped cards, that take metformin for quinine."""
    cards = folder / "cards"
    shutil.copytree(cards_dir(), cards)
    path = cards / "value_sets/drugs/quinine.yaml"
    path.write_text(path.read_text().replace("also: [", "also: [metformin, ", 1))
    return cards


@pytest.mark.parametrize("key", ["right", "other", "none"])
def test_other_value_sets_are_answered_from_inputs(with_inputs: Settings, tmp_path: Path, key: str) -> None:
    cards = with_another_drug(tmp_path)
    keys = {"right": {}, "other": {"reveal_key": "s" * 32}, "none": {"reveal_key": ""}}
    _, result = run(with_inputs.model_copy(update=keys[key]), cards)
    total = result.total
    if key == "right":
        assert (total.answered, total.from_inputs, total.unanswerable) == (60, 60, {})
        assert result.discordant
    else:
        assert (total.answered, result.discordant) == (0, 0)
        assert total.unanswerable == {"other_key" if key == "other" else "terminology": 60}


def test_what_inputs_do_not_change_is_answered_from_facts(with_inputs: Settings, candidate: Path) -> None:
    _, result = run(with_inputs, candidate)
    assert (result.total.answered, result.total.from_inputs) == (60, 0)


def test_notes_that_were_searched_for_other_words_are_unanswerable(with_inputs: Settings, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    shutil.copytree(cards_dir(), cards)
    path = cards / "value_sets/text.yaml"
    path.write_text(path.read_text().replace("charley horses?", "charley horse", 1))
    _, result = run(with_inputs, cards)
    assert 0 < result.total.unanswerable["texts"] < 60
    assert result.total.answered == result.total.from_inputs == 60 - result.total.unanswerable["texts"]


def test_a_record_of_another_program_is_read_again_where_no_text_was_left_out(tmp_path: Path) -> None:
    records = [msgspec.structs.replace(one, service_version="0.0.9") for one in some_records(60, keep_inputs=True)]
    settings = write_log(tmp_path, records).model_copy(update={"reveal_key": REVEAL_KEY})
    _, result = run(settings, cards_dir())
    assert set(result.total.unanswerable) == {"texts"}
    assert result.total.answered == result.total.from_inputs > 0
    assert result.discordant == 0


def test_the_command_says_what_was_answered_from_what(
    with_inputs: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(with_inputs.log_path))
    monkeypatch.setenv("CDS_REVEAL_KEY", REVEAL_KEY)
    assert main(["backtest", "--cards", str(with_another_drug(tmp_path)), "--processes", "1"]) == 0
    assert "60 records, 60 answered, 0 from facts and 60 from inputs" in capfd.readouterr().out


def test_verdicts_of_cases_that_change_are_counted(settings: Settings, candidate: Path) -> None:
    backtest, _ = run(settings, candidate)
    one = next(one for one in backtest.discordant(limit=10_000) if one.nth)
    with closing(open_database(settings.log_path, settings.log_path.with_name("review.sqlite3"), writes_review=True)) as database:
        with database.transaction():
            database.execute(
                """INSERT INTO review.verdict (at, call_id, received_at, card, nth, plan, reviewer, verdict, response, cause,
                    harm, five_rights, comment, role)
                VALUES (1, :call, :at, :card, :nth, NULL, 'A', 'appropriate', '', '', '', '', '', 'first')""",
                call=bytes.fromhex(one.call_id),
                at=one.received_at,
                card=one.card,
                nth=one.nth,
            )
        assert judged(database, backtest) == {(one.card, one.change, "appropriate"): 1}
        with database.transaction():
            database.execute("DELETE FROM review.verdict")


def test_a_candidate_that_does_not_load_says_where(settings: Settings, tmp_path: Path) -> None:
    cards = with_threshold(tmp_path, "potassium_moderate_limit", "much")
    with pytest.raises(KnowledgeError, match=r"thresholds\.yaml"):
        begin_backtest(settings, cards, None, ALL)
    assert not backtests_folder(settings).exists()


def test_a_candidate_or_a_backtest_must_be_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_LOG_PATH", str(settings.log_path))
    assert main(["backtest"]) == 2
    assert main(["backtest", "--resume", "0123"]) == 1
