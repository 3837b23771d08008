"""Draw the review pages of the cards in memory."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from cds_service.authoring.cases import load_cases, run_cases
from cds_service.authoring.recommendations import Recommendations
from cds_service.files.paths import cards_dir
from cds_service.review_site.pages import Site
from cds_service.runtime import Runtime
from cds_service.settings import DEV_BANNER


def review_pages(runtime: Runtime) -> dict[str, str]:
    """Run the cards' cases and return all files of the review site by name.

    It takes seconds: call it in a thread, not in the event loop.
    """
    folder = runtime.settings.cards_dir or cards_dir()
    runs = list(run_cases(load_cases(folder, runtime.knowledge), runtime.knowledge))
    with TemporaryDirectory() as name:
        written = Site(runtime.knowledge, Recommendations(folder), runs, banner=DEV_BANNER).write(Path(name))
        return {path.name: path.read_text(encoding="utf-8") for path in written}
