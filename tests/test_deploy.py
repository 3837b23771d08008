"""The files for operators agree with the program: Dockerfile, compose file, systemd unit. No engine is needed."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service.cli.main import _parser
from cds_service.secret_files import file_variable
from cds_service.settings import OPTIONS, load_settings
from tests.docs import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
UNIT = ConfigParser(strict=False, interpolation=None)
UNIT.read_string((ROOT / "cds_service/docs/deploy/cramp-cds.service").read_text(encoding="utf-8"))
SECRETS = {file_variable(option.variable) for option in OPTIONS if option.secret}
VARIABLES = {option.variable for option in OPTIONS} | SECRETS


def _commands() -> list[list[str]]:
    docker = re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert docker is not None
    return [shlex.split(docker[1].replace(",", " ")), shlex.split(UNIT["Service"]["ExecStart"])]


@pytest.mark.parametrize("command", _commands())
def test_the_commands_are_understood(command: list[str]) -> None:
    assert Path(command[0]).name == "cds-service"
    options = _parser().parse_args(command[1:])
    assert options.port == 8000
    assert options.workers > 1


def test_all_settings_exist_and_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCKERFILE + str(COMPOSE) + str(dict(UNIT["Service"])) + (ROOT / "cds_service/docs/operators.md").read_text("utf-8")
    assert set(re.findall(r"CDS_[A-Z_]+", text)) <= VARIABLES
    for name, value in COMPOSE["service"]["environment"].items():
        given = re.sub(r"\$\{.*?\}", "https://cds.example/0123456789abcdef", value)
        monkeypatch.setenv(name, given if not name.endswith("DATABASE_URL") else "postgresql://x")
    assert load_settings().profile == "production"


def test_the_image_is_made_of_files_that_are_sent_to_the_engine() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert names == sent
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_image_and_the_unit_write_where_the_compose_file_and_the_state_folder_are() -> None:
    folder = "/var/lib/cramp-cds"
    assert f"VOLUME {folder}\n" in DOCKERFILE
    assert f"CDS_LOG_PATH={folder}/" in DOCKERFILE
    assert f"log:{folder}" in COMPOSE["service"]["volumes"]
    assert UNIT["Service"]["StateDirectory"] == Path(folder).name
