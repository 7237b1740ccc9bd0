"""DuckDB lets one process write or several read. Who comes second waits here, for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)


@contextmanager
def connected(warehouse: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse file, closed at the end; waits up to 25 s for another process to let go."""
    connection = _waited_for(warehouse, read_only)
    try:
        yield connection
    finally:
        connection.close()


def _waited_for(warehouse: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    for pause in _PAUSES_S:
        try:
            return duckdb.connect(str(warehouse), read_only=read_only)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            time.sleep(pause)
    return duckdb.connect(str(warehouse), read_only=read_only)
