"""Environments beside the development one, under var/: what runs in them is measured without the packages of development.

python -m tests.bench.environments healthchain|service
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "environments"

# What pip is told, in turn. The service: as `make serve` installs it. HealthChain: with the event loop and parser of the others.
INSTALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "service": (
        ("--require-hashes", "-r", str(ROOT / "requirements.txt")),
        ("--no-deps", "--no-build-isolation", "-e", str(ROOT)),
    ),
    "healthchain": (("healthchain", "uvloop", "httptools"),),
}


def python_of(name: str) -> Path | None:
    """Return the interpreter of an environment that is complete, else None."""
    python = FOLDER / name / "bin" / "python"
    return python if (FOLDER / name / "complete").exists() and python.exists() else None


def make(name: str) -> Path:
    """Make the environment anew and return its interpreter.

    Raises subprocess.CalledProcessError where a package is not to be had.
    """
    folder = FOLDER / name
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    for arguments in INSTALLS[name]:
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", *arguments]
        subprocess.run(pip, check=True)
    for hides_ours in folder.glob("lib/python*/site-packages/tests"):  # HealthChain brings its own top-level package of this name
        shutil.rmtree(hides_ours)
    (folder / "complete").touch()
    return python


def main() -> None:
    name = sys.argv[1]
    try:
        print(f"{name}: {make(name)}")
    except subprocess.CalledProcessError:
        print(f"{name}: not available here; what needs it is left out")


if __name__ == "__main__":
    main()
