"""The files in fixtures/ for trying the service do what they say, against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cds_service.files.paths import fixtures_dir
from tests.real_server import RealServer

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with RealServer(tmp_path_factory.mktemp("server")) as one:
        yield one


def requests(text: str, server: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield (title, method, URL, body) for each request of an .http file."""
    variables = {"server": server, "fhir": f"{server}/fhir"}
    for part in text.split("\n### ")[1:]:
        title, first, *rest = re.sub(r"\{\{(\w+)\}\}", lambda found: variables[found[1]], part).split("\n")
        method, url = first.split()
        yield title, method, url, "\n".join(rest).partition("\n\n")[2].strip()


def test_every_request_of_the_collection_is_answered(server: RealServer) -> None:
    answers: dict[str, Any] = {}
    for title, method, url, body in requests((fixtures_dir() / "try.http").read_text(), server.address):
        answer = server.client.request(method, url, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, (title, answer.text)
        answers[title] = answer.json()
    cards = {
        title: [card["source"]["topic"]["code"] for card in one["cards"]] for title, one in answers.items() if "cards" in one
    }
    assert cards == {
        "A chart is opened: severe low potassium": ["electrolyte-hypokalaemia"],
        "An order is signed: quinine for cramps": ["quinine-avoid"],
        "A patient that no card has anything to say about": [],
    }
    assert len(answers) == 6


def test_the_notebook_runs(server: RealServer) -> None:
    notebook = json.loads((fixtures_dir() / "try.ipynb").read_text())
    names: dict[str, Any] = {}
    out = StringIO()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("http://127.0.0.1:8000", server.address)
            with redirect_stdout(out):
                exec(compile(source, "try.ipynb", "exec"), names)  # noqa: S102 (our own file)
    assert "CRITICAL" in out.getvalue()
    assert all(name in out.getvalue() for name in names["patients"].values())


def test_the_notebook_carries_no_results() -> None:
    cells = json.loads(Path(fixtures_dir() / "try.ipynb").read_text())["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
