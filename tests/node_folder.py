"""Install a folder with JavaScript for tests from its lock file into .cache/, once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import cds_service

REPOSITORY = Path(cds_service.__file__).resolve().parent.parent
_NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--omit-lockfile-registry-resolved")


def installed(sources: Path) -> Path:
    """A copy of the folder with what it needs, made anew when a file of it has changed. Needs npm and its registry."""
    files = sorted(sources.glob("*.*"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = REPOSITORY / ".cache" / f"{sources.name}-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sources, folder)
        subprocess.run(_NPM, cwd=folder, check=True, timeout=300)
        (folder / "complete").touch()
    return folder
