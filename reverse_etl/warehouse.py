"""The rows of a model, read in one go and let go of before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from reverse_etl.errors import UserError
from reverse_etl.spec import Sync

DECISIONS = '"triggers"."trigger_decisions"'
PATIENCE_S = 600.0
"""How long a reader or writer waits for another process to let go of the DuckDB file: a dbt build
holds it from its first to its last model."""


def connected(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection to a DuckDB file, which one process may write or several read: who comes second
    waits, at most PATIENCE_S."""
    waiting = Retrying(
        retry=retry_if_exception(_is_locked),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_exponential(0.1, max=1),
        reraise=True,
    )
    return waiting(duckdb.connect, str(path), read_only=read_only)


class Warehouse(Protocol):
    """What the engine needs of a warehouse, whichever it is."""

    def read(self, sync: Sync) -> pa.Table:
        """The rows to send: all of a profile or segment, and a trigger's decided to be sent."""

    def read_all_keys(self, sync: Sync) -> list[str]:
        """Every key of the model, as text, whatever was decided about it."""


@dataclass(frozen=True)
class DuckdbWarehouse:
    """A DuckDB file. Each read opens it read-only and closes it again, waiting for a writer to
    finish. Raises UserError naming what is missing."""

    path: Path

    def read(self, sync: Sync) -> pa.Table:
        """See Warehouse."""
        query = f"select * from {_name(sync)}"  # noqa: S608 - names come from dbt's manifest
        if sync.spec.kind == "trigger":
            decided = f"select event_id from {DECISIONS} where decision = 'send'"  # noqa: S608
            query += f" where event_id in ({decided})"
        return self._table(sync, query)

    def read_all_keys(self, sync: Sync) -> list[str]:
        """See Warehouse."""
        key = _quoted(sync.spec.key)
        query = f"select distinct {key}::varchar from {_name(sync)}"  # noqa: S608
        keys: list[str] = self._table(sync, query).column(0).to_pylist()
        return keys

    def _table(self, sync: Sync, query: str) -> pa.Table:
        if not self.path.is_file():
            raise UserError(
                f"The warehouse {self.path.name} does not exist (WAREHOUSE_PATH, by default "
                "data/warehouse.duckdb). Run `make demo` or `dbt build`."
            )
        try:
            with connected(self.path, read_only=True) as connection:
                connection.execute("set timezone = 'UTC'")
                return connection.sql(query).to_arrow_table()
        except duckdb.CatalogException as error:
            raise UserError(
                f"{sync.file}: the warehouse has no {sync.schema}.{sync.relation} yet, or one it "
                f"depends on ({_first_line(error)}). Run `make demo` or `dbt build`."
            ) from None
        except duckdb.BinderException as error:
            raise UserError(
                f"{sync.file}: meta.sync.key: {_first_line(error)}. Name a column of the model."
            ) from None
        except duckdb.IOException as error:
            raise UserError(
                f"The warehouse {self.path.name} stays locked by another process or is not "
                f"readable ({_first_line(error)}). Wait for the running build, then run again."
            ) from None
        except duckdb.Error as error:
            raise UserError(
                f"The warehouse {self.path.name} cannot be read: {_first_line(error)}."
            ) from None


def _name(sync: Sync) -> str:
    return f"{_quoted(sync.schema)}.{_quoted(sync.relation)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and "lock" in str(error).lower()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
