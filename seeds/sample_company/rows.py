"""Rows of raw tables on their way to a file, and the ids and random streams that rows are made
from.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from seeds.sample_company.calendar import DAY, HOUR
from seeds.sample_company.tables import LANDED_AT, TABLES

Value = str | int | float | bool | None
Row = dict[str, Value]
_Option = TypeVar("_Option")
Columns = dict[str, npt.NDArray[Any]]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DIGIT_ARRAY = np.array(list(_DIGITS.encode()), dtype=np.uint8)

# ids hold the customer's number in three digits of base 36
MAX_CUSTOMERS = 36**3


def base36(number: int, width: int) -> str:
    """A number in base 36, padded with zeros."""
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def base36_array(prefix: str, numbers: npt.NDArray[np.int64], width: int) -> npt.NDArray[Any]:
    """Ids `prefix` + number in base 36, for many numbers at once."""
    head = prefix.encode()
    codes = np.empty((len(numbers), len(head) + width), dtype=np.uint8)
    codes[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
    rest = numbers.copy()
    for place in range(codes.shape[1] - 1, len(head) - 1, -1):
        rest, digit = np.divmod(rest, 36)
        codes[:, place] = _DIGIT_ARRAY[digit]
    return codes.view(f"S{codes.shape[1]}").ravel().astype(str)


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """The random stream of one customer for one purpose, independent of all others."""
    entropy = np.random.SeedSequence([seed, index, zlib.crc32(purpose.encode())])
    return np.random.Generator(np.random.PCG64(entropy))


def pick(rng: np.random.Generator, options: Sequence[_Option]) -> _Option:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


@dataclass
class Rows:
    """Rows of all tables, for one customer or one chunk of customers."""

    single: dict[str, list[Row]] = field(default_factory=dict)
    blocks: dict[str, list[Columns]] = field(default_factory=dict)

    def add(self, table: str, known_at: int, **values: Value) -> None:
        """Adds a row that the source changed last at `known_at`; columns not named are null."""
        unknown = values.keys() - TABLES[table].keys()
        if unknown:
            raise KeyError(f"{table} has no column {', '.join(sorted(unknown))}")
        row: Row = dict.fromkeys(TABLES[table])
        row.update(values)
        if LANDED_AT[table] not in values:
            row[LANDED_AT[table]] = known_at
        self.single.setdefault(table, []).append(row)

    def add_block(self, table: str, columns: Columns) -> None:
        """Adds many rows at once, column by column."""
        self.blocks.setdefault(table, []).append(columns)

    def land(self, rng: np.random.Generator, end: int) -> None:
        """Gives each row its time of landing, and lands a few of them a second time, as loaders
        do.
        """
        for table, rows in self.single.items():
            if table.startswith("segment."):
                continue
            column = LANDED_AT[table]
            delays = rng.integers(5 * 60, 6 * HOUR, size=len(rows))
            again = rng.random(len(rows)) < 0.004
            copies: list[Row] = []
            for row, delay, is_again in zip(rows, delays, again, strict=True):
                landed = int(row[column] or 0) + int(delay)
                row[column] = min(landed, end)
                if is_again:
                    copies.append({**row, column: min(landed + DAY, end)})
            rows.extend(copies)

    def merge(self, other: "Rows") -> None:
        """Takes over the rows of another."""
        for table, rows in other.single.items():
            self.single.setdefault(table, []).extend(rows)
        for table, blocks in other.blocks.items():
            self.blocks.setdefault(table, []).extend(blocks)
