"""Write rows as Parquet files in a folder for each tenant and day (hive layout), which analytical databases read as they are."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec

from cds_service.exports.card_rows import ExportedRow
from cds_service.exports.columns import Column
from cds_service.rollups.days import as_date

_GROUP = 2_000  # rows of a row group: what is held in memory of one file
_NO_TENANT = "-"  # of a site without tenants: hive's word for null can't be the only value where pyarrow reads a folder
_IN_MEMORY = 4 * 1024 * 1024  # bytes of a file before it goes to a temporary one
SUMS = "_SHA256SUMS"  # readers of such folders pass over names that begin with _

_json = msgspec.json.Encoder()


class MissingExtraError(RuntimeError):
    """Raised where pyarrow is not installed. The text says how to install it."""


class ParquetFiles:
    """Writes rows as files `tenant=…/day=…/part-0.parquet`; needs the extra `parquet`."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Raises MissingExtraError."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingExtraError("Parquet needs pyarrow: install the service as cramp-cds[parquet]") from None
        self._pa, self._pq = pa, pq
        self._columns = [one for one in columns if one.name != "tenant"]  # it stands in the folder's name
        kinds = {"text": pa.string(), "json": pa.string(), "time": pa.timestamp("us", tz="UTC")}
        numbers = {"tableRow": pa.int64(), "nth": pa.int64(), "tookMs": pa.float64()}
        self._schema = pa.schema(
            [
                pa.field(
                    one.name,
                    numbers[one.name] if one.kind == "number" else kinds[one.kind],
                    metadata={"meaning": one.meaning},
                )
                for one in self._columns
            ]
        )

    def into_zip(self, rows: Iterable[ExportedRow]) -> Iterator[tuple[bytes, int]]:
        """Yield the chunks of a zip archive of the files, each with how many rows it ends."""
        out = _Chunks()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, content, count in self._files(rows):
                with archive.open(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as member:
                    while piece := content.read(1 << 20):
                        member.write(piece)
                        if len(out) > 1 << 20:
                            yield out.taken(), 0
                yield out.taken(), count
        yield out.taken(), 0

    def into_folder(self, rows: Iterable[ExportedRow], folder: Path) -> Iterator[tuple[bytes, int]]:
        """Write the files into a new or empty folder; yield the lines of _SHA256SUMS, which is written last.

        Raises FileExistsError for a folder that has something in it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; an export makes a folder of its own")
        lines = []
        for name, content, count in self._files(rows):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = sha256()
            with path.open("xb") as file:
                while piece := content.read(1 << 20):
                    digest.update(piece)
                    file.write(piece)
            lines.append(f"{digest.hexdigest()}  {name}\n".encode())
            yield lines[-1], count
        (folder / SUMS).write_bytes(b"".join(lines))

    def _files(self, rows: Iterable[ExportedRow]) -> Iterator[tuple[str, IO[bytes], int]]:
        """Yield name, content and number of rows of each file."""
        for day, of_day in groupby(rows, key=lambda one: one.day):
            yield from self._of_day(day, of_day)

    def _of_day(self, day: int, rows: Iterable[ExportedRow]) -> Iterator[tuple[str, IO[bytes], int]]:
        files: dict[str, _File] = {}
        for row in rows:
            tenant = row.members["tenant"]
            if tenant not in files:
                files[tenant] = _File(self._pq, self._schema)
            files[tenant].held.append([_value(row.members[one.name], one) for one in self._columns])
            if len(files[tenant].held) == _GROUP:
                files[tenant].flush(self._table)
        for tenant, file in sorted(files.items()):
            name = f"tenant={quote(tenant, safe='') or _NO_TENANT}/day={as_date(day).isoformat()}/part-0.parquet"
            with file.finished(self._table) as content:
                yield name, content, file.rows

    def _table(self, held: Sequence[Sequence[Any]]) -> Any:
        columns = zip(self._schema, zip(*held, strict=True), strict=True)
        return self._pa.Table.from_arrays([self._pa.array(values, one.type) for one, values in columns], schema=self._schema)


class _File:
    """One file that is being written."""

    def __init__(self, pq: Any, schema: Any) -> None:
        self.held: list[list[Any]] = []
        self.rows = 0
        self._content = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by whoever reads it
        self._writer = pq.ParquetWriter(self._content, schema, compression="zstd")

    def flush(self, table: Any) -> None:
        if self.held:
            self.rows += len(self.held)
            self._writer.write_table(table(self.held))
            self.held.clear()

    def finished(self, table: Any) -> Any:
        self.flush(table)
        self._writer.close()
        self._content.seek(0)
        return self._content


class _Chunks(io.RawIOBase):
    """Collects what a zip archive writes, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def __len__(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        found = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return found


def _value(value: Any, column: Column) -> Any:
    if column.kind == "json":
        return _json.encode(value).decode()
    return datetime.fromisoformat(value) if column.kind == "time" else value
