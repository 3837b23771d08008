"""Hand out an export only with its two entries in the audit: that it began, and what it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

from cds_service.access.audit import AuditError

Enter = Callable[[str, Mapping[str, Any]], object]  # action, detail; raises AuditError


def audited(chunks: Iterable[tuple[bytes, int]], enter: Enter, about: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """Enter that the export begins; return its bytes, the last of which wait for the entry with rows and SHA-256 of all.

    `chunks`: bytes, each with how many rows they hold; `about`: format and whatever else the entries should say. An export that
    ends early, because the reader went away or something failed, gets an entry of how far it came.

    Raises AuditError, before the first byte where the audit can't be written then, and before the last one where it can't later:
    the receiver sees an export that broke off.
    """
    enter("export", about)
    return _bytes(chunks, enter, about)


def _bytes(chunks: Iterable[tuple[bytes, int]], enter: Enter, about: Mapping[str, Any]) -> Generator[bytes, None, None]:
    digest, rows, size, handed = sha256(), 0, 0, 0
    held = b""
    try:
        for chunk, count in chunks:
            rows += count
            if not chunk:
                continue
            if held:
                handed = size
                yield held
            held = chunk
            digest.update(chunk)
            size += len(chunk)
        enter("export finished", {**about, "rows": rows, "bytes": size, "sha256": digest.hexdigest()})
    except BaseException:
        with suppress(AuditError):  # the first entry says that it began
            enter("export broken off", {**about, "rows": rows, "bytes": handed})
        raise
    if held:
        yield held
