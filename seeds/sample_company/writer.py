"""Writes rows as CSV (one file per table) or as typed Parquet (one part per chunk of customers)."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from seeds.sample_company.rows import Columns, Row, Rows
from seeds.sample_company.tables import TABLES

_ARROW = {
    "text": pa.string(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us"),
    "float": pa.float64(),
    "money": pa.decimal128(18, 2),
}


class Writer(Protocol):
    """Takes chunks of rows and writes them below raw/<source>/<table>."""

    def write(self, rows: Rows) -> None:
        """Writes one chunk."""

    def close(self) -> None:
        """Ends all files."""


class CsvWriter:
    """One CSV per table: header, UTF-8, line feeds, empty for null, YYYY-MM-DD HH:MM:SS."""

    def __init__(self, root: Path) -> None:
        self._stack = ExitStack()
        self._files: dict[str, TextIO] = {}
        for table, columns in TABLES.items():
            path = (root / "raw").joinpath(*table.split(".")).with_suffix(".csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._stack.enter_context(path.open("w", encoding="utf-8", newline=""))
            csv.writer(file, lineterminator="\n").writerow(columns)
            self._files[table] = file

    def write(self, rows: Rows) -> None:
        """Appends one chunk to the files."""
        for table, types in TABLES.items():
            out = csv.writer(self._files[table], lineterminator="\n")
            for columns in _blocks(table, rows):
                out.writerows(
                    zip(*(_texts(columns[name], kind) for name, kind in types.items()), strict=True)
                )

    def close(self) -> None:
        """Closes the files."""
        self._stack.close()


class ParquetWriter:
    """A folder of Parquet parts per table, each chunk one part."""

    def __init__(self, root: Path) -> None:
        self._root = root / "raw"
        self._part = 0
        for table in TABLES:
            folder = self._root.joinpath(*table.split("."))
            # parts of an earlier, larger run would be read along
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def write(self, rows: Rows) -> None:
        """Writes one part per table; the first chunk writes every table, so that an empty one
        exists.
        """
        for table, types in TABLES.items():
            blocks = list(_blocks(table, rows))
            schema = pa.schema([(name, _ARROW[kind]) for name, kind in types.items()])
            parts = [
                pa.table([_arrow(block[name], kind) for name, kind in types.items()], schema=schema)
                for block in blocks
            ]
            if parts or self._part == 0:
                joined = pa.concat_tables(parts) if parts else schema.empty_table()
                folder = self._root.joinpath(*table.split("."))
                pq.write_table(
                    joined, folder / f"part-{self._part:05d}.parquet", compression="zstd"
                )
        self._part += 1

    def close(self) -> None:
        """Nothing is left open."""


class RowFile:
    """A CSV whose first row of values names its columns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rows: list[Row]) -> None:
        """Appends rows of one shape."""
        if rows and self._writer is None:
            self._writer = csv.DictWriter(self._file, list(rows[0]), lineterminator="\n")
            self._writer.writeheader()
        if self._writer is not None:
            self._writer.writerows(rows)


def _blocks(table: str, rows: Rows) -> Iterator[Columns]:
    single = rows.single.get(table, [])
    if single:
        yield {
            name: np.array([row[name] for row in single], dtype=object) for name in TABLES[table]
        }
    yield from rows.blocks.get(table, [])


def time_texts(seconds: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Times as YYYY-MM-DD HH:MM:SS."""
    if not len(seconds):
        return np.zeros(0, dtype=str)
    return np.char.replace(np.datetime_as_string(seconds.astype("datetime64[s]")), "T", " ")


def time_text(second: int) -> str:
    """One time as YYYY-MM-DD HH:MM:SS."""
    return str(np.datetime64(second, "s")).replace("T", " ")


def _texts(values: npt.NDArray[Any], kind: str) -> list[Any]:
    if kind == "time":
        if values.dtype != object:
            return list(time_texts(values))
        known = np.array([value is not None for value in values])
        seconds = np.array([value if value is not None else 0 for value in values], dtype=np.int64)
        return list(np.where(known, time_texts(seconds), ""))
    if kind == "bool":
        return ["" if value is None else "true" if value else "false" for value in values]
    if kind == "money":
        return ["" if value is None else f"{value:.2f}" for value in values]
    return list(values)


def _arrow(values: npt.NDArray[Any], kind: str) -> pa.Array:
    if kind == "time":
        return pa.array(values, pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    if kind == "money":
        amounts = [None if value is None else Decimal(int(value)) for value in values]
        return pa.array(amounts, _ARROW["money"])
    return pa.array(values, _ARROW[kind])
