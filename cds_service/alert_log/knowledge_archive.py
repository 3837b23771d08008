"""Keep each version of the knowledge in the log, so that a record can be read and replayed with the cards of its time.

The archive holds the files that `load_knowledge` reads: those of `cards/` without their cases, and the site's overlay. Not the
RxNorm lookup, which is as large as the log of a month, and not the approvals, which say only what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from cds_service.alert_log.compression import pack, unpack

_CARDS, _OVERLAY = "cards", "overlay"
_LEFT_OUT = frozenset({"cases.yaml"})


def pack_knowledge(cards: Path, overlay: Path | None) -> bytes:
    """Return the files of the knowledge in one compressed piece. Raises OSError."""
    files = dict(_files(cards, _CARDS))
    if overlay is not None:
        files |= dict(_files(overlay, _OVERLAY))
    return pack(msgspec.msgpack.encode(files))


def unpack_knowledge(packed: bytes) -> dict[str, bytes]:
    """Return the content of each file by its path. Raises CompressionError or msgspec.DecodeError for a damaged archive."""
    return msgspec.msgpack.decode(unpack(packed), type=dict[str, bytes])


def restore_knowledge(files: Mapping[str, bytes], folder: Path) -> tuple[Path, Path | None]:
    """Write archived files into `folder`; return (folder of the cards, folder of the overlay or None) for `load_knowledge`.

    Raises ValueError for a path that leads out of the folder, OSError.
    """
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("the archive of the knowledge has a path that leads out of its folder")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    overlay = folder / _OVERLAY
    return folder / _CARDS, overlay if overlay.is_dir() else None


def _files(folder: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _LEFT_OUT:
            yield f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes()
