"""The rows of a model, read in one go and let go of before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from reverse_etl.errors import UserError
from reverse_etl.spec import Sync
from reverse_etl.upstream import Relation

DECISIONS = ("triggers", "trigger_decisions")
NOT_BEFORE, EXPIRES_AT = "_send_not_before", "_expires_at"
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


@dataclass(frozen=True)
class Rows:
    """A model's rows where they lie: in ``connection``, under the name ``model_rows``."""

    connection: duckdb.DuckDBPyConnection
    schema: pa.Schema

    @classmethod
    def of(cls, table: pa.Table) -> Rows:
        """Rows in memory, from wherever."""
        connection = duckdb.connect()
        connection.register("model_rows", table)
        return cls(connection, table.schema)


class Reader(Protocol):
    """One finished build of a warehouse: nothing that is read through it moves meanwhile."""

    def read(self, sync: Sync) -> AbstractContextManager[Rows]:
        """The rows to send: all of a profile or segment, and a trigger's decided to be sent. A
        trigger's carry NOT_BEFORE and EXPIRES_AT, null where nothing was decided about time."""

    def read_all_keys(self, sync: Sync) -> list[str]:
        """Every key of the model, as text, whatever was decided about it."""

    def row_counts(self, relations: Mapping[str, Relation]) -> dict[str, int]:
        """Rows of those relations that are tables, by the ids they are asked under."""

    def revenue(self) -> pa.Table | None:
        """Columns person, customer_id, mrr: each contact's and each customer's customer. None where
        the warehouse has no customers."""

    def last_exported_delivery(self, relation: Relation) -> str | None:
        """The id of the latest delivery that was exported to it."""


class Warehouse(Protocol):
    """What the engine needs of a warehouse, whichever it is."""

    def open(self) -> AbstractContextManager[Reader]:
        """Wait for a build to finish, then read; builders wait until it is closed."""


@dataclass(frozen=True)
class DuckdbWarehouse:
    """A DuckDB file, opened read-only. Raises UserError naming what is missing."""

    path: Path

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """See Warehouse."""
        with connected_to(self.path) as connection:
            yield _DuckdbReader(self.path, connection)


class _DuckdbReader:
    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._path = path
        self._connection = connection

    @contextmanager
    def read(self, sync: Sync) -> Iterator[Rows]:
        query = f"select * from {_name(sync)}"  # noqa: S608 - names come from dbt's manifest
        if sync.spec.kind == "trigger":
            query = (
                f"select model.*, decided.{NOT_BEFORE}, decided.{EXPIRES_AT}"  # noqa: S608
                f" from {_name(sync)} as model inner join ({self._decided()}) as decided"
                " on model.event_id = decided.event_id"
            )
        with self._connection.cursor() as cursor, self._explained(sync):
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(f"create temp view model_rows as {query}")
            fields = cursor.sql("select * from model_rows limit 0").to_arrow_table().schema
            yield Rows(cursor, fields)

    def read_all_keys(self, sync: Sync) -> list[str]:
        key = _quoted(sync.spec.key)
        query = f"select distinct {key}::varchar from {_name(sync)}"  # noqa: S608
        with self._explained(sync):
            found = self._connection.sql(query).to_arrow_table().column(0).to_pylist()
        return [str(key) for key in found]

    def row_counts(self, relations: Mapping[str, Relation]) -> dict[str, int]:
        tables = {
            (schema, name)
            for schema, name in self._connection.execute(
                "select schema_name, table_name from duckdb_tables()"
            ).fetchall()
        }
        asked = {i: r for i, r in relations.items() if (r.schema, r.table) in tables}
        counts = " union all ".join(
            f"select {position}, count(*) from {_quoted(r.schema)}.{_quoted(r.table)}"  # noqa: S608
            for position, r in enumerate(asked.values())
        )
        if not counts:
            return {}
        found = dict(self._connection.execute(counts).fetchall())
        return {identity: found[position] for position, identity in enumerate(asked)}

    def revenue(self) -> pa.Table | None:
        has = self._has("marts", "customers", "customer_id", "mrr")
        if not has:
            return None
        query = "select customer_id::varchar as person, customer_id::varchar as customer_id, mrr"
        query += " from marts.customers"
        if self._has("marts", "contacts", "contact_id", "customer_id"):
            query += (
                " union all select contact_id::varchar, customers.customer_id::varchar, mrr"
                " from marts.contacts inner join marts.customers using (customer_id)"
            )
        return self._connection.sql(query).to_arrow_table()

    def last_exported_delivery(self, relation: Relation) -> str | None:
        if not self._has(relation.schema, relation.table, "delivery_id"):
            return None
        table = f"{_quoted(relation.schema)}.{_quoted(relation.table)}"
        query = f"select max(delivery_id) from {table}"  # noqa: S608
        [found] = self._connection.execute(query).fetchone() or [None]
        return None if found is None else str(found)

    def _decided(self) -> str:
        """The events to be sent, each once, with when."""
        schema, table = DECISIONS
        moments = [
            f"{pick}({column})::timestamptz as {name}"
            if self._has(schema, table, column)
            else f"null::timestamptz as {name}"
            for pick, column, name in (
                ("max", "send_not_before", NOT_BEFORE),
                ("min", "expires_at", EXPIRES_AT),
            )
        ]
        return (
            f"select event_id, {', '.join(moments)} from {_quoted(schema)}.{_quoted(table)}"  # noqa: S608
            " where decision = 'send' group by event_id"
        )

    def _has(self, schema: str, table: str, *columns: str) -> bool:
        found = self._connection.execute(
            "select column_name from duckdb_columns() where schema_name = ? and table_name = ?",
            [schema, table],
        ).fetchall()
        return set(columns) <= {name for (name,) in found}

    @contextmanager
    def _explained(self, sync: Sync) -> Iterator[None]:
        try:
            yield
        except duckdb.CatalogException as error:
            raise UserError(
                f"{sync.file}: the warehouse has no {sync.schema}.{sync.relation} yet, or one it "
                f"depends on ({_first_line(error)}). Run `make demo` or `dbt build`."
            ) from None
        except duckdb.BinderException as error:
            raise UserError(
                f"{sync.file}: meta.sync.key: {_first_line(error)}. Name a column of the model."
            ) from None
        except duckdb.Error as error:
            raise _unreadable(self._path, error) from None


@contextmanager
def connected_to(path: Path, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """As ``connected``, with UserErrors: missing, locked for too long, not a warehouse."""
    if not path.is_file():
        raise UserError(
            f"The warehouse {path.name} does not exist (WAREHOUSE_PATH, by default "
            "data/warehouse.duckdb). Run `make demo` or `dbt build`."
        )
    try:
        connection = connected(path, read_only=read_only)
    except duckdb.IOException as error:
        raise UserError(
            f"The warehouse {path.name} stays locked by another process or is not "
            f"readable ({_first_line(error)}). Wait for the running build, then run again."
        ) from None
    except duckdb.Error as error:
        raise _unreadable(path, error) from None
    with connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"The warehouse {path.name} cannot be read: {_first_line(error)}.")


def _name(sync: Sync) -> str:
    return f"{_quoted(sync.schema)}.{_quoted(sync.relation)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, duckdb.IOException) and "lock" in str(error).lower()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
