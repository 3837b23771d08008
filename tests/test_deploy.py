"""The files for operators agree with the program: Dockerfile, compose file, systemd unit. No engine is needed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
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
REVIEW_UNIT = ConfigParser(strict=False, interpolation=None)
REVIEW_UNIT.read_string((ROOT / "cds_service/docs/deploy/cramp-cds-review.service").read_text(encoding="utf-8"))
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


def test_the_review_pages_have_a_process_of_their_own_with_the_same_user_and_folder() -> None:
    options = _parser().parse_args(shlex.split(REVIEW_UNIT["Service"]["ExecStart"])[1:])
    assert options.port == 8002
    for name in ("DynamicUser", "StateDirectory", "UMask", "ProtectSystem", "NoNewPrivileges"):
        assert REVIEW_UNIT["Service"][name] == UNIT["Service"][name]
    assert REVIEW_UNIT["Service"]["User"] == "cramp-cds"
    assert REVIEW_UNIT["Service"]["EnvironmentFile"] != UNIT["Service"]["EnvironmentFile"]


def test_all_settings_exist_and_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = DOCKERFILE + str(COMPOSE) + str(dict(UNIT["Service"])) + (ROOT / "cds_service/docs/operators.md").read_text("utf-8")
    assert set(re.findall(r"CDS_[A-Z_]+", text)) <= VARIABLES
    for name, value in COMPOSE["service"]["environment"].items():
        given = re.sub(r"\$\{.*?\}", "https://cds.example/0123456789abcdef", value)
        if name in SECRETS:
            assert value.removeprefix("/run/secrets/") in COMPOSE["service"]["secrets"]
            (tmp_path / name).write_text("postgresql://x" if "DATABASE" in name else "0123456789abcdef" * 2)
            given = str(tmp_path / name)
        monkeypatch.setenv(name, given)
    assert load_settings().profile == "production"
    variable, _, path = UNIT["Service"]["LoadCredential"].partition(":")
    assert variable.upper() in {option.variable for option in OPTIONS if option.secret}
    assert Path(path).parent == Path("/etc/cramp-cds")


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


def test_digests_of_images_are_written_behind_their_tags_and_again_when_they_change(tmp_path: Path) -> None:
    for name in ("Makefile", "Dockerfile", "compose.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    docker = tmp_path / "docker"
    for digit in ("a", "b"):
        docker.write_text(f"#!/bin/sh\necho sha256:{digit * 64}\n")
        docker.chmod(0o755)
        environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["make", "-s", "pin-images"], cwd=tmp_path, env=environ, check=True, capture_output=True)
        assert (
            re.findall(r"^FROM (\S+)", (tmp_path / "Dockerfile").read_text(), re.MULTILINE)
            == [f"python:3.13-slim@sha256:{digit * 64}"] * 2
        )
        services = yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"]
        assert services["database"]["image"] == f"postgres:17@sha256:{digit * 64}"
        assert services["service"]["image"] == "cramp-cds", "it is built here"
    docker.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    assert (
        subprocess.run(["make", "-s", "pin-images"], cwd=tmp_path, env=environ, check=False, capture_output=True).returncode != 0
    )
