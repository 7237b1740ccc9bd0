"""Many short texts as one long one: a ledger reads and writes a million of them so in a second.

The marks are control characters that no key may contain (see planner).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

UNIT, RECORD = "\x1d", "\x1e"


def packed(rows: Iterable[tuple[str, str]]) -> str:
    """(key, action) of each row."""
    return "".join([f"{UNIT}{action}{UNIT}{key}{RECORD}" for key, action in rows])


def unpacked(text: str) -> Iterator[tuple[str, str]]:
    """See packed."""
    for record in text.split(RECORD)[:-1]:
        _, action, key = record.split(UNIT)
        yield key, action


def entry(key: str) -> str:
    """How a key stands in a packed text, whatever its action."""
    return f"{UNIT}{key}{RECORD}"


def column(text: str) -> pa.Array:
    """Texts joined by RECORD as an Arrow array."""
    return pc.split_pattern(pa.array([text], pa.large_string()), RECORD).flatten()
