"""What charts say is cached with `short_cache`, which forgets it within a minute; caches of the library never forget."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "cds_service"
# The folders through which a call goes.
ROOMS = ("alert_log", "criteria", "decide", "fhir", "gather", "hooks", "outbound", "present", "read", "terminology", "wire")
# Their caches that hold nothing of a call, by what they are of.
OF_NO_CALL = {
    "alert_log/evaluation_rows.py:_row_of_silent": "a card",
    "alert_log/evaluation_rows.py:_lab_of": "a card and the name of a criterion",
    "alert_log/reduced_resources.py:_dosage_words": "the value sets",
    "criteria/numbers.py:number_fields": "a kind of criterion",
    "decide/empty_chart.py:empty_chart": "the knowledge and a hook",
    "outbound/http_client.py:_authorities": "this machine",
    "wire/hook_request.py:_decoder": "a shape",
    "wire/hook_request.py:_fields": "a shape",
}


def _caches(path: Path) -> Iterator[str]:
    """The functions of a file that the library's caches remember, and other uses of these as "?"."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    decorated = {
        id(name): function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for decorator in function.decorator_list
        for name in ast.walk(decorator)
    }
    for one in ast.walk(tree):
        if isinstance(one, ast.Name) and one.id in ("lru_cache", "cache"):
            yield f"{path.relative_to(ROOT)}:{decorated.get(id(one), '?')}"


def test_no_cache_of_the_library_may_hold_what_a_chart_says() -> None:
    found = {one for room in ROOMS for path in sorted((ROOT / room).glob("*.py")) for one in _caches(path)}
    assert found == set(OF_NO_CALL)
