"""Labels as a file: CSV, JSON lines, or Parquet where pyarrow is installed. Must not know what a row is about."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from emu.capture.atomic import check_writable, whole_file
from emu.errors import InputError

FORMATS = (".csv", ".jsonl", ".parquet")
_TOGETHER = 1 << 16  # rows of a row group
Row = Mapping[str, Any]


def check(path: str, columns: Mapping[str, type], *, force: bool) -> None:
    """Raise InputError, before anything runs, for a format that there is not, or a file that emu did not write."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path!r} names no format of labels", expected=" or ".join(FORMATS))
    if suffix == ".parquet":
        _pyarrow()
    if not force:
        check_writable(path, lambda there: _is_own(there, suffix, columns))


def write(path: str, columns: Mapping[str, type], rows: Iterable[Row], *, force: bool) -> int:
    """Write the rows; how many they were. `force` replaces a file that emu did not write. Raises InputError."""
    suffix = Path(path).suffix.lower()
    counted = _Counted(rows)
    with whole_file(path, lambda there: force or _is_own(there, suffix, columns)) as file:
        if suffix == ".csv":
            _csv(file, columns, counted)
        elif suffix == ".jsonl":
            for row in counted:
                file.write(json.dumps(dict(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        else:
            _parquet(file, columns, counted)
    return counted.count


class _Counted:
    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def _csv(file: BinaryIO, columns: Mapping[str, type], rows: Iterable[Row]) -> None:
    import csv

    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    text.flush()
    text.detach()


def _parquet(file: BinaryIO, columns: Mapping[str, type], rows: Iterable[Row]) -> None:
    pyarrow, parquet = _pyarrow()
    types = {str: pyarrow.string(), int: pyarrow.int64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    left = iter(rows)
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(left, _TOGETHER)):
            writer.write_table(pyarrow.Table.from_pylist([dict(row) for row in group], schema=schema))


def _pyarrow() -> tuple[Any, Any]:
    """Raises InputError where it is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed", expected="pip install pyarrow, or .csv or .jsonl"
        ) from None
    return pa, parquet


def _is_own(path: Path, suffix: str, columns: Mapping[str, type]) -> bool:
    """Does the file begin as labels of emu do?"""
    with path.open("rb") as file:
        begin = file.read(4096)
    if suffix == ".csv":
        return begin.startswith(",".join(columns).encode() + b"\n")
    if suffix == ".jsonl":
        first = next(iter(columns))
        return begin.startswith(f'{{"{first}":'.encode()) and all(f'"{name}":'.encode() in begin for name in columns)
    return False
