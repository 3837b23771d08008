"""Compress the bodies of records with dictionaries: zstd (RFC 8878).

A dictionary holds what bodies have in common, so that each of them is small, and can be read, shipped and deleted on its own. The
id of its dictionary stands in each compressed body.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PACK_LEVEL = 9  # level 19 takes 18 times as long for 7 % less
LEVEL = 3  # level 9 makes bodies a sixth smaller and takes six times as long
DICTIONARY_BYTES = 110 * 1024  # what zstd's own tool makes
PACKAGED = Path(__file__).with_name("bodies.dict")  # made by `python -m tests.bench.log_size --train`

CompressionError = zstd.ZstdError


class Compressor:
    """Compress with one dictionary. One thread at a time."""

    def __init__(self, dictionary: bytes) -> None:
        """`dictionary`: as `train` made it. Raises CompressionError or ValueError where it is none."""
        loaded = zstd.ZstdDict(dictionary)
        self.dictionary_id = loaded.dict_id
        self._compressor = zstd.ZstdCompressor(level=LEVEL, zstd_dict=loaded)

    def __call__(self, content: bytes) -> bytes:
        # In two steps zstd does not know the length beforehand. Where it knows more than 16 KB, it copies the tables of the
        # dictionary first, 400 KB.
        return self._compressor.compress(content) + self._compressor.flush()


class Decompressor:
    """Decompress what any known dictionary compressed."""

    def __init__(self, dictionary_of: Callable[[int], bytes | None]) -> None:
        """`dictionary_of(id)`: content of a dictionary, None where it is not known."""
        self._dictionary_of = dictionary_of
        self._loaded: dict[int, zstd.ZstdDict] = {}

    def __call__(self, compressed: bytes) -> bytes:
        """Return the content. Raises CompressionError where it is damaged, or its dictionary is not there."""
        dictionary_id = zstd.get_frame_info(compressed).dictionary_id
        if not dictionary_id:
            return zstd.decompress(compressed)
        return zstd.decompress(compressed, zstd_dict=self._dictionary(dictionary_id))

    def _dictionary(self, dictionary_id: int) -> zstd.ZstdDict:
        loaded = self._loaded.get(dictionary_id)
        if loaded is None:
            content = self._dictionary_of(dictionary_id)
            if content is None:
                raise CompressionError(f"the log has no dictionary {dictionary_id}")
            loaded = self._loaded[dictionary_id] = zstd.ZstdDict(content)
        return loaded


def train(samples: Iterable[bytes]) -> bytes:
    """Return a dictionary of what the samples have in common. Raises CompressionError or ValueError for too few."""
    return zstd.train_dict(samples, DICTIONARY_BYTES).dict_content


def dictionary_id(dictionary: bytes) -> int:
    """Return the id that zstd gave the dictionary."""
    return zstd.ZstdDict(dictionary).dict_id


def pack(content: bytes) -> bytes:
    """Compress content that stands alone, once for a version of the knowledge while a service starts."""
    return zstd.compress(content, _PACK_LEVEL)


def pack_quickly(content: bytes) -> bytes:
    """Compress content that stands alone, within a call."""
    return zstd.compress(content, LEVEL)


def unpack(packed: bytes) -> bytes:
    """Return what `pack` compressed. Raises CompressionError."""
    return zstd.decompress(packed)
