"""Back up the log and the review database while a service writes, verify such files, and put them back.

A backup is the log in one file, and beside it the review database in another (`review_copy`). Neither holds a key.
"""

from pathlib import Path


def review_copy(file: Path) -> Path:
    """Return where the review database stands beside a backup of the log: "…/alerts.review.sqlite3"."""
    return file.with_name(f"{file.stem}.review{file.suffix}")
