"""The start of a process: what is imported for it, and what waits for its first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CREATE = """
from pathlib import Path
from cds_service.app import create_app
from cds_service.settings import Settings
create_app(Settings(log_path=Path(sys.argv[1]) / "alerts.sqlite3"))
"""


@pytest.mark.parametrize(
    ("script", "not_imported"),
    [
        # `serve --workers` has to make the folder of the metrics first.
        ("import cds_service.cli.main", ["prometheus_client", "fastapi", "jinja2"]),
        (
            CREATE,
            [
                *("cds_service.review", "cds_service.signals", "jinja2", "markdown_it", "ruamel", "fhir", "joserfc", "psycopg"),
                *("opentelemetry.sdk", "pydantic.v1"),  # FastAPI imports the latter for a route with a single parameter
            ],
        ),
    ],
)
def test_a_start_imports_nothing_that_only_some_use_later(script: str, not_imported: list[str], tmp_path: Path) -> None:
    program = f"""
import sys
{script}
print(*sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    imported = set(ran.stdout.split())
    assert "cds_service.settings" in imported
    assert imported & set(not_imported) == set(), "import them where they are first used"
